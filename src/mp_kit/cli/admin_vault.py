"""``mp admin vault``: the master key under which vendors' credentials lie, and changing it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from mp_kit.cli.admin_parts import ACTOR, Home, open_house
from mp_kit.cli.output import FAILED, Json, emit, say, table

if TYPE_CHECKING:
    from mp_kit.server.services.vault_keys import KeyUse

app = typer.Typer(help="The master key under which credentials lie.", no_args_is_help=True, rich_markup_mode=None)


@app.command("status")
def status(home: Home = None, json: Json = False) -> int:
    """Shows what lies under which master key, and tries to open every data key; exits 1 when one does not open."""
    from mp_kit.server.services import vault_keys

    with open_house(home) as house, house.db.begin() as tx:
        uses = vault_keys.uses(tx, house.vault)
        broken = vault_keys.broken(tx, house.vault)
    facts = {"keys": [asdict(one) for one in uses], "broken": broken}
    emit(facts, as_json=json, text=lambda: _told(uses, broken))
    return FAILED if broken else 0


@app.command("rotate")
def rotate(
    new_key: Annotated[
        bool,
        typer.Option(
            "--new-key",
            help="First draw a new master key into the home's secrets.json.",
        ),
    ] = False,
    batch: Annotated[int, typer.Option(min=1, max=10_000, help="Data keys in one transaction.")] = 500,
    home: Home = None,
    json: Json = False,
) -> int:
    """Wraps every data key under the newest master key, while everything runs; after a kill the next call goes on."""
    from mp_kit.server import master_keys
    from mp_kit.server.services import vault_keys

    with open_house(home) as house:
        if new_key:
            master_keys.renew(house.settings.home)
            say("a new master key is in secrets.json; the one of before still opens what lies under it")
        done = vault_keys.rotate(house.db, house.vault, actor=ACTOR, batch=batch)
    emit(asdict(done), as_json=json, text=lambda: f"{done.rewrapped} data keys are wrapped under {done.key_id} now.")
    for one in done.broken:
        say(f"does not open: {one}")
    return FAILED if done.broken else 0


@app.command("drop-retired")
def drop_retired(home: Home = None, json: Json = False) -> None:
    """Forgets the home's retired master keys, once nothing lies under them."""
    from mp_kit.errors import ConflictError
    from mp_kit.server import master_keys
    from mp_kit.server.services import vault_keys

    with open_house(home) as house:
        with house.db.begin() as tx:
            left = [one for one in vault_keys.uses(tx, house.vault) if one.role != "current"]
        if held := sum(one.vendors + one.webhooks for one in left):
            raise ConflictError(
                f"{held} data keys lie under another master key.", hint="Wrap them anew: mp admin vault rotate"
            )
        count = master_keys.drop_retired(house.settings.home)
    emit({"dropped": count}, as_json=json, text=f"{count} retired master keys are gone.")


def _told(uses: list[KeyUse], broken: list[str]) -> str:
    lines = [table([asdict(one) for one in uses], ["key_id", "role", "vendors", "webhooks"])]
    lines += [f"does not open: {one}" for one in broken]
    return "\n".join(lines)
