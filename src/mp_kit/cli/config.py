"""``mp config``: the profile."""

from __future__ import annotations

from typing import Annotated

import typer

from mp_kit.cli.output import Json, emit, say, worded
from mp_kit.errors import InvalidInputError

app = typer.Typer(help="Show or set the profile.", no_args_is_help=True, rich_markup_mode=None)


@app.command("show")
def show(json: Json = False) -> None:
    """Shows where the marketplace is and whether a key is there; never the key."""
    from mp_kit.client import config

    found = config.resolve()
    facts = {
        "api_url": found.api_url,
        "api_url_from": found.url_from,
        "token": "set" if found.token else "none",
        "token_from": found.token_from,
        "deployments": sorted(config.load().deployments),
        "profile": str(config.config_dir() / "config.json"),
    }
    emit(
        facts,
        as_json=json,
        text="\n".join(f"{name.replace('_', ' '):<14} {worded(value)}" for name, value in facts.items()),
    )


@app.command("set")
def set_(
    name: Annotated[str, typer.Argument(help="api_url")],
    value: Annotated[str, typer.Argument(help="The value.")],
    json: Json = False,
) -> None:
    """Sets a value of the profile. A key is set by `mp login`, which checks it."""
    from mp_kit.client import config
    from mp_kit.client.http import Api

    if name.replace("-", "_") != "api_url":
        raise InvalidInputError(f"{name!r} can't be set.", hint="It is api_url; keys are set by `mp login`.")
    url = Api(value).base_url
    before = config.load()
    config.change(lambda profile: config.moved(profile, url))
    if before.api_key is not None and before.api_url != url:
        say("The stored key belonged to the other marketplace and is forgotten: run `mp login`.")
    emit({"api_url": url}, as_json=json, text=url)
