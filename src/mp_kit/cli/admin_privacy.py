"""``mp admin vendor export`` and ``erase``: what the marketplace holds about a vendor, handed over or taken away."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mp_kit.cli.admin_parts import ACTOR, Home, Vendor, open_house
from mp_kit.cli.output import Json, emit, say, table

if TYPE_CHECKING:
    from mp_kit.server.services.erasure import Erased


def export(
    vendor_name: Vendor,
    to: Annotated[Path, typer.Option("--to", help="The archive to write, a ZIP file that is not there yet.")],
    with_objects: Annotated[bool, typer.Option("--with-objects", help="With the files of its training runs.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """Writes everything about a vendor into an archive, without secrets."""
    from mp_kit.server.services import vendor_export

    with open_house(home) as house, house.db.begin() as tx:
        done = vendor_export.export(
            tx, house.store, vendor_name, to, with_objects=with_objects, now=datetime.now(UTC), actor=ACTOR
        )
    facts = {**asdict(done), "path": str(to)}
    rows = sum(done.rows.values())
    emit(facts, as_json=json, text=f"{to}: {rows:,} rows, {done.objects} files, {done.size_bytes:,} bytes")


def erase(
    vendor_name: Vendor,
    why: Annotated[str, typer.Option("--why", help="For the audit log, where it stays: name no person in it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """Erases who a vendor is; signals, receipts and scores stay under its id. It cannot be taken back."""
    from mp_kit.errors import InvalidInputError
    from mp_kit.server.services import erasure, vendors

    with open_house(home) as house:
        with house.db.begin() as tx:
            found = vendors.named(tx, vendor_name)
        if not why.strip():
            raise InvalidInputError("--why is empty.", hint="The audit log keeps why somebody was erased.")
        if not yes and typer.prompt(f"Type the vendor's name to erase it ({found.name})", err=True) != found.name:
            raise InvalidInputError("That is not its name; nothing was erased.")
        done = erasure.erase(house.db, house.store, found.id, why=why.strip(), actor=ACTOR)
    emit(asdict(done), as_json=json, text=lambda: _told(done))
    if done.left:
        say("what is left was said by the vendor in what others rely on, or merely reads alike: docs/retention.md")


def _told(done: Erased) -> str:
    rows = [{"what": what.replace("_", " "), "rows": count} for what, count in done.rows.items()]
    left = [f"still holds what identified it: {where}, {count} rows" for where, count in done.left.items()]
    return "\n".join(
        [table(rows, ["what", "rows"]), "", f"{done.vendor_id} is erased; {done.objects} objects went.", *left]
    )
