"""Queries about how the marketplace does, for its metrics: cheap, bounded in time, over all vendors."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Row, text

from mp_kit.server.store.engine import Tx
from mp_kit.server.store.queries import named

_PARTS = ("runs", "money", "queues", "deployments")


def read(tx: Tx, *, now: datetime, today: datetime, timeout_seconds: float) -> dict[str, list[Row[Any]]]:
    """The rows of each part, by its name.

    Args:
        tx: A transaction of its own: its statements end after the timeout.
        now: An aware instant.
        today: When its day began.
        timeout_seconds: Longest time of each statement.
    """
    tx.execute(text("SELECT set_config('statement_timeout', :ms, true)"), {"ms": str(round(timeout_seconds * 1_000))})
    wanted = {"now": now, "today": today}
    return {part: list(tx.execute(text(sql), _used(sql, wanted))) for part, sql in _statements().items()}


def _statements() -> dict[str, str]:
    return {part: named(f"vitals_{part}") for part in _PARTS}


def _used(sql: str, values: dict[str, datetime]) -> dict[str, datetime]:
    return {name: value for name, value in values.items() if f":{name}" in sql}
