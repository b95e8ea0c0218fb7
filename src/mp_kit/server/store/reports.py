"""Queries about reports."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select, text, update

from mp_kit.server.store.engine import Tx
from mp_kit.server.store.queries import named
from mp_kit.server.store.tables import reports


def insert(tx: Tx, values: Mapping[str, Any]) -> None:
    """Notes a report that is being made."""
    tx.execute(reports.insert().values(**values))


def finish(tx: Tx, report_id: str, values: Mapping[str, Any]) -> None:
    """Notes how a report ended."""
    tx.execute(update(reports).where(reports.c.id == report_id).values(finished_at=text("now()"), **values))


def list_newest(tx: Tx, limit: int) -> list[Row[Any]]:
    """Reports, newest first."""
    return list(tx.execute(select(reports).order_by(reports.c.created_at.desc()).limit(limit)))


def since(tx: Tx, part: str, at: datetime) -> list[Mapping[str, Any]]:
    """One part of the daily report: the rows of the statement ``report_PART``."""
    return [dict(row) for row in tx.execute(text(named(f"report_{part}")), {"since": at}).mappings()]
