"""A round's files as a job gets them: named, hashed, and behind URLs that are fresh."""

from __future__ import annotations

from typing import Any

from mp_kit.server.services import datasets, rounds
from mp_kit.server.storage import ObjectStore
from mp_kit.server.store.engine import Tx

__all__ = ["job_files"]

_TRAINER_ROLES = frozenset({"train", "validation"})


def job_files(tx: Tx, store: ObjectStore, *, run_id: str, vendor_id: str, round_id: str) -> list[dict[str, Any]]:
    """Signs what a training reads, never what is held back for scoring; the grant is noted.

    Returns:
        ``name``, ``url``, ``sha256`` and ``size_bytes`` of each file: the form of ``DATASET_URLS``.
    """
    names = [file.name for file in rounds.get(tx, round_id).files if file.type in _TRAINER_ROLES]
    signed = datasets.sign(tx, store, round_id, names, grantee=f"run:{run_id}", vendor_id=vendor_id)
    return [url.model_dump(mode="json", exclude={"expires_at"}) for url in signed.urls]
