"""``mp admin vendor code`` and ``revoke-keys``: the operator invites a vendor, and locks out whoever found its keys."""

from __future__ import annotations

from typing import Annotated

import typer

from mp_kit.cli.admin_parts import ACTOR, Home, Vendor, instant, open_house
from mp_kit.cli.output import Json, emit, say


def code(vendor_name: Vendor, home: Home = None, json: Json = False) -> None:
    """Makes a one-time code (5 minutes, good for one API key) and prints it, this once."""
    from mp_kit.server.services import sign_in, vendors

    with open_house(home) as house, house.db.begin() as tx:
        found = vendors.named(tx, vendor_name)
        made = sign_in.issue_code(tx, house.tokens, found.id, actor=ACTOR)
    facts = {"vendor_id": found.id, "auth_code": made.code, "expires_at": instant(made.expires_at)}
    emit(facts, as_json=json, text=made.code)
    say("The vendor signs in with it, once, within 5 minutes: mp login --api-key - (and the code on stdin).")


def revoke_keys(
    vendor_name: Vendor,
    force: Annotated[bool, typer.Option("--force", help="Yes, all of them.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """Ends every key, session, code and linked account of a vendor at once; its deployments' tokens live on."""
    from mp_kit.server.services import keys, vendors

    with open_house(home) as house, house.db.begin() as tx:
        found = vendors.named(tx, vendor_name)
        ended = keys.revoke_all(tx, found.id, actor=ACTOR, force=force)
    emit(ended, as_json=json, text=f"Keys of {found.name} revoked: {len(ended.revoked)}.")
