"""``mp health``, ``mp catalog``, ``mp consensus``: what anybody may see."""

from __future__ import annotations

from typing import Annotated

import typer

from mp_kit.cli.output import Json, emit
from mp_kit.cli.session import session


def health(json: Json = False) -> None:
    """Shows how the marketplace is."""
    found = session().health()
    emit(found, as_json=json, text=f"{found.status}  {found.service} {found.version}")


def catalog(json: Json = False) -> None:
    """Lists the models in pilot or production."""
    emit(session().catalog(), as_json=json)


def consensus(
    symbol: Annotated[str, typer.Argument(help="Such as EURUSD.")],
    timeframe: Annotated[str, typer.Option("--timeframe", "-t", help="1m, 5m, 15m, 1h, 4h or 1d.")] = "1h",
    history: Annotated[int, typer.Option(help="So many past ones in place of the latest.", min=0)] = 0,
    json: Json = False,
) -> None:
    """Shows the blended view of a symbol, with who contributed what."""
    box = session().consensus
    emit(box.list(symbol, timeframe, history) if history else box.latest(symbol, timeframe), as_json=json)
