"""Queries about the audit log, a page at a time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, Text, case, cast, func, or_, select, tuple_
from sqlalchemy.dialects.postgresql import JSONPATH

from mp_kit.server.store.engine import Tx
from mp_kit.server.store.tables import audit_log

_COLUMNS = audit_log.c


@dataclass(frozen=True)
class Filter:
    """Which entries are wanted; what is empty does not matter.

    Args:
        actor: How the actor begins.
        action: How the action begins.
        about: An id: of who did it, of what it was done to, or among the facts.
        outcome: What came of it.
        since: Entries of this instant and later.
        until: Entries before this instant.
    """

    actor: str = ""
    action: str = ""
    about: str = ""
    outcome: str = ""
    since: datetime | None = None
    until: datetime | None = None


def page(tx: Tx, wanted: Filter, *, behind: tuple[datetime, str] | None, limit: int) -> list[Row[Any]]:
    """Entries, newest first: all columns of the log.

    Args:
        tx: A transaction.
        wanted: Which.
        behind: The instant and id of an entry that they come behind; from the newest on without it.
        limit: Entries at most.
    """
    statement = _narrowed(select(audit_log), wanted)
    if behind is not None:
        statement = statement.where(tuple_(_COLUMNS.at, _COLUMNS.id) < behind)
    return list(tx.execute(statement.order_by(_COLUMNS.at.desc(), _COLUMNS.id.desc()).limit(limit)))


def _narrowed(statement: Select[Any], wanted: Filter) -> Select[Any]:
    if wanted.actor:
        statement = statement.where(func.starts_with(_COLUMNS.actor, wanted.actor))
    if wanted.action:
        statement = statement.where(func.starts_with(_COLUMNS.action, wanted.action))
    if wanted.outcome:
        statement = statement.where(_COLUMNS.outcome == wanted.outcome)
    if wanted.since is not None:
        statement = statement.where(_COLUMNS.at >= wanted.since)
    if wanted.until is not None:
        statement = statement.where(_COLUMNS.at < wanted.until)
    return statement.where(_about(wanted.about)) if wanted.about else statement


def _about(one: str) -> Any:
    within = func.jsonb_path_exists(
        _COLUMNS.detail, cast("$.** ? (@ == $id)", JSONPATH), func.jsonb_build_object("id", cast(one, Text))
    )
    return or_(
        _COLUMNS.subject == one,
        func.starts_with(_COLUMNS.subject, f"{one}/"),
        func.split_part(_COLUMNS.actor, ":", 2) == one,
        case((func.strpos(cast(_COLUMNS.detail, Text), one) > 0, within), else_=False),
    )
