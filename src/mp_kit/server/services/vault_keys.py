"""Changing the master key while everything is in use: every data key is wrapped anew, a batch at a time.

1. A batch is a transaction. Killed at any instruction, what was wrapped anew stays, and the next call goes on.
2. What is sealed is not touched: only the wrapping of data keys changes, so readers never wait for more than a row.
3. A key that no master key at hand unwraps is left as it is and told of by its row's id; the others go on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Row

from mp_kit.errors import IntegrityError
from mp_kit.server.services import audit
from mp_kit.server.store import wrapped as rows
from mp_kit.server.store.engine import Database, Tx
from mp_kit.server.store.tables import HOUSE
from mp_kit.server.vault import Vault, key_id_of

__all__ = ["BATCH", "KeyUse", "Rotation", "broken", "rotate", "uses"]

BATCH = 500


@dataclass(frozen=True)
class Rotation:
    """What a rotation did.

    Args:
        key_id: The master key of today.
        rewrapped: Data keys that were wrapped anew.
        broken: A sentence for each that could not be unwrapped.
    """

    key_id: str
    rewrapped: int
    broken: Sequence[str]


@dataclass(frozen=True)
class KeyUse:
    """What lies under a master key.

    Args:
        key_id: Its id, which says nothing of the key.
        role: ``current`` wraps, ``retired`` unwraps only, ``unknown`` is not at hand: what lies under it opens nothing.
        vendors: Vendors' data keys under it.
        webhooks: Webhooks' data keys under it.
    """

    key_id: str
    role: Literal["current", "retired", "unknown"]
    vendors: int
    webhooks: int


def rotate(db: Database, vault: Vault, *, actor: str, batch: int = BATCH) -> Rotation:
    """Wraps every data key under the master key of today; calling it again goes on, or finds nothing to do.

    Args:
        db: Transactions, one a batch.
        vault: Knows the master key of today and those of before.
        actor: Who, for the audit log.
        batch: Data keys in one transaction, at most.
    """
    vault.refresh()
    done, broken_ones = 0, []
    for shelf in rows.SHELVES:
        after = ""
        while True:
            with db.begin() as tx:
                found = rows.stale(tx, shelf, vault.current_prefix, after, batch)
                told = [_rewrap(tx, vault, shelf, row) for row in found]
                if any(one is None for one in told):
                    audit.record(tx, actor, "vault.rotate", vault.current_id, keys=told.count(None))
            done += told.count(None)
            broken_ones += [one for one in told if one is not None]
            if len(found) < batch:
                break
            after = found[-1].id
    return Rotation(vault.current_id, done, tuple(broken_ones))


def uses(tx: Tx, vault: Vault, *, batch: int = BATCH) -> list[KeyUse]:
    """What lies under each master key: the one of today first, then the retired ones, then unknown ones."""
    vault.refresh()
    counts = [
        Counter(key_id_of(row.wrapped_key) or "(unreadable)" for row in _all(tx, shelf, batch))
        for shelf in rows.SHELVES
    ]
    known = [vault.current_id, *vault.retired_ids]
    unknown = sorted({key_id for count in counts for key_id in count} - set(known))
    return [KeyUse(one, _role(vault, one), counts[0][one], counts[1][one]) for one in [*known, *unknown]]


def broken(tx: Tx, vault: Vault, *, batch: int = BATCH) -> list[str]:
    """A sentence for each data key that does not open with the master keys at hand; changes nothing."""
    found = []
    for shelf in rows.SHELVES:
        for row in _all(tx, shelf, batch):
            try:
                vault.check(row.wrapped_key, row.vendor_id or HOUSE)
            except IntegrityError as error:
                found.append(_sentence(shelf, row, error))
    return found


def _rewrap(tx: Tx, vault: Vault, shelf: rows.Shelf, row: Row[Any]) -> str | None:
    try:
        fresh = vault.rewrap(row.wrapped_key, row.vendor_id or HOUSE)
    except IntegrityError as error:
        return _sentence(shelf, row, error)
    rows.replace(tx, shelf, row.id, fresh)
    return None


def _sentence(shelf: rows.Shelf, row: Row[Any], error: IntegrityError) -> str:
    return f"{shelf.name}, {row.id}: {error.message}"


def _role(vault: Vault, key_id: str) -> Literal["current", "retired", "unknown"]:
    if key_id == vault.current_id:
        return "current"
    return "retired" if key_id in vault.retired_ids else "unknown"


def _all(tx: Tx, shelf: rows.Shelf, batch: int) -> list[Row[Any]]:
    found: list[Row[Any]] = []
    while page := rows.page(tx, shelf, found[-1].id if found else "", batch):
        found += page
    return found
