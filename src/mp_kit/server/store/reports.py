"""Queries about reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, select, text, update

from mp_kit.server.store.engine import Tx
from mp_kit.server.store.tables import marketplace_vendors, reports

_SHOWN = (reports.c.status == "succeeded", reports.c.object_key.is_not(None))


def insert(tx: Tx, values: Mapping[str, Any]) -> None:
    """Notes a report that is being made."""
    tx.execute(reports.insert().values(**values))


def finish(tx: Tx, report_id: str, values: Mapping[str, Any]) -> Row[Any]:
    """Notes how a report ended."""
    statement = update(reports).where(reports.c.id == report_id).values(finished_at=text("now()"), **values)
    return tx.execute(statement.returning(reports)).one()


def shown(tx: Tx, *, vendor_id: str | None, report_id: str | None = None, limit: int = 1) -> list[Row[Any]]:
    """Finished reports, newest first: a vendor's own, or with no vendor those for everybody."""
    whose = reports.c.audience == "public" if vendor_id is None else reports.c.vendor_id == vendor_id
    named = () if report_id is None else (reports.c.id == report_id,)
    statement = select(reports).where(*_SHOWN, whose, *named)
    return list(tx.execute(statement.order_by(reports.c.created_at.desc(), reports.c.id).limit(limit)))


def listed(tx: Tx, *, name: str | None = None, report_id: str | None = None, limit: int = 1) -> list[Row[Any]]:
    """Reports of any kind, newest first, with their vendor's name: for the operator."""
    wanted = [column == value for column, value in ((reports.c.name, name), (reports.c.id, report_id)) if value]
    statement = select(reports, marketplace_vendors.c.name.label("vendor")).outerjoin(marketplace_vendors)
    return list(tx.execute(statement.where(*wanted).order_by(reports.c.created_at.desc(), reports.c.id).limit(limit)))
