"""``mp admin report``: what reports there are, and a look at one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mp_kit.cli.admin_parts import Home, instant, open_house
from mp_kit.cli.output import Json, emit, table

app = typer.Typer(help="Reports that notebooks made.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_(
    name: Annotated[str | None, typer.Option(help="Only of this notebook, such as daily.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Reports at most.")] = 20,
    home: Home = None,
    json: Json = False,
) -> None:
    """Lists reports of every kind, newest first; failed ones too."""
    from mp_kit.server.services import reports

    with open_house(home) as house, house.db.begin() as tx:
        found = reports.every(tx, name=name, limit=limit)
    rows = [one.model_dump(mode="json") | {"created_at": instant(one.created_at)} for one in found]
    columns = ["id", "name", "status", "audience", "vendor", "created_at"]
    emit(rows, as_json=json, text=lambda: table(rows, columns))


@app.command("open")
def open_(
    report: Annotated[str, typer.Argument(metavar="REPORT", help="Its id: rep_…; or a notebook's name: its newest.")],
    to: Annotated[
        Path | None, typer.Option("--to", help="Where to write the HTML; a file in your cache folder if left out.")
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only write it, and say where.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """Writes a report's HTML to a file that only you read, and opens it in the browser."""
    import os
    import webbrowser

    from mp_kit.server.services import reports

    with open_house(home) as house:
        with house.db.begin() as tx:
            newest = reports.every(tx, name=report, limit=1)
            found = newest[0] if newest else reports.find(tx, report)
        html = reports.html(house.store, found)
    path = to or _shelf() / f"{found.id}.html"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(html)
    opened = not no_browser and not json and webbrowser.open(path.absolute().as_uri())
    emit({"report": found, "path": str(path), "opened": opened}, as_json=json, text=str(path))


def _shelf() -> Path:
    """Where looked-at reports lie: the browser reads them after the command has ended, and each lies there once."""
    from mp_kit.client.config import cache_dir

    folder = cache_dir() / "reports"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
