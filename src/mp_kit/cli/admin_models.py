"""``mp admin model``: the operator's word on versions, without which none goes to prod."""

from __future__ import annotations

from typing import Annotated

import typer

from mp_kit.cli.admin_parts import ACTOR, Home, open_house
from mp_kit.cli.output import Json, emit

app = typer.Typer(help="Approval of models.", no_args_is_help=True, rich_markup_mode=None)

ModelId = Annotated[str, typer.Argument(metavar="MODEL", help="The model's id.")]
VersionName = Annotated[str, typer.Argument(metavar="VERSION", help="The version.")]
Why = Annotated[str, typer.Option("--why", help="What was looked at; it stays.")]


@app.command("approve")
def approve(model: ModelId, version: VersionName, why: Why, home: Home = None, json: Json = False) -> None:
    """Opens the last gate of prod to a version; its vendor moves it."""
    _say(model, version, why, home, as_json=json, granted=True)


@app.command("refuse")
def refuse(model: ModelId, version: VersionName, why: Why, home: Home = None, json: Json = False) -> None:
    """Takes an approval back; a version that is in prod already stays there."""
    _say(model, version, why, home, as_json=json, granted=False)


def _say(model: str, version: str, why: str, home: Home, *, as_json: bool, granted: bool) -> None:
    from mp_kit.server.services import gates

    with open_house(home) as house, house.db.begin() as tx:
        note = gates.approve(tx, model, version, why, actor=ACTOR, granted=granted)
    emit(note, as_json=as_json, text=f"{version} of {model} is {'approved' if granted else 'refused'}: {note.why}")
