"""Queries about wrapped data keys, wherever they lie: beside vendors' credentials, and in each webhook's row."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import Column, Row, Table, func, not_, select, text, update

from mp_kit.server.store.engine import Tx
from mp_kit.server.store.tables import vendor_data_keys, webhook_endpoints


class Shelf(NamedTuple):
    """A table with wrapped keys: what they are called, where, and the column that names a row."""

    name: str
    table: Table
    id: Column[Any]

    @property
    def wrapped(self) -> Column[Any]:
        """The wrapped key."""
        return self.table.c.wrapped_key


SHELVES = (
    Shelf("vendors' data keys", vendor_data_keys, vendor_data_keys.c.vendor_id),
    Shelf("webhooks' data keys", webhook_endpoints, webhook_endpoints.c.id),
)


def stale(tx: Tx, shelf: Shelf, prefix: str, after: str, most: int) -> list[Row[Any]]:
    """Keys that are wrapped under another master key, by ``id``; locked to the transaction's end.

    Args:
        tx: A transaction.
        shelf: Where.
        prefix: How a key begins that is wrapped under the master key of today.
        after: Only rows behind this id.
        most: Rows at most.
    """
    statement = (
        select(shelf.id.label("id"), shelf.table.c.vendor_id.label("vendor_id"), shelf.wrapped)
        .where(shelf.id > after, not_(func.starts_with(shelf.wrapped, prefix)))
        .order_by(shelf.id)
        .limit(most)
        .with_for_update()
    )
    return list(tx.execute(statement))


def replace(tx: Tx, shelf: Shelf, row_id: str, wrapped: str) -> None:
    """Stores a key as it is wrapped now."""
    tx.execute(update(shelf.table).where(shelf.id == row_id).values(wrapped_key=wrapped, updated_at=text("now()")))


def page(tx: Tx, shelf: Shelf, after: str, most: int) -> list[Row[Any]]:
    """All keys, by ``id``, a page of them: with ``vendor_id`` and ``wrapped_key``."""
    columns = (shelf.id.label("id"), shelf.table.c.vendor_id.label("vendor_id"), shelf.wrapped)
    return list(tx.execute(select(*columns).where(shelf.id > after).order_by(shelf.id).limit(most)))
