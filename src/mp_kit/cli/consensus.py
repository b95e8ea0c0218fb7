"""``mp consensus``: show, history and push."""

from __future__ import annotations

from typing import Annotated

import typer

from mp_kit.cli.deployments import DeploymentOption, speaker
from mp_kit.cli.output import EXIT_CODES, OK, DryRun, IdempotencyKey, Json, emit
from mp_kit.cli.reading import read, some
from mp_kit.cli.session import session
from mp_kit.errors import ConflictError, InvalidInputError

app = typer.Typer(help="The blended view of bars.", no_args_is_help=True, rich_markup_mode=None)

Symbol = Annotated[str, typer.Argument(help="Such as EURUSD.")]
Timeframe = Annotated[
    str | None, typer.Option("--timeframe", "-t", help="1m, 5m, 15m, 1h, 4h or 1d; bars of any by default.")
]
Method = Annotated[
    str | None,
    typer.Option(help="equal, confidence, confidence_skill or vendor:MODEL; the operator's choice by default."),
]


@app.command("show")
def show(symbol: Symbol, timeframe: Timeframe = None, method: Method = None, json: Json = False) -> None:
    """Shows the newest blended bar of a symbol, with who contributed what."""
    emit(session().consensus.latest(symbol, timeframe, method), as_json=json)


@app.command("history")
def history(
    symbol: Symbol,
    timeframe: Timeframe = None,
    method: Method = None,
    start: Annotated[str | None, typer.Option("--from", help="First instant, such as 2026-01-02.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="The instant before which it ends.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=1_000)] = 50,
    json: Json = False,
) -> None:
    """Lists blended bars of a symbol, newest first."""
    box = session().consensus
    emit(box.list(symbol, timeframe, limit, method=method, start=start, end=end), as_json=json)


@app.command("push")
def push(
    file: Annotated[str, typer.Option("--file", "-f", help=".json, .jsonl or .ndjson; '-' for JSON lines.")] = "-",
    deployment: DeploymentOption = None,
    atomic: Annotated[bool, typer.Option("--atomic", help="All or none.")] = False,
    idempotency_key: IdempotencyKey = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> int:
    """Sends your own consensus model's rows; again is harmless. Exit 5 if some were rejected, 7 if some conflict."""
    from mp_kit.client.consensus import consensus_writes

    found = read(file)
    writes = some(consensus_writes([found] if isinstance(found, dict) else found), "rows")
    if dry_run:
        emit({"valid": len(writes)}, as_json=json, text=f"valid: {len(writes)}; nothing was sent")
        return OK
    market = session()
    _, token = speaker(market, deployment)
    done = market.consensus.push(writes, token, atomic=atomic, idempotency_key=idempotency_key)
    counts = {name: getattr(done, name) for name in ("accepted", "duplicates", "conflicts", "rejected")}
    receipts = [receipt.model_dump(mode="json", exclude_none=True) for receipt in done.receipts]
    emit(counts | {"receipts": receipts}, as_json=json, text=lambda: repr(done))
    if done.rejected:
        return EXIT_CODES[InvalidInputError]
    return EXIT_CODES[ConflictError] if done.conflicts else OK
