"""Verifies a pulled folder without the network: the signature with the pinned keys, then each file's hash."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mp_kit.client import config
from mp_kit.client.partial import Wanted
from mp_kit.client.results import Shown
from mp_kit.contracts.rounds import Manifest, ManifestSignature, SigningKey
from mp_kit.errors import IntegrityError, NotFoundError, SetupError
from mp_kit.signing import open_manifest

MANIFEST_NAME = "manifest.json"
SIGNATURE_NAME = "manifest.signature.json"


@dataclass(frozen=True, repr=False)
class Verified(Shown):
    """A folder whose files are those of a signed manifest.

    Args:
        path: The folder.
        round_id: The round.
        key_id: The pinned key that signed.
        files: Names of the files that are there and right.
        absent: Names of the round's files that are not there; a pull may choose.
    """

    path: Path
    round_id: str
    key_id: str
    files: list[str]
    absent: list[str]

    def _title(self) -> str:
        return f"Verified {self.round_id}"

    def _facts(self) -> Mapping[str, Any]:
        return {
            "path": self.path,
            "files": f"{len(self.files)} right, {len(self.absent)} of the round are not here",
            "signed by": self.key_id,
        }


def verify_folder(folder: Path, keys: Mapping[str, SigningKey] | None = None) -> Verified:
    """Verifies what a pull left in a folder; asks nobody.

    Args:
        folder: What was pulled into.
        keys: The trusted keys; those that the profile pins, of all marketplaces, by default.

    Raises:
        NotFoundError: There is no manifest in it.
        SetupError: No key is pinned yet.
        IntegrityError: The signature, its key or a file is not right; every wrong file is named.
    """
    payload, signature = _read(folder)
    manifest = open_manifest(payload, signature, keys or _pinned(signature.key_id))
    there = [file for file in manifest.files if (folder / file.name).exists()]
    wrong = [file.name for file in there if not _is_right(folder, file.name, manifest)]
    if wrong:
        raise IntegrityError(
            f"{folder}: {len(wrong)} of {len(there)} files are not those of {manifest.round_id}: {', '.join(wrong)}.",
            hint="Pull the round into this folder again: only these files are fetched.",
        )
    names = [file.name for file in there]
    return Verified(
        folder, manifest.round_id, signature.key_id, names, [f.name for f in manifest.files if f.name not in names]
    )


def _is_right(folder: Path, name: str, manifest: Manifest) -> bool:
    file = next(file for file in manifest.files if file.name == name)
    return Wanted(name, file.size_bytes, file.sha256, folder / name).is_there


def _read(folder: Path) -> tuple[bytes, ManifestSignature]:
    try:
        payload = (folder / MANIFEST_NAME).read_bytes()
        return payload, ManifestSignature.model_validate_json((folder / SIGNATURE_NAME).read_bytes())
    except OSError as error:
        raise NotFoundError(
            f"{folder} has no readable {MANIFEST_NAME} with its {SIGNATURE_NAME}.",
            hint=f"Pull a round into it: mp data pull --output {folder}",
        ) from error
    except (ValidationError, json.JSONDecodeError) as error:
        raise IntegrityError(f"{folder / SIGNATURE_NAME} is no signature.", hint="Pull the round again.") from error


def _pinned(named: str) -> Mapping[str, SigningKey]:
    """The pinned keys of all marketplaces that we know."""
    known = {name: public for keys in config.load().signing_keys.values() for name, public in keys.items()}
    if not known:
        raise SetupError(
            "No signing key is pinned, so that nothing can be verified offline.",
            hint="A first `mp data pull` from the marketplace pins its keys.",
        )
    if named not in known:
        raise IntegrityError(
            f"The manifest is signed by key {named}; pinned are {', '.join(known)}.",
            hint=f"If the operator confirms that key over another channel: `mp data trust {named}`.",
        )
    return {name: SigningKey(key_id=name, public_key=public) for name, public in known.items()}
