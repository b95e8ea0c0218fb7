"""``mp admin vendor link``, ``unlink`` and ``accounts``: the GitHub accounts that sign in as a vendor."""

from __future__ import annotations

from typing import Annotated

import typer

from mp_kit.cli.admin_parts import ACTOR, Home, Vendor, instant, open_house
from mp_kit.cli.output import Json, emit, table

Number = Annotated[
    int,
    typer.Option(
        "--github",
        min=1,
        max=2**63 - 1,
        help="The account's number, which never changes: `id` in GitHub's GET /users/LOGIN. "
        "A login is not taken: it can be renamed, and be somebody else's then.",
    ),
]


def link(vendor_name: Vendor, github: Number, home: Home = None, json: Json = False) -> None:
    """Lets a GitHub account sign in to the console as a vendor, without the vendor's doing."""
    from mp_kit.server.providers.github import name_of
    from mp_kit.server.services import identities, vendors

    with open_house(home) as house, house.db.begin() as tx:
        found, provider = vendors.named(tx, vendor_name), name_of(house.settings.github_url)
        is_new = identities.link_by_operator(tx, found.id, provider, github, actor=ACTOR)
    facts = {"vendor_id": found.id, "provider": provider, "subject": str(github), "is_new": is_new}
    what = f"{github} at {provider}"
    emit(facts, as_json=json, text=f"{what} signs in as {found.name}." if is_new else f"{what} was linked already.")


def unlink(vendor_name: Vendor, github: Number, home: Home = None, json: Json = False) -> None:
    """Takes a GitHub account's way in, and ends every session of the vendor; its keys live on."""
    from mp_kit.server.services import identities, vendors

    with open_house(home) as house, house.db.begin() as tx:
        found = vendors.named(tx, vendor_name)
        gone = identities.unlink(tx, found.id, str(github), actor=ACTOR, force=True)
    facts = {"vendor_id": found.id, "provider": gone.provider, "subject": gone.subject, "unlinked": True}
    emit(facts, as_json=json, text=f"{github} at {gone.provider} no longer signs in as {found.name}.")


def accounts(vendor_name: Vendor, home: Home = None, json: Json = False) -> None:
    """Lists the accounts with which a vendor signs in, oldest link first."""
    from mp_kit.server.services import identities, vendors

    with open_house(home) as house, house.db.begin() as tx:
        found = identities.list_of(tx, vendors.named(tx, vendor_name).id)
    rows = [
        {
            "provider": one.provider,
            "subject": one.subject,
            "login": one.login,
            "linked_by": one.linked_by,
            "created_at": instant(one.created_at),
            "last_used_at": instant(one.last_used_at) if one.last_used_at else None,
        }
        for one in found
    ]
    columns = ["provider", "subject", "login", "linked_by", "created_at", "last_used_at"]
    emit(rows, as_json=json, text=lambda: table(rows, columns))
