"""Queries about a vendor's own API keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, select, text, update

from mp_kit.server.store.engine import Tx
from mp_kit.server.store.queries import named
from mp_kit.server.store.tables import marketplace_vendors, vendor_keys


def lock_vendor(tx: Tx, vendor_id: str) -> Row[Any] | None:
    """A vendor's row, held to the transaction's end: one change of its keys at a time."""
    table = marketplace_vendors
    return tx.execute(select(table).where(table.c.id == vendor_id).with_for_update(key_share=True)).one_or_none()


def list_of(tx: Tx, vendor_id: str, days: int) -> Sequence[Row[Any]]:
    """A vendor's keys, and those that ended in the last so many days."""
    return tx.execute(text(named("list_vendor_keys")), {"vendor_id": vendor_id, "days": days}).all()


def find(tx: Tx, vendor_id: str, key_id: str) -> Row[Any] | None:
    """One of a vendor's keys."""
    mine = (vendor_keys.c.vendor_id == vendor_id, vendor_keys.c.id == key_id)
    return tx.execute(select(vendor_keys, _lives().label("lives")).where(*mine)).one_or_none()


def living(tx: Tx, vendor_id: str) -> list[str]:
    """Ids of a vendor's keys that open something and are not in the overlap after a rotation."""
    mine = (vendor_keys.c.vendor_id == vendor_id, vendor_keys.c.revoked_at.is_(None), _lives())
    return list(tx.execute(select(vendor_keys.c.id).where(*mine)).scalars())


def end(tx: Tx, key_id: str, at: datetime) -> None:
    """Ends a key at an instant."""
    tx.execute(update(vendor_keys).where(vendor_keys.c.id == key_id).values(revoked_at=at))


def _lives() -> Any:
    columns = vendor_keys.c
    return func.least(columns.expires_at, columns.revoked_at) > func.now()
