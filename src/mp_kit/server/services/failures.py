"""Training runs that failed, as the operator is told of them: each once, as long as the telling succeeds.

Until when they were told is a line of the audit log, so that one who dies in between tells again rather than never.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text

from mp_kit.server.redaction import redact
from mp_kit.server.services import audit
from mp_kit.server.store.engine import Tx
from mp_kit.server.store.queries import named

__all__ = ["MOST", "letter", "table", "told", "untold"]

MOST = 200
"""Runs of one message."""

_SUBJECT = "failed-runs"
_CHARS = 300


def untold(tx: Tx) -> list[dict[str, Any]]:
    """Runs that failed since the operator was last told, oldest first; of the last day where that never was."""
    rows = tx.execute(text(named("untold_failures")), {"subject": _SUBJECT, "limit": MOST})
    found = [dict(row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public way to a row's mapping
    return [one | {"failure": redact(one["failure"] or "")[:_CHARS]} for one in found]


def told(tx: Tx, failed: Sequence[dict[str, Any]], *, actor: str) -> None:
    """Notes that the operator was told of these."""
    until: datetime = max(one["finished_at"] for one in failed)
    audit.record(tx, actor, "failures.tell", _SUBJECT, until=until.isoformat(), runs=len(failed))


def table(failed: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows about them that become JSON: US dollars as a number, times as ISO 8601 texts."""
    return [
        one
        | {
            "cost_usd": None if one["cost_usd"] is None else float(one["cost_usd"]),
            "finished_at": one["finished_at"].isoformat(timespec="seconds"),
        }
        for one in failed
    ]


def letter(failed: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """Subject and text of a mail about them."""
    count = f"{len(failed)} training run{'' if len(failed) == 1 else 's'} failed"
    lines = [f"{one['run']}  {one['vendor']}, {one['task']} at {one['provider']}: {one['failure']}" for one in failed]
    return count, "\n".join([f"{count}.", "", *lines, ""])
