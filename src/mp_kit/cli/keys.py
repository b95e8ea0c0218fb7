"""``mp keys``: the vendor's API keys. A key is printed once, when it is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mp_kit.cli.output import DryRun, Json, emit, say
from mp_kit.cli.session import session
from mp_kit.errors import ConflictError

if TYPE_CHECKING:
    from mp_kit.client.keys import IssuedKeyView

app = typer.Typer(
    help="The vendor's API keys: list, create, rotate, revoke, revoke-all.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

KeyId = Annotated[str, typer.Argument(metavar="KEY", help="Its id: the part behind vk_.")]
Force = Annotated[bool, typer.Option("--force", help="Also where no key would be left.")]


@app.command("list")
def list_(json: Json = False) -> None:
    """Lists the keys: living ones, then those that ended in the last 30 days. No secret is shown."""
    emit(session().keys.list(), as_json=json)


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="For people: where it is used.")] = "",
    days: Annotated[int, typer.Option(min=1, max=365, help="How long it lives.")] = 90,
    json: Json = False,
) -> None:
    """Makes a further key and prints it, this once."""
    _tell(session().keys.create(name, days=days), as_json=json)


@app.command("rotate")
def rotate(
    key: Annotated[str | None, typer.Argument(metavar="KEY", help="Its id; the one you are signed in with.")] = None,
    overlap_hours: Annotated[float, typer.Option(min=0, max=720, help="How long the old key lives on.")] = 24.0,
    json: Json = False,
) -> None:
    """Makes a key in place of another and prints it, this once; the profile's own one is replaced there too."""
    from pydantic import SecretStr

    from mp_kit.client import config, sign_in

    market, used = session(), config.resolve()
    own = next((one.id for one in market.keys.list() if one.is_this), None)
    wanted = key or own
    if wanted is None:
        raise ConflictError("You are not signed in with an API key.", hint="Name the key: mp keys list.")
    issued = market.keys.rotate(wanted, overlap_hours=overlap_hours)
    if wanted == own and used.token == config.load().api_key:
        say(f"The new key is stored in {sign_in.keep(market.api_url, SecretStr(issued.api_key))}.")
    _tell(issued, as_json=json)


@app.command("revoke")
def revoke(key: KeyId, force: Force = False, dry_run: DryRun = False, json: Json = False) -> None:
    """Ends a key at once, and every session of yours; the last living key only with --force."""
    if dry_run:
        emit({"would": f"revoke {key}"}, as_json=json, text=f"would revoke {key}")
        return
    ended = session().keys.revoke(key, force=force)
    emit(ended, as_json=json, text=f"{key} is revoked." if ended.revoked else f"{key} had ended before.")


@app.command("revoke-all")
def revoke_all(force: Force = False, dry_run: DryRun = False, json: Json = False) -> None:
    """Ends every key and session at once, the one you use too; the operator alone can let you in again."""
    if dry_run:
        emit({"would": "revoke all keys"}, as_json=json, text="would revoke all keys")
        return
    ended = session().keys.revoke_all(force=force)
    emit(ended, as_json=json, text=f"Keys revoked: {len(ended.revoked)}. Ask the operator for a code.")


def _tell(issued: IssuedKeyView, *, as_json: bool) -> None:
    emit(issued.model_dump(mode="json"), as_json=as_json, text=f"{issued.key_id}\n{issued.api_key}")
    say("Keep the key now: it is not shown again.")
