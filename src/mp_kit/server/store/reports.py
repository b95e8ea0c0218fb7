"""Queries about reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import text, update

from mp_kit.server.store.engine import Tx
from mp_kit.server.store.tables import reports


def insert(tx: Tx, values: Mapping[str, Any]) -> None:
    """Notes a report that is being made."""
    tx.execute(reports.insert().values(**values))


def finish(tx: Tx, report_id: str, values: Mapping[str, Any]) -> None:
    """Notes how a report ended."""
    tx.execute(update(reports).where(reports.c.id == report_id).values(finished_at=text("now()"), **values))
