"""From the artifacts' folder to the object store: announce, PUT, and again until it is there."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from pydantic import ValidationError

from mp_kit.contracts.training import ArtifactRequest
from mp_kit.errors import InvalidInputError
from mp_kit.trainer.api import RunApi, insist

__all__ = ["upload_all"]


def upload_all(api: RunApi, folder: Path, patience: float) -> list[ArtifactRequest]:
    """Announces and uploads every file of a folder.

    Args:
        api: Names the targets, takes the bytes.
        folder: Its files, not those of folders below it.
        patience: Seconds for all of them together.

    Returns:
        What was uploaded, for the outcome.

    Raises:
        MarketplaceError: A file could not be stored.
    """
    until = time.monotonic() + patience
    requests = []
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        request = _announcement(path)
        insist(lambda request=request, path=path: api.upload(api.artifact(request), path), until=until)  # type: ignore[misc]
        requests.append(request)
    return requests


def _announcement(path: Path) -> ArtifactRequest:
    try:
        return ArtifactRequest(name=path.name, size_bytes=path.stat().st_size, sha256=_sha256(path))
    except ValidationError:
        raise InvalidInputError(
            f"{path.name!r} is no name for an artifact: use letters, digits, dots, dashes and underscores."
        ) from None


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
