"""Queries about signals; the batch statement runs on the driver, because it is the hot path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import psycopg
from sqlalchemy import Row, select, text
from sqlalchemy.dialects.postgresql import insert as upsert

from mp_kit.server.store.engine import Tx, driver
from mp_kit.server.store.queries import named
from mp_kit.server.store.signal_columns import Columns
from mp_kit.server.store.tables import signal_batches

LARGE = 1_500
"""From so many rows on a batch goes by COPY into a staging table; below, arrays in one statement are quicker."""


@dataclass(frozen=True)
class Head:
    """What all rows of a batch share; the origin is the token's, never the rows'."""

    batch_id: int
    deployment_id: str
    vendor_id: str | None
    received_at: datetime


class Stored(NamedTuple):
    """A signal that was there before: where it lies, what it says, and whether the new row says the same."""

    row_no: int
    batch_id: int
    stored_row_no: int
    decision: str
    confidence: float
    late: bool
    same: bool


def insert(tx: Tx, head: Head, columns: Columns) -> list[Stored]:
    """Inserts a batch, each identity once.

    Returns:
        For each row whose identity was there already (perhaps in this very batch), what is stored under it.
    """
    with driver(tx).cursor(binary=True) as cursor:
        if len(columns) < LARGE:
            return _by_arrays(cursor, head, columns)
        cursor.execute(named("stage_signals").encode())
        cursor.execute(named("empty_stage").encode())
        with cursor.copy(named("copy_signals").encode()) as copy:
            copy.write(columns.copy_bytes())
        cursor.execute(named("insert_staged_signals").encode(), vars(head), prepare=True)
        if cursor.rowcount == len(columns):
            return []
        cursor.execute(named("find_staged_signals").encode(), vars(head), prepare=True)
        return [Stored(*row) for row in cursor.fetchall()]


def _by_arrays(cursor: psycopg.Cursor, head: Head, columns: Columns) -> list[Stored]:
    values = vars(head) | columns.arrays()
    cursor.execute(named("insert_signals").encode(), values, prepare=True)
    if cursor.rowcount == len(columns):
        return []
    cursor.execute(named("find_stored_signals").encode(), values, prepare=True)
    return [Stored(*row) for row in cursor.fetchall()]


def find_batch(tx: Tx, deployment_id: str, key: str) -> Row[Any] | None:
    """The batch that a deployment sent under an idempotency key."""
    columns = signal_batches.c
    statement = select(signal_batches).where(columns.deployment_id == deployment_id, columns.idempotency_key == key)
    return tx.execute(statement).one_or_none()


def insert_batch_row(tx: Tx, values: Mapping[str, Any]) -> bool:
    """Notes a batch; False when its idempotency key is taken."""
    statement = upsert(signal_batches).values(**values).on_conflict_do_nothing().returning(signal_batches.c.id)
    return tx.execute(statement).scalar_one_or_none() is not None


def list_page(tx: Tx, filters: Mapping[str, Any]) -> list[Row[Any]]:
    """A page of signals, newest bar first."""
    return list(tx.execute(text(named("list_signals")), dict(filters)))


def list_batches(tx: Tx, vendor_id: str, since: datetime, limit: int) -> list[Row[Any]]:
    """A vendor's batches since an instant, newest first."""
    return list(tx.execute(text(named("list_batches")), {"vendor_id": vendor_id, "since": since, "limit": limit}))
