"""Reports: a row from the start, so that one that died is seen; the HTML lies in the object store.

1. Whose eyes a report is for is said when it begins and never changes: the operator's, one vendor's, everybody's.
2. Pages show finished reports, the public ones to everybody and a vendor's to that vendor. Another vendor's is a 404.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Row

from mp_kit.errors import NotFoundError
from mp_kit.server.services import webhook_events
from mp_kit.server.services.ids import new_id
from mp_kit.server.storage import LocalStore, ObjectStore
from mp_kit.server.store import reports as rows
from mp_kit.server.store.engine import Tx

__all__ = ["Audience", "Report", "begin", "end", "every", "find", "html", "keep", "page_of", "place", "show", "shown"]

_FAILURE_CHARS = 2_000


class Audience(StrEnum):
    """Whose eyes a report is for."""

    OPERATOR = "operator"
    VENDOR = "vendor"
    PUBLIC = "public"


class Report(BaseModel):
    """A report as it is listed.

    Args:
        id: Its id.
        name: Of its notebook.
        title: The notebook's heading, and whom it is about.
        status: running, succeeded or failed.
        audience: Whose eyes it is for.
        vendor_id: The vendor whose it is.
        vendor: That vendor's name, in the operator's lists.
        parameters: What it was made with.
        created_at: When it began.
        finished_at: When it ended.
        failure: Why it failed.
        object_key: Where its HTML lies in the object store.
        flow_run_id: Prefect's id of the flow run that made it.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    title: str
    status: str
    audience: Audience
    vendor_id: str | None = None
    vendor: str | None = None
    parameters: dict[str, Any]
    created_at: datetime
    finished_at: datetime | None = None
    failure: str | None = None
    object_key: str | None = None
    flow_run_id: str | None = None


def begin(
    tx: Tx,
    name: str,
    parameters: Mapping[str, Any],
    flow_run_id: str | None,
    *,
    title: str = "",
    audience: Audience = Audience.OPERATOR,
    vendor_id: str | None = None,
) -> str:
    """Notes that a report is being made.

    Args:
        tx: A transaction.
        name: Of its notebook.
        parameters: What it is made with.
        flow_run_id: Prefect's id of the flow run that makes it.
        title: For people.
        audience: Whose eyes it is for.
        vendor_id: The vendor whose it is, with that audience alone.

    Returns:
        Its id.
    """
    report_id = new_id("rep")
    values: dict[str, Any] = {"id": report_id, "name": name, "title": title, "status": "running"}
    values |= {
        "parameters": dict(parameters),
        "audience": audience.value,
        "vendor_id": vendor_id,
        "flow_run_id": flow_run_id,
    }
    rows.insert(tx, values)
    return report_id


def keep(store: ObjectStore, name: str, report_id: str, files: Mapping[str, Path]) -> str:
    """Puts a report's files into the object store.

    Args:
        store: Where.
        name: The report's name.
        report_id: Its id.
        files: Suffix (``html``, ``ipynb``) to file.

    Returns:
        The key of the HTML.
    """
    for suffix, path in files.items():
        store.put_file(_key(name, report_id, suffix), path)
    return _key(name, report_id, "html")


def place(store: ObjectStore, key: str) -> Path | str:
    """Where a report's HTML is found: a path, or its key where the store is no folder."""
    return store.path(key) if isinstance(store, LocalStore) else key


def end(tx: Tx, report_id: str, *, object_key: str | None, failure: str | None = None) -> None:
    """Notes how it ended, and tells those who want to hear of it: a report with a failure has failed.

    Args:
        tx: A transaction.
        report_id: Which.
        object_key: Where its HTML lies; that of a failed one shows how far it came.
        failure: Why it failed.
    """
    status = "succeeded" if failure is None else "failed"
    kept = None if failure is None else failure[:_FAILURE_CHARS]
    row = rows.finish(tx, report_id, {"status": status, "object_key": object_key, "failure": kept})
    facts = {"report_id": row.id, "name": row.name, "status": status, "audience": row.audience}
    page = page_of(Audience(row.audience), row.id) if failure is None else None
    webhook_events.report_finished(tx, row.audience, row.vendor_id, **facts, page=page)


def page_of(audience: Audience, report_id: str) -> str | None:
    """The path of a report's page; None for the operator's, which have none."""
    roots = {Audience.PUBLIC: "/marketplace/reports", Audience.VENDOR: "/marketplace/vendor/reports"}
    return f"{roots[audience]}/{report_id}" if audience in roots else None


def shown(tx: Tx, vendor_id: str | None = None, *, limit: int = 100) -> list[Report]:
    """Finished reports for a page, newest first: a vendor's own, or with no vendor those for everybody."""
    return [_report(row) for row in rows.shown(tx, vendor_id=vendor_id, limit=limit)]


def show(tx: Tx, report_id: str, vendor_id: str | None = None) -> Report:
    """One of :func:`shown`.

    Raises:
        NotFoundError: It is absent, not finished, or for other eyes.
    """
    found = rows.shown(tx, vendor_id=vendor_id, report_id=report_id)
    if not found:
        raise NotFoundError(f"There is no report {report_id[:80]!r} here.", hint="See the list of reports.")
    return _report(found[0])


def every(tx: Tx, *, name: str | None = None, limit: int = 20) -> list[Report]:
    """Reports of any kind, newest first: for the operator."""
    return [_report(row) for row in rows.listed(tx, name=name, limit=limit)]


def find(tx: Tx, report_id: str) -> Report:
    """One report of any kind: for the operator.

    Raises:
        NotFoundError: There is none of that id.
    """
    found = rows.listed(tx, report_id=report_id)
    if not found:
        raise NotFoundError(f"There is no report {report_id[:80]!r}.", hint="See them: mp admin report list")
    return _report(found[0])


def html(store: ObjectStore, report: Report) -> bytes:
    """A report's HTML.

    Raises:
        NotFoundError: It left none, or it is gone from the store.
    """
    if report.object_key is None:
        raise NotFoundError(f"Report {report.id} left no HTML: {report.failure or report.status}.")
    with store.open(report.object_key) as file:
        return file.read()


def _report(row: Row[Any]) -> Report:
    return Report.model_validate(dict(row._mapping))  # noqa: SLF001 - SQLAlchemy's public way to a row's mapping


def _key(name: str, report_id: str, suffix: str) -> str:
    return f"reports/{name}/{report_id}.{suffix}"
