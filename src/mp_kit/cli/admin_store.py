"""``mp admin store``: what lies in the object store that nobody will finish."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mp_kit.cli.output import Json, emit, table

if TYPE_CHECKING:
    from mp_kit.server.services.sweeping import Swept
    from mp_kit.server.storage import Stale

app = typer.Typer(help="The object store.", no_args_is_help=True, rich_markup_mode=None)

Home = Annotated[Path | None, typer.Option("--home", help="The marketplace's folder; MP_HOME, else your data folder.")]


@app.command("sweep")
def sweep(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed, and remove nothing.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """Removes uploads that were never taken in, and what killed puts and uploads left behind."""
    from mp_kit.server.services.sweeping import sweep_staged
    from mp_kit.server.wiring import open_house

    with open_house(home) as house:
        swept = sweep_staged(house.store, datetime.now(UTC), dry_run=dry_run)
    rows = [_row(one) for one in swept.found]
    facts = {"found": rows, "count": len(rows), "size_bytes": swept.size_bytes, "dry_run": dry_run}
    emit(facts, as_json=json, text=lambda: _told(swept, rows))


@app.command("rules")
def rules(home: Home = None, json: Json = False) -> None:
    """Has the bucket clear these by itself, beside the rules that it has; the edge does this when it starts."""
    from mp_kit.server.wiring import open_house

    with open_house(home) as house:
        found = house.store.tidy.ensure_lifecycle()
    emit(asdict(found), as_json=json, text=found.detail)


def _row(one: Stale) -> dict[str, str | int | None]:
    since = one.since.isoformat(timespec="seconds").replace("+00:00", "Z")
    return {"kind": one.kind, "key": one.key, "size_bytes": one.size_bytes, "since": since}


def _told(swept: Swept, rows: list[dict[str, str | int | None]]) -> str:
    if not rows:
        return "There is nothing to remove."
    done = "would go" if swept.dry_run else "are gone"
    return f"{table(rows, ['kind', 'key', 'size_bytes', 'since'])}\n\n{len(rows)}, {swept.size_bytes:,} bytes, {done}."
