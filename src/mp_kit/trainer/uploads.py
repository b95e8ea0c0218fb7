"""From the artifacts' folder to the object store: announce, PUT, and again until it is there.

1. Each answer to an announcement is the truth about what is missing: a restarted wrapper, an expired URL and a part
   that was lost on the way are all mended by announcing again.
2. A large file goes up in parts, several at once, where the store takes parts; else, and a small one, in one piece.
3. Whether the bytes are the right ones is checked by the marketplace, when it takes the outcome.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydantic import ValidationError

from mp_kit.contracts.training import ArtifactAnnouncement, ArtifactRequest, PartTarget
from mp_kit.errors import InvalidInputError, MarketplaceError, NetworkError, UnavailableError
from mp_kit.trainer.api import RunApi, insist

__all__ = ["MULTIPART_BYTES", "upload_all"]

MULTIPART_BYTES = 64 << 20
"""A file of this size or more is offered in parts."""

_THREADS = 4
_PART_WAITS = (0.25, 1.0, 4.0)
_FIRST_WAIT = 0.5
_LONGEST_WAIT = 15.0


def upload_all(
    api: RunApi,
    folder: Path,
    patience: float,
    *,
    multipart_bytes: int = MULTIPART_BYTES,
    is_over: Callable[[], bool] = lambda: False,
) -> list[ArtifactRequest]:
    """Announces and uploads every file of a folder.

    Args:
        api: Names the targets, takes the bytes.
        folder: Its files, not those of folders below it.
        patience: Seconds for all of them together.
        multipart_bytes: From this size on a file is offered in parts.
        is_over: Asked between files and parts; true gives up.

    Returns:
        What was uploaded, for the outcome.

    Raises:
        MarketplaceError: A file could not be stored.
    """
    until = time.monotonic() + patience
    requests = []
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        request = _announcement(path, multipart_bytes)
        _Sender(api, path, request, until, is_over).run()
        requests.append(ArtifactRequest.model_validate(request.model_dump()))
    return requests


class _Sender:
    """One file on its way."""

    def __init__(
        self, api: RunApi, path: Path, request: ArtifactAnnouncement, until: float, is_over: Callable[[], bool]
    ) -> None:
        self._api = api
        self._path = path
        self._request = request
        self._until = until
        self._is_over = is_over

    def run(self) -> None:
        wait = _FIRST_WAIT
        while True:
            self._check()
            trouble = insist(self._once, until=self._until, pause=self._pause)
            if trouble is None:
                return
            if time.monotonic() + wait > self._until:
                raise trouble
            self._pause(wait)
            wait = min(wait * 2, _LONGEST_WAIT)

    def _once(self) -> MarketplaceError | None:
        """Announces and sends what is missing; None once all of it is stored."""
        target = self._api.artifact(self._request)
        if target.parts is None:
            self._api.upload(target, self._path)
            return None
        if target.parts.complete:
            return None
        with ThreadPoolExecutor(min(_THREADS, max(len(target.parts.missing), 1))) as pool:
            troubles = [trouble for trouble in pool.map(self._part, target.parts.missing) if trouble]
        return troubles[0] if troubles else self._joined()

    def _joined(self) -> MarketplaceError | None:
        parts = self._api.artifact(self._request).parts
        if parts is None or parts.complete:
            return None
        return UnavailableError(
            f"The store lacks {len(parts.missing)} parts of {self._request.name} that it has taken."
        )

    def _part(self, part: PartTarget) -> MarketplaceError | None:
        """Sends a part; its trouble is returned, so that one part's end does not throw away the others' work."""
        for wait in (*_PART_WAITS, 0.0):
            try:
                self._check()
                self._api.upload_part(part, self._path)
            except NetworkError as error:
                trouble: MarketplaceError = error
                self._pause(wait)
            except MarketplaceError as error:
                return error  # the store has answered: as a rule the URL is over, and a fresh announcement mends it
            else:
                return None
        return trouble

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._check()
            time.sleep(min(left, 1.0))

    def _check(self) -> None:
        if self._is_over():
            raise InvalidInputError(f"The upload of {self._request.name} was given up: the job is to end.")


def _announcement(path: Path, multipart_bytes: int) -> ArtifactAnnouncement:
    size = path.stat().st_size
    try:
        return ArtifactAnnouncement(
            name=path.name, size_bytes=size, sha256=_sha256(path), multipart=size >= multipart_bytes
        )
    except ValidationError:
        raise InvalidInputError(
            f"{path.name!r} is no name for an artifact: use letters, digits, dots, dashes and underscores."
        ) from None


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
