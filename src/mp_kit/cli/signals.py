"""``mp signals``: push, flush, list and verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mp_kit.cli.deployments import DeploymentOption, speaker
from mp_kit.cli.hosting import find
from mp_kit.cli.output import EXIT_CODES, FAILED, OK, DryRun, IdempotencyKey, Json, emit
from mp_kit.cli.reading import KINDS, in_options, read, some
from mp_kit.cli.session import session
from mp_kit.errors import ConflictError, InvalidInputError, NetworkError

__all__ = ["app", "read"]

app = typer.Typer(help="Push, flush, list and verify signals.", no_args_is_help=True, rich_markup_mode=None)

OneFile = Annotated[str | None, typer.Argument(metavar="[FILE]", help=f"{KINDS}; '-' for JSON lines on stdin.")]
FileOption = Annotated[str | None, typer.Option("--file", "-f", help="The same as FILE.")]
Column = Annotated[
    list[str] | None, typer.Option("--column", help="THEIRS=FIELD, where a column's name does not say it; repeatable.")
]
Fill = Annotated[
    list[str] | None, typer.Option("--fill", help="FIELD=value for rows without it, such as timeframe=1h; repeatable.")
]


@app.command("push")
def push(  # noqa: PLR0913 - one argument an option
    file: OneFile = None,
    *,
    file_option: FileOption = None,
    column: Column = None,
    fill: Fill = None,
    deployment: DeploymentOption = None,
    atomic: Annotated[bool, typer.Option("--atomic", help="All or none.")] = False,
    idempotency_key: IdempotencyKey = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> int:
    """Keeps signals on disk, then sends them; sending them again is harmless.

    Exit 5 if rows were rejected, 7 if some conflict, 9 if some wait for the network: `mp signals flush` sends those.
    """
    from mp_kit.client.rows import Reading, signal_writes

    how = Reading(_texts(column, "--column"), _texts(fill, "--fill"))
    with in_options():
        writes = some(signal_writes(read(_source(file, file_option)), how), "signals")
    if dry_run:
        emit({"valid": len(writes)}, as_json=json, text=f"valid: {len(writes)}; nothing was sent")
        return OK
    market = session()
    deployment_id, token = speaker(market, deployment)
    done = market.signals.push(
        writes,
        token,
        deployment_id=deployment_id if token is not None else None,
        atomic=atomic,
        idempotency_key=idempotency_key,
    )
    counts = {name: getattr(done, name) for name in ("accepted", "duplicates", "conflicts", "rejected", "pending")}
    receipts = [receipt.model_dump(mode="json", exclude_none=True) for receipt in done.receipts]
    emit(counts | {"reason": done.reason, "receipts": receipts}, as_json=json, text=lambda: repr(done))
    if done.rejected:
        return EXIT_CODES[InvalidInputError]
    if done.conflicts:
        return EXIT_CODES[ConflictError]
    return EXIT_CODES[NetworkError] if done.pending else OK


@app.command("flush")
def flush(deployment: DeploymentOption = None, json: Json = False) -> int:
    """Sends the signals that wait in the outbox, oldest first. Exit 9 if some still wait."""
    market = session()
    chosen, token = (None, None) if deployment is None else speaker(market, deployment)
    done = market.signals.flush(token, deployment_id=chosen)
    emit(vars(done), as_json=json, text=lambda: repr(done))
    return EXIT_CODES[NetworkError] if done.pending else OK


@app.command("pending")
def pending(json: Json = False) -> None:
    """Lists what waits in the outbox, and why."""
    found = session().signals.pending()
    emit(found, as_json=json)


@app.command("rejected")
def rejected(
    forget: Annotated[bool, typer.Option("--forget", help="Forget them afterwards.")] = False, json: Json = False
) -> None:
    """Lists signals that the marketplace refused for good, with its reasons."""
    emit(session().signals.rejected(forget=forget), as_json=json)


@app.command("verify")
def verify(
    deployment: Annotated[str | None, typer.Option("--deployment", help="Only this one; all by default.")] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="A saved proof; needs no network.")] = None,
    save: Annotated[Path | None, typer.Option("--save", help="Save the proof here.")] = None,
    json: Json = False,
) -> int:
    """Checks the signed receipts of your signals: nothing changed, removed or slipped in. Exit 1 if they don't hold."""
    if file is not None and save is not None:
        raise InvalidInputError("A saved proof is there already.", hint="Pass --file or --save, not both.")
    market = session()
    if deployment is not None and file is None:
        deployment = find(market, deployment)
    done = market.signals.verify(deployment, file=file, save=save)
    facts = {"ok": done.ok, "keys": done.keys, "chains": [vars(report) | {"ok": report.ok} for report in done.reports]}
    emit(facts, as_json=json, text=lambda: repr(done))
    return OK if done.ok else FAILED


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
    market = session()
    whose = None if deployment is None else find(market, deployment)
    found = market.signals.list(symbol, timeframe, deployment_id=whose, start=start, end=end, limit=limit)
    emit(found, as_json=json)


def _source(file: str | None, option: str | None) -> str:
    """What to read.

    Raises:
        InvalidInputError: Two files, or none: a cron job's variable that is empty must not count as an empty stdin.
    """
    if file is not None and option is not None:
        raise InvalidInputError("FILE and --file both name a file.", hint="Pass one of them.")
    if not (given := file or option):
        hint = f"mp signals push FILE, or --file FILE ({KINDS}); '-' reads JSON lines from stdin."
        raise InvalidInputError("No file of signals was given: nothing was pushed.", hint=hint)
    return given


def _texts(given: list[str] | None, option: str) -> dict[str, str]:
    """``name=value`` options as they were typed: a version such as 1.10 is text, no number.

    Raises:
        typer.BadParameter: One has no ``=`` or no name.
    """
    found = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise typer.BadParameter(f"{option} wants name=value, got {text!r}.")
        found[name.strip()] = value
    return found
