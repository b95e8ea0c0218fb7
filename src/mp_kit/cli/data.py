"""``mp data``: rounds and their files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mp_kit.cli.output import DryRun, Json, RoundOption, emit, listed
from mp_kit.cli.session import session

app = typer.Typer(help="Rounds and their files.", no_args_is_help=True, rich_markup_mode=None)
cache_app = typer.Typer(help="The cache of files that rounds share.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(cache_app, name="cache")

Output = Annotated[Path | None, typer.Option("--output", "-o", help="Folder; data/<round id> by default.")]
Files = Annotated[list[str] | None, typer.Option("--file", help="Only this file; repeatable.")]
Symbols = Annotated[
    list[str] | None, typer.Option("--symbol", "--symbols", help="Only these; repeatable, or comma-separated.")
]
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
    cache: Annotated[bool, typer.Option(help="Keep and use files in the cache that rounds share.")] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Fetches a round's files, verified against its signed manifest; what is there already is not fetched again."""
    market = session()
    symbol = listed(symbol)
    if dry_run:
        from mp_kit.client.data import select

        manifest = market.rounds.manifest(round)
        chosen = select(manifest, files=file or None, symbols=symbol, roles=role or None)
        rows = [{"name": item.name, "size_bytes": item.size_bytes, "sha256": item.sha256} for item in chosen]
        emit(rows, as_json=json, text="\n".join(f"{row['size_bytes']:>14,}  {row['name']}" for row in rows))
        return
    pulled = market.data.pull(round, output, files=file or None, symbols=symbol, roles=role or None, cache=cache)
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


@app.command("verify")
def verify(
    folder: Annotated[Path, typer.Argument(help="A folder that was pulled.", metavar="DIR")],
    json: Json = False,
) -> None:
    """Verifies a pulled folder offline: the manifest's signature by a pinned key, then each file's hash."""
    from mp_kit.client.offline import verify_folder

    found = verify_folder(folder)
    facts = {
        "path": str(found.path),
        "round_id": found.round_id,
        "key_id": found.key_id,
        "files": found.files,
        "absent": found.absent,
        "verified": True,
    }
    emit(facts, as_json=json, text=repr(found))


@app.command("trust")
def trust(
    key_id: Annotated[str, typer.Argument(help="The key's id, as the operator confirmed it.")],
    json: Json = False,
) -> None:
    """Accepts another signing key of the marketplace; ask the operator over another channel first."""
    session().rounds.trust(key_id)
    emit({"key_id": key_id, "trusted": True}, as_json=json, text=f"Key {key_id} is pinned.")


@cache_app.command("list")
def cache_list(json: Json = False) -> None:
    """Lists the cache's files, the longest unused first."""
    from mp_kit.client.cache import Cache

    found = Cache().list()
    rows = [
        {"sha256": one.sha256, "size_bytes": one.size_bytes, "used_at": one.used_at.isoformat(timespec="seconds")}
        for one in found
    ]
    emit(rows, as_json=json, text="\n".join(f"{r['used_at']}  {r['size_bytes']:>14,}  {r['sha256']}" for r in rows))


@cache_app.command("prune")
def cache_prune(
    unused_days: Annotated[float, typer.Option(help="Not used for so many days; 0 removes everything.")] = 30.0,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Removes files that were not used for long, and what killed pulls left; pulled folders keep theirs."""
    from mp_kit.client.cache import Cache

    freed = Cache().prune(unused_days, dry_run=dry_run)
    facts = {"files": freed.files, "bytes": freed.bytes, "dry_run": dry_run}
    done = "would go" if dry_run else "are gone"
    emit(facts, as_json=json, text=f"{freed.files} files, {freed.bytes:,} bytes {done}.")


@cache_app.command("verify")
def cache_verify(json: Json = False) -> None:
    """Hashes the cache's files and removes those that are not what their name says."""
    from mp_kit.client.cache import Cache

    cache = Cache()
    count = len(cache.list())
    bad = [one.sha256 for one in cache.verify()]
    emit({"files": count, "removed": bad}, as_json=json, text=f"{count} files, {len(bad)} were wrong and are gone.")


def round_seconds(seconds: float) -> float:
    """Milliseconds are precise enough."""
    return float(f"{seconds:.3f}")
