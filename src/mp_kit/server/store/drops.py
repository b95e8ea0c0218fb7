"""Queries about drops."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text

from mp_kit.server.store.engine import Tx
from mp_kit.server.store.queries import named

__all__ = ["advance", "announce", "awaited", "begin", "count_awaited", "finish", "list_page", "lock", "touch"]


def announce(tx: Tx, values: Mapping[str, Any]) -> Row[Any] | None:
    """Notes a drop; None when one of that name is under way or stored."""
    return tx.execute(text(named("announce_drop")), dict(values)).one_or_none()


def awaited(tx: Tx, limit: int) -> list[Row[Any]]:
    """Drops that may have come."""
    return list(tx.execute(text(named("awaited_drops")), {"limit": limit}))


def count_awaited(tx: Tx, deployment_id: str) -> int:
    """How many announced drops of a deployment are not over."""
    return int(tx.execute(text(named("count_awaited")), {"deployment_id": deployment_id}).scalar_one())


def touch(tx: Tx, place: Mapping[str, str], now: datetime) -> None:
    """Notes that a drop is looked at."""
    tx.execute(text(named("touch_drop")), {**place, "now": now})


def lock(tx: Tx, place: Mapping[str, str]) -> Row[Any] | None:
    """An awaited drop with its deployment's vendor and model; None when it is not to be had."""
    return tx.execute(text(named("lock_drop")), dict(place)).one_or_none()


def begin(tx: Tx, place: Mapping[str, str]) -> None:
    """Counts an attempt."""
    tx.execute(text(named("begin_drop")), dict(place))


def advance(tx: Tx, values: Mapping[str, Any]) -> None:
    """Notes what a chunk brought."""
    tx.execute(text(named("advance_drop")), dict(values))


def finish(tx: Tx, values: Mapping[str, Any]) -> None:
    """Ends a drop."""
    tx.execute(text(named("finish_drop")), dict(values))


def list_page(tx: Tx, filters: Mapping[str, Any]) -> list[Row[Any]]:
    """Drops, newest first."""
    return list(tx.execute(text(named("list_drops")), dict(filters)))
