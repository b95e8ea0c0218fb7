"""``mp leaderboard`` and ``mp score``."""

from __future__ import annotations

from typing import Annotated

import typer

from mp_kit.cli.output import Json, RoundOption, emit
from mp_kit.cli.session import session

Timeframe = Annotated[str | None, typer.Option("--timeframe", "-t", help="Only this one.")]


def leaderboard(
    timeframe: Timeframe = None,
    mine: Annotated[bool, typer.Option("--mine", help="Your own, models in shadow too.")] = False,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1)] = 100,
    json: Json = False,
) -> None:
    """Lists deployments by deflated Sharpe ratio, a line for each timeframe, each number with its 95 % interval."""
    scores = session().scores
    emit(scores.own(timeframe, limit) if mine else scores.leaderboard(timeframe, limit), as_json=json)


def score(
    file: Annotated[str, typer.Argument(help="Signals: .parquet, .csv, .json, .jsonl or .ndjson; '-' for JSON lines.")],
    round: RoundOption = "current",  # noqa: A002 - the vendor's word
    deployment: Annotated[str | None, typer.Option(help="Only its signals.")] = None,
    cost: Annotated[float, typer.Option(help="Of trading one unit of capital, as a share.", min=0)] = 0.0,
    tries: Annotated[int | None, typer.Option(help="All that you made, for the deflated Sharpe ratio.", min=1)] = None,
    json: Json = False,
) -> None:
    """Scores signals here, with the marketplace's own numbers bit for bit; signals are kept to this machine."""
    from mp_kit.cli.reading import read

    told = read(file)
    found = session().scores.score(told, round, deployment=deployment, cost=cost, tries=tries, progress=not json)
    aside = {"set_aside": found.set_aside} if found.set_aside else {}
    emit(found.model_dump(mode="json") | aside, as_json=json, text=lambda: repr(found))
