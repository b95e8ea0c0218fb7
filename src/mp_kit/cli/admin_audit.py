"""``mp admin audit``: who did what to what, when, from where, and what came of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mp_kit.cli.admin_parts import Home, instant, open_house
from mp_kit.cli.output import Json, emit, table

if TYPE_CHECKING:
    from mp_kit.server.store.engine import Tx

_COLUMNS = ["at", "actor", "action", "subject", "outcome", "address", "detail"]


def audit(
    about: Annotated[
        str | None, typer.Argument(help="An id, or a vendor's name: what it did and what befell it.")
    ] = None,
    hours: Annotated[float, typer.Option(min=0.01, max=87_600, help="How far back to look.")] = 24,
    action: Annotated[str, typer.Option(help="How the action begins: vendor, key.revoke, sweep, …")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Entries at most.")] = 100,
    home: Home = None,
    json: Json = False,
) -> None:
    """Shows the audit log, newest first; it can only grow."""
    from mp_kit.server.services import audit as log

    since = datetime.now(UTC) - timedelta(hours=hours)
    with open_house(home) as house, house.db.begin() as tx:
        found = log.newest(tx, since, about=_id_of(tx, about), action=action, limit=limit)
    rows = [{**row._mapping, "at": instant(row.at)} for row in found]  # noqa: SLF001 - SQLAlchemy's public name
    emit(
        rows,
        as_json=json,
        text=lambda: table(
            [_told(row) for row in rows], ["at", "actor", "action", "subject", "outcome", "address", "detail"]
        ),
    )


def _id_of(tx: Tx, about: str | None) -> str | None:
    """The id of the vendor of that name; else it is taken for an id."""
    from mp_kit.server.store import vendors

    row = vendors.find_by_id_or_name(tx, about) if about else None
    return about if row is None else str(row.id)


def _told(row: dict[str, Any]) -> dict[str, Any]:
    facts = ", ".join(f"{name}={value}" for name, value in row["detail"].items() if value not in (None, "", []))
    return {**row, "detail": facts}
