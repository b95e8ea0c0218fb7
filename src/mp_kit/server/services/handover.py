"""Hands a round's files to somebody outside: signed URLs in a file that only the operator may read.

The URLs are secrets while they live: they stand in that file and nowhere else, neither in a log nor in Prefect.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, Field

from mp_kit.contracts import CURRENT, SignedUrls
from mp_kit.server import clock
from mp_kit.server.services import datasets
from mp_kit.server.storage import ObjectStore
from mp_kit.server.store.engine import Tx

_WEEK = 7 * 86_400


class GrantOrder(BaseModel):
    """What to hand to whom."""

    who: str = Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$", description="Who gets the files.")
    round_id: str = Field(CURRENT, min_length=1, description="A round's id, or `current`.")
    files: list[str] | None = Field(None, description="Only these; all of the round's where left out.")
    ttl_seconds: int = Field(3_600, ge=60, le=_WEEK, description="Life of the URLs in seconds.")


@dataclass(frozen=True)
class Grant:
    """A hand-over; its file holds the URLs.

    Args:
        round_id: The round.
        who: Who gets it.
        files: How many files.
        size_bytes: Their sum.
        expires_at: When the URLs end, RFC 3339.
        path: The file with the URLs, mode 0600.
    """

    round_id: str
    who: str
    files: int
    size_bytes: int
    expires_at: str
    path: Path


def grant(tx: Tx, store: ObjectStore, order: GrantOrder, folder: Path) -> Grant:
    """Signs the URLs, notes the grant and writes the file.

    Args:
        tx: The grant's transaction.
        store: Where the files lie.
        order: What to whom.
        folder: Where the file goes; made with mode 0700 where absent.

    Raises:
        NotFoundError: No such round, or it has no such file.
    """
    signed = datasets.sign(
        tx, store, order.round_id, order.files, grantee=order.who, vendor_id=None, ttl_seconds=order.ttl_seconds
    )
    path = _write(folder, order.who, signed)
    ends = max(url.expires_at for url in signed.urls).isoformat() if signed.urls else ""
    size = sum(url.size_bytes for url in signed.urls)
    return Grant(signed.round_id, order.who, len(signed.urls), size, ends, path)


def _write(folder: Path, who: str, signed: SignedUrls) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    plain = re.sub(r"[^A-Za-z0-9]+", "-", who).strip("-").lower() or "grant"
    path = folder / f"{clock.now():%Y%m%dT%H%M%S%f}-{plain[:40]}.json"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"who": who, **signed.model_dump(mode="json")}, file, indent=2)
    return path
