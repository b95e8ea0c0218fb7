"""``mp up``: the embedded marketplace, until Ctrl-C."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mp_kit.cli.output import Json, say

if TYPE_CHECKING:
    from mp_kit.server.up import Place


def up(
    home: Annotated[
        Path | None, typer.Option("--home", help="Folder of all its state; MP_HOME, else your data folder.")
    ] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Where the edge listens; 0: any.")] = 3010,
    source: Annotated[
        str, typer.Option("--source", help="A first round's bars where there is none: ecb, a path or URL; or none.")
    ] = "ecb",
    schedules: Annotated[
        bool, typer.Option("--schedules/--no-schedules", help="Flows run by their schedules, or only when asked for.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Run the marketplace on this machine: Postgres, Prefect, the flows and the edge.

    A home without any round gets a first one. Prints `ready http://127.0.0.1:PORT` when each part answers, says where
    Prefect's and the operator's pages are, and stops cleanly on Ctrl-C or SIGTERM.
    """
    from importlib.util import find_spec

    from mp_kit.errors import MissingExtraError

    if find_spec("prefect") is None:  # the parts that need it start later, as processes of their own
        raise MissingExtraError.for_extra("flows", "`mp up` (it misses prefect)")
    from mp_kit.server.settings import default_home
    from mp_kit.server.up import run

    def ready(place: Place) -> None:
        _announce(place, as_json=as_json)

    run(home or default_home(), port, source=source, say=say, ready=ready, schedules=schedules)


def _announce(place: Place, *, as_json: bool) -> None:
    import json

    facts = {"base_url": place.base_url, "prefect_api_url": place.prefect_api_url, "home": str(place.home)}
    facts |= {"prefect_url": place.prefect_api_url.removesuffix("/api")}
    facts |= {"operator_url": f"{place.base_url}/marketplace/operator/reports"}
    sys.stdout.write(f"{json.dumps(facts) if as_json else f'ready {place.base_url}'}\n")
    sys.stdout.flush()
    say(f"flows and their runs: {facts['prefect_url']}")
    say(f"the operator's pages: {facts['operator_url']}, signed in with {_service_key(place.home)}")


def _service_key(home: Path) -> str:
    """Where the operator's key lies; what it is stands nowhere but there."""
    from mp_kit.server.settings import SECRETS_FILE

    name = "MP_SERVICE_KEY"
    return f"{name} of this environment" if os.environ.get(name) else f"{name} in {home / SECRETS_FILE}"
