"""Queries about signals; the batch statement runs on the driver, because it is the hot path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Row, select, text
from sqlalchemy.dialects.postgresql import insert as upsert

from mp_kit.server.store.engine import Tx, driver
from mp_kit.server.store.queries import named
from mp_kit.server.store.tables import signal_batches


class Stored(NamedTuple):
    """A signal that was there before: where it lies and what it says."""

    row_no: int
    batch_id: int
    stored_row_no: int
    decision: str
    confidence: float
    late: bool


def insert_batch(tx: Tx, columns: Mapping[str, Any]) -> set[int]:
    """Inserts a batch by columns and returns the numbers of the rows that were new."""
    with driver(tx).cursor() as cursor:
        cursor.execute(named("insert_signals").encode(), columns, prepare=True)
        return {row[0] for row in cursor.fetchall()}


def find_stored(tx: Tx, columns: Mapping[str, Any]) -> list[Stored]:
    """The stored signals of these identities."""
    with driver(tx).cursor() as cursor:
        cursor.execute(named("find_stored_signals").encode(), columns, prepare=True)
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


def unblended_bars(tx: Tx, batches: int) -> list[Row[Any]]:
    """Bars with signals that the consensus has not seen; their batches count as seen at commit."""
    return list(tx.execute(text(named("unblended_bars")), {"batches": batches}))


def voices(tx: Tx, bars: Sequence[Row[Any]]) -> list[Row[Any]]:
    """The newest signal of each deployment about each bar."""
    columns = {
        "symbols": [bar.symbol for bar in bars],
        "timeframes": [bar.timeframe for bar in bars],
        "event_times": [bar.event_time for bar in bars],
    }
    return list(tx.execute(text(named("voices")), columns))


def put_consensus(tx: Tx, blended: Sequence[Mapping[str, Any]]) -> None:
    """Stores blended bars."""
    if blended:
        tx.execute(text(named("put_consensus")), [dict(row) for row in blended])


def list_consensus(tx: Tx, filters: Mapping[str, Any]) -> list[Row[Any]]:
    """Blended bars, newest first."""
    return list(tx.execute(text(named("list_consensus")), dict(filters)))
