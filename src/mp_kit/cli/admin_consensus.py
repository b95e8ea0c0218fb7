"""``mp admin consensus``: which method is shown first."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from mp_kit.cli.admin_parts import ACTOR, Home, instant, open_house
from mp_kit.cli.output import Json, emit, table

app = typer.Typer(help="How the consensus is blended.", no_args_is_help=True, rich_markup_mode=None)


@app.command("methods")
def methods(home: Home = None, json: Json = False) -> None:
    """Lists the methods that blended anything, and which one is shown first."""
    from mp_kit.server.services import consensus

    with open_house(home) as house, house.db.begin() as tx:
        found = [asdict(one) for one in consensus.methods(tx)]
    rows = [one | {"newest": one["newest"] and instant(one["newest"])} for one in found]
    emit(rows, as_json=json, text=lambda: table(rows, ["method", "primary", "bars", "newest", "vendor"]))


@app.command("method")
def method(
    name: Annotated[str, typer.Argument(help="equal, confidence, confidence_skill or vendor:MODEL.")],
    home: Home = None,
    json: Json = False,
) -> None:
    """Makes a method the one that is shown where nobody asks for another; also a vendor's own model."""
    from mp_kit.server.services import consensus

    with open_house(home) as house, house.db.begin() as tx:
        before = consensus.choose(tx, name, actor=ACTOR)
    emit({"before": before, "method": name}, as_json=json, text=f"{name} is shown first, where it was {before}.")
