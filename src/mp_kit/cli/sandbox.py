"""``mp sandbox``: a whole marketplace to rehearse in."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from mp_kit.cli.output import Json, emit, listed, say

if TYPE_CHECKING:
    from mp_kit.rehearsal.box import Sandbox


def sandbox(  # noqa: PLR0913, PLR0917 - each is an option, all by name
    bars: Annotated[
        str | None, typer.Option("--bars", help="Bars to replay: a file, folder or glob; else the ECB's fixings.")
    ] = None,
    start: Annotated[str | None, typer.Option("--start", help="First day; else so many days before the end.")] = None,
    days: Annotated[
        float | None, typer.Option("--days", help="How many days to replay; 30 by default, 60 of daily bars.")
    ] = None,
    vendors: Annotated[int, typer.Option("--vendors", min=0, help="How many of the house's vendors speak.")] = 3,
    symbol: Annotated[
        list[str] | None, typer.Option("--symbol", help="Only these; repeatable, or comma-separated.")
    ] = None,
    timeframe: Annotated[str | None, typer.Option("--timeframe", "-t", help="Resample the bars to it.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Stay up afterwards, until Ctrl-C.")] = False,
    home: Annotated[str | None, typer.Option("--home", help="An empty folder for its state, which stays.")] = None,
    json: Json = False,
) -> None:
    """Replays days of real bars in a marketplace of its own, and prints the leaderboard that comes of it.

    The marketplace is the real one with a clock that moves: the house's vendors speak at each close over HTTP, rounds
    are published as time goes by, everybody is scored. Nothing leaves this machine, and nothing stays but --home.
    """
    from mp_kit.rehearsal.opening import sandbox as opened

    say("opening the sandbox")
    with opened(
        bars, start=start, vendors=vendors, days=days, symbols=listed(symbol), timeframe=timeframe, home=home
    ) as box:
        say(f"it is {box.now:%Y-%m-%d %H:%M}Z at {box.url}")
        done = box.run(box.usual_days if days is None else days, progress=not json)
        done = done if keep else replace(done, url="")  # nobody answers there any more
        emit(done.to_dict() if json else done, as_json=json)
        if keep:
            _stay(box)


def _stay(box: Sandbox) -> None:
    folder = box.profile()
    say(f"ready {box.url}/marketplace: sign in with the key in {folder}/mp/config.json; Ctrl-C ends it")
    say(f"your commands: XDG_CONFIG_HOME={folder} mp leaderboard")
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
