"""``mp admin model``: the operator's word on versions, without which none goes to prod."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mp_kit.cli.admin_parts import ACTOR, Home, instant, open_house
from mp_kit.cli.output import Json, emit, table
from mp_kit.errors import ConflictError, NotFoundError

if TYPE_CHECKING:
    from mp_kit.server.store.engine import Tx

app = typer.Typer(help="All vendors' models, and their approval.", no_args_is_help=True, rich_markup_mode=None)

ModelId = Annotated[str, typer.Argument(metavar="MODEL", help="The model's id, or its name where one model bears it.")]
VersionName = Annotated[str, typer.Argument(metavar="VERSION", help="The version, or its id.")]
OfVendor = Annotated[str | None, typer.Option("--vendor", help="Whose model it is, by id or name.")]
Why = Annotated[str, typer.Option("--why", help="What was looked at; it stays.")]


_COLUMNS = ("model_id", "name", "vendor", "version", "version_id", "stage", "not_met", "created_at")


@app.command("list")
def list_(vendor: OfVendor = None, home: Home = None, json: Json = False) -> None:
    """Lists the versions of all vendors' models, newest first, with the gates of prod that each has not met."""
    from mp_kit.server.store import gates, models

    with open_house(home) as house, house.db.begin() as tx:
        found = [dict(row._mapping) for row in models.versions_everywhere(tx)]  # noqa: SLF001 - SQLAlchemy's public way
        found = [row for row in found if vendor in {None, row["vendor_id"], row["vendor"]}]
        missing = gates.missing_of(tx, [row["version_id"] for row in found], "prod")
    rows = [
        row | {"created_at": instant(row["created_at"]), "not_met": missing.get(row["version_id"], [])} for row in found
    ]
    emit(rows, as_json=json, text=lambda: table(rows, _COLUMNS))


@app.command("approve")
def approve(
    model: ModelId, version: VersionName, why: Why, vendor: OfVendor = None, home: Home = None, json: Json = False
) -> None:
    """Opens the last gate of prod to a version; its vendor moves it."""
    _say((model, vendor), version, why, home, as_json=json, granted=True)


@app.command("refuse")
def refuse(
    model: ModelId, version: VersionName, why: Why, vendor: OfVendor = None, home: Home = None, json: Json = False
) -> None:
    """Takes an approval back; a version that is in prod already stays there."""
    _say((model, vendor), version, why, home, as_json=json, granted=False)


def _say(model: tuple[str, str | None], version: str, why: str, home: Home, *, as_json: bool, granted: bool) -> None:
    from mp_kit.server.services import gates

    with open_house(home) as house, house.db.begin() as tx:
        note = gates.approve(tx, _find(tx, *model, version), version, why, actor=ACTOR, granted=granted)
    emit(note, as_json=as_json, text=f"{version} of {model[0]} is {'approved' if granted else 'refused'}: {note.why}")


def _find(tx: Tx, wanted: str, vendor: str | None, version: str) -> str:
    """The id of the model that is meant.

    Raises:
        NotFoundError: There is no such model, or it has no such version.
        ConflictError: Several vendors have one of that name.
    """
    from mp_kit.server.store import models

    all_ = models.versions_everywhere(tx, wanted)
    rows = [row for row in all_ if vendor in {None, row.vendor_id, row.vendor}]
    whose: dict[str, str] = {row.model_id: row.vendor for row in rows}
    if not whose:
        of = f" of {vendor}" if vendor is not None else ""
        raise NotFoundError(f"There is no model {wanted!r}{of}.", hint="See them all: mp admin model list")
    if len(whose) > 1:
        ids = ", ".join(f"{model_id} of {name}" for model_id, name in sorted(whose.items()))
        raise ConflictError(f"{len(whose)} models are named {wanted!r}: {ids}.", hint="Pass --vendor, or the id.")
    known = {name for row in rows for name in (row.version, row.version_id)}
    if version not in known:
        there = ", ".join(row.version for row in rows)
        raise NotFoundError(f"There is no version {version!r} of model {wanted}.", hint=f"It has: {there}.")
    [model_id] = whose
    return model_id
