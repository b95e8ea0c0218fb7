"""``mp signals``: push and list."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from mp_kit.cli.deployments import DeploymentOption, linked
from mp_kit.cli.output import EXIT_CODES, OK, DryRun, IdempotencyKey, Json, emit
from mp_kit.cli.session import session
from mp_kit.errors import ConflictError, InvalidInputError

app = typer.Typer(help="Push and list signals.", no_args_is_help=True, rich_markup_mode=None)

File = Annotated[
    str, typer.Option("--file", "-f", help=".parquet, .csv, .json, .jsonl or .ndjson; '-' for JSON lines.")
]


@app.command("push")
def push(
    file: File = "-",
    deployment: DeploymentOption = None,
    atomic: Annotated[bool, typer.Option("--atomic", help="All or none.")] = False,
    idempotency_key: IdempotencyKey = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> int:
    """Sends signals; sending them again is harmless. Exit 5 if rows were rejected, 7 if some conflict."""
    from mp_kit.client.rows import signal_writes

    writes = signal_writes(read(file))
    if dry_run:
        emit({"valid": len(writes)}, as_json=json, text=f"{len(writes)} signals are valid; nothing was sent")
        return OK
    market = session()
    _, token = linked(market, deployment)
    done = market.signals.push(writes, token, atomic=atomic, idempotency_key=idempotency_key)
    counts = {name: getattr(done, name) for name in ("accepted", "duplicates", "conflicts", "rejected")}
    receipts = [receipt.model_dump(mode="json", exclude_none=True) for receipt in done.receipts]
    emit(counts | {"receipts": receipts}, as_json=json, text=repr(done))
    if done.rejected:
        return EXIT_CODES[InvalidInputError]
    return EXIT_CODES[ConflictError] if done.conflicts else OK


@app.command("list")
def list_(
    symbol: Annotated[str | None, typer.Option(help="Only this one.")] = None,
    timeframe: Annotated[str | None, typer.Option(help="Only this one.")] = None,
    deployment: Annotated[str | None, typer.Option(help="Only this one.")] = None,
    start: Annotated[str | None, typer.Option("--from", help="First instant, such as 2026-01-02.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Last instant.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1)] = 50,
    json: Json = False,
) -> None:
    """Lists your stored signals."""
    box = session().signals
    found = box.list(symbol, timeframe, deployment_id=deployment, start=start, end=end, limit=limit)
    emit(found, as_json=json)


def read(file: str) -> Any:
    """Reads signals out of a file, by its ending.

    Raises:
        InvalidInputError: The file is absent, of another kind, or unreadable.
    """
    if file == "-":
        return _lines(sys.stdin.read())
    path = Path(file)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InvalidInputError(f"{path.name} is of no kind that is read.", hint=f"It is one of {', '.join(_READERS)}.")
    try:
        return reader(path)
    except OSError as error:
        raise InvalidInputError(f"{path} can't be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise InvalidInputError(f"{path} can't be read: {error}.") from error


def _lines(text: str) -> list[Any]:
    import json as codec

    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                found.append(codec.loads(line))
            except ValueError as error:
                raise InvalidInputError(f"Line {number} is no JSON.", hint="One JSON object per line.") from error
    return found


def _json(path: Path) -> Any:
    import json as codec

    return codec.loads(path.read_text(encoding="utf-8"))


def _parquet(path: Path) -> Any:
    import pyarrow.parquet as pq

    return pq.read_table(path, partitioning=None)


def _csv(path: Path) -> Any:
    import csv

    with path.open(newline="", encoding="utf-8") as stream:
        # An empty cell is a missing field.
        return [{name: cell for name, cell in row.items() if cell} for row in csv.DictReader(stream)]


_READERS: dict[str, Callable[[Path], Any]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".json": _json,
    ".jsonl": lambda path: _lines(path.read_text(encoding="utf-8")),
    ".ndjson": lambda path: _lines(path.read_text(encoding="utf-8")),
}
