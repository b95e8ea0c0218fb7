"""Queries about the consensus; what takes columns runs on the driver, because a refresh stores thousands of rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Row, select, text
from sqlalchemy.dialects.postgresql import insert as upsert

from mp_kit.server.store.engine import Tx, driver
from mp_kit.server.store.queries import named
from mp_kit.server.store.tables import consensus_settings, marketplace_vendors, vendor_consensus_batches


class Stored(NamedTuple):
    """A vendor's consensus that was there before: where it lies, what it says, and whether that is the same."""

    row_no: int
    batch_id: int
    stored_row_no: int
    decision: str
    confidence: float
    late: bool
    same: bool


def lock(tx: Tx) -> None:
    """Waits until no other transaction refreshes."""
    tx.execute(text(named("lock_consensus")))


def changed_bars(tx: Tx, batches: int) -> list[Row[Any]]:
    """Bars with signals that the consensus has not seen; their batches count as seen at commit."""
    return list(tx.execute(text(named("changed_bars")), {"batches": batches}))


def voices(tx: Tx, bars: Sequence[Row[Any]]) -> list[Row[Any]]:
    """The signal of each deployment about each bar that may count, in order of bar and deployment."""
    columns = {
        "symbols": [bar.symbol for bar in bars],
        "timeframes": [bar.timeframe for bar in bars],
        "event_times": [bar.event_time for bar in bars],
    }
    return list(tx.execute(text(named("bar_voices")), columns))


def unshown(tx: Tx, batches: int) -> tuple[list[Row[Any]], bool]:
    """What vendors' models said that was not shown yet; its batches count as shown at commit.

    Returns:
        The rows that hold, and whether there was any batch: all of it may be a shadow's.
    """
    due = select(vendor_consensus_batches.c.id).where(
        vendor_consensus_batches.c.shown_at.is_(None), vendor_consensus_batches.c.accepted > 0
    )
    if tx.execute(due.limit(1)).first() is None:
        return [], False
    return list(tx.execute(text(named("shown_vendor_consensus")), {"batches": batches})), True


def records(tx: Tx, before: datetime, timeframe: str) -> list[Row[Any]]:
    """What a timeframe's scores say of deployments whose outcomes ended before an instant."""
    return list(tx.execute(text(named("known_records")), {"before": before, "timeframe": timeframe}))


def put(tx: Tx, columns: Mapping[str, Sequence[Any]]) -> None:
    """Stores blended bars, column by column."""
    with driver(tx).cursor() as cursor:
        cursor.execute(named("put_bars").encode(), columns)


def list_bars(tx: Tx, filters: Mapping[str, Any]) -> list[Row[Any]]:
    """Blended bars of a method, newest first."""
    return list(tx.execute(text(named("list_bars")), dict(filters)))


def vendor_names(tx: Tx, ids: Collection[str]) -> dict[str, str]:
    """What these vendors are called."""
    columns = marketplace_vendors.c
    found = tx.execute(select(columns.id, columns.name).where(columns.id.in_(ids))) if ids else ()
    return {row.id: row.name for row in found}


def methods(tx: Tx) -> list[Row[Any]]:
    """Methods that blended anything."""
    return list(tx.execute(text(named("list_methods"))))


def primary(tx: Tx) -> str | None:
    """The method that the operator chose; None where nobody did."""
    found: str | None = tx.execute(select(consensus_settings.c.primary_method)).scalar_one_or_none()
    return found


def set_primary(tx: Tx, method: str) -> None:
    """Chooses the method that is shown first."""
    tx.execute(text(named("set_primary_method")), {"method": method})


def insert_rows(tx: Tx, columns: Mapping[str, Any]) -> set[int]:
    """Inserts a vendor's consensus by columns and returns the numbers of the rows that were new."""
    with driver(tx).cursor() as cursor:
        cursor.execute(named("insert_vendor_consensus").encode(), columns)
        return {row[0] for row in cursor.fetchall()}


def find_stored(tx: Tx, columns: Mapping[str, Any]) -> list[Stored]:
    """The stored rows of these identities."""
    with driver(tx).cursor() as cursor:
        cursor.execute(named("find_vendor_consensus").encode(), columns)
        return [Stored(*row) for row in cursor.fetchall()]


def find_batch(tx: Tx, deployment_id: str, key: str) -> Row[Any] | None:
    """The batch that a deployment sent under an idempotency key."""
    columns = vendor_consensus_batches.c
    statement = select(vendor_consensus_batches).where(
        columns.deployment_id == deployment_id, columns.idempotency_key == key
    )
    return tx.execute(statement).one_or_none()


def insert_batch(tx: Tx, values: Mapping[str, Any]) -> bool:
    """Notes a batch; False when its idempotency key is taken."""
    statement = upsert(vendor_consensus_batches).values(**values).on_conflict_do_nothing()
    return tx.execute(statement.returning(vendor_consensus_batches.c.id)).scalar_one_or_none() is not None


def finish_batch(tx: Tx, batch_id: int, accepted: int, answer: bytes | None) -> None:
    """Notes what became of a batch."""
    columns = vendor_consensus_batches
    tx.execute(columns.update().where(columns.c.id == batch_id).values(accepted=accepted, answer=answer))
