"""``mp data``: rounds and their files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mp_kit.cli.output import DryRun, Json, RoundOption, emit
from mp_kit.cli.session import session

app = typer.Typer(help="Rounds and their files.", no_args_is_help=True, rich_markup_mode=None)

Output = Annotated[Path | None, typer.Option("--output", "-o", help="Folder; data/<round id> by default.")]
Files = Annotated[list[str] | None, typer.Option("--file", help="Only this file; repeatable.")]
Symbols = Annotated[list[str] | None, typer.Option("--symbol", help="Only this symbol; repeatable.")]
Roles = Annotated[list[str] | None, typer.Option("--role", help="Only this role (train, validation, …); repeatable.")]


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(help="At most so many.", min=1)] = 20,
    json: Json = False,
) -> None:
    """Lists the published rounds, newest first."""
    emit(session().rounds.list(limit), as_json=json)


@app.command("info")
def info(round: RoundOption = "current", json: Json = False) -> None:  # noqa: A002 - the option's name
    """Shows a round and its files."""
    found = session().rounds.get(round)
    emit(found, as_json=json, text=lambda: f"{found!r}\n\n{found.table()!r}")


@app.command("pull")
def pull(
    round: RoundOption = "current",  # noqa: A002 - the option's name
    output: Output = None,
    file: Files = None,
    symbol: Symbols = None,
    role: Roles = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Fetches a round's files, verified against its signed manifest; what is there already is not fetched again."""
    market = session()
    if dry_run:
        from mp_kit.client.data import select

        manifest = market.rounds.manifest(round)
        chosen = select(manifest, files=file or None, symbols=symbol or None, roles=role or None)
        rows = [{"name": item.name, "size_bytes": item.size_bytes, "sha256": item.sha256} for item in chosen]
        emit(rows, as_json=json, text="\n".join(f"{row['size_bytes']:>14,}  {row['name']}" for row in rows))
        return
    pulled = market.data.pull(round, output, files=file or None, symbols=symbol or None, roles=role or None)
    facts = {
        "path": str(pulled.path),
        "round_id": pulled.round_id,
        "files": [path.name for path in pulled.files],
        "bytes": pulled.bytes,
        "fetched_bytes": pulled.fetched_bytes,
        "seconds": round_seconds(pulled.seconds),
        "verified": pulled.verified,
    }
    emit(facts, as_json=json, text=repr(pulled))


def round_seconds(seconds: float) -> float:
    """Milliseconds are precise enough."""
    return float(f"{seconds:.3f}")
