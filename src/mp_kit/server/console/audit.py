"""The audit log for the operator: filtered, a page at a time, and as CSV.

1. What a filter does not know finds nothing; a date that is none is told beside its field.
2. Pages go by a cursor, the last entry's instant and id: entries that come meanwhile move nothing.
3. In CSV, a cell that a spreadsheet would take for a formula begins with an apostrophe.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from litestar import Response, get

from mp_kit.server.console.pages import download, page
from mp_kit.server.console.visits import AUDIT, AnyRequest, TheHouse, TheVisit, operator_only
from mp_kit.server.house import House
from mp_kit.server.services import audit
from mp_kit.server.services.audit import Filter
from mp_kit.server.store import vendors

_ON_A_PAGE = 50
_IN_A_FILE = 50_000
_MAX_TEXT = 200
_TEXTS = ("actor", "action", "about", "outcome")
_DATES = ("since", "until")
_COLUMNS = ("at", "actor", "action", "subject", "outcome", "address", "detail")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_BEFORE = "before"


@dataclass(frozen=True)
class Asked:
    """What a visitor asked for.

    Args:
        said: Each field as it was typed.
        wanted: What it means.
        errors: What is wrong with a field.
    """

    said: Mapping[str, str]
    wanted: Filter
    errors: Mapping[str, str]


@get(AUDIT, guards=[operator_only], sync_to_thread=True, include_in_schema=False)
def listed(house: TheHouse, visit: TheVisit, request: AnyRequest) -> Response[bytes]:
    """Entries, newest first."""
    asked = _asked(request)
    behind = _cursor(request.query_params.get(_BEFORE, ""))
    found = [] if asked.errors else _found(house, asked.wanted, behind, _ON_A_PAGE + 1)
    more = len(found) > _ON_A_PAGE
    entries = found[:_ON_A_PAGE]
    names = _names(house, entries)
    return page(
        visit,
        "operator_audit.html",
        title="Audit",
        entries=[_shown(row, names) for row in entries],
        asked=asked,
        query=_query(asked.said),
        next=_place(entries[-1]) if more else "",
        is_first=behind is None,
        outcomes=audit.OUTCOMES,
        root=AUDIT,
    )


@get(f"{AUDIT}.csv", guards=[operator_only], sync_to_thread=True, include_in_schema=False)
def as_csv(house: TheHouse, visit: TheVisit, request: AnyRequest) -> Response[bytes]:
    """The same entries as a file, the newest 50,000 of them."""
    found = _found(house, _asked(request).wanted, None, _IN_A_FILE)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    writer.writerows([cell(_plain(row, name)) for name in _COLUMNS] for row in found)
    return download(visit, text.getvalue().encode(), media_type="text/csv", name="audit.csv")


def cell(value: str) -> str:
    """A cell that no spreadsheet takes for a formula, wherever it begins to look."""
    risky = value.lstrip(" \u00a0\ufeff").startswith(_FORMULA) or value.startswith(_FORMULA)
    return f"'{value}" if risky else value


def _found(house: House, wanted: Filter, behind: tuple[datetime, str] | None, limit: int) -> list[Any]:
    with house.db.begin() as tx:
        return audit.page(tx, wanted, behind=behind, limit=limit)


def _asked(request: AnyRequest) -> Asked:
    given = request.query_params
    said = {name: given.get(name, "")[:_MAX_TEXT].replace("\0", "").strip() for name in (*_TEXTS, *_DATES)}
    days = {name: _day(said[name]) for name in _DATES}
    wrong = {name: "Like 2026-01-31." for name in _DATES if said[name] and days[name] is None}
    until = days["until"] + timedelta(days=1) if days["until"] is not None else None
    wanted = Filter(**{name: said[name] for name in _TEXTS}, since=days["since"], until=until)
    return Asked(said, wanted, wrong)


def _day(said: str) -> datetime | None:
    try:
        return datetime.strptime(said, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None


def _cursor(said: str) -> tuple[datetime, str] | None:
    """Where a page begins; one that is garbled begins at the newest."""
    at, _, entry_id = said.partition("~")
    try:
        when = datetime.fromisoformat(at)
    except ValueError:
        return None
    return (when, entry_id[:_MAX_TEXT].replace("\0", "")) if when.tzinfo is not None else None


def _place(row: Any) -> str:
    return f"{row.at.astimezone(UTC).isoformat()}~{row.id}"


def _query(said: Mapping[str, str]) -> Callable[..., str]:
    def query(**changes: str) -> str:
        return urlencode({name: value for name, value in {**said, **changes}.items() if value})

    return query


def _names(house: House, entries: Sequence[Any]) -> Mapping[str, str]:
    """The vendors that the entries name, by id: who did it, what it was done to."""
    with house.db.begin() as tx:
        return vendors.names(tx, {one for row in entries for one in (_actor(row), row.subject)})


def _actor(row: Any) -> str:
    return str(row.actor).rpartition(":")[2]


def _shown(row: Any, names: Mapping[str, str]) -> dict[str, Any]:
    called = {"who": names.get(_actor(row), ""), "whom": names.get(row.subject, "")}
    facts = [(name, _short(value)) for name, value in row.detail.items() if value not in (None, "", [], {})]
    return {**row._mapping, "facts": facts, **called}  # noqa: SLF001 - SQLAlchemy's public name


def _plain(row: Any, name: str) -> str:
    value = row._mapping[name]  # noqa: SLF001 - SQLAlchemy's public name
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return "; ".join(f"{key}={_short(part)}" for key, part in value.items())
    return "" if value is None else str(value)


def _short(value: Any) -> str:
    return ", ".join(str(one) for one in value) if isinstance(value, list) else str(value)


HANDLERS = [listed, as_csv]
