"""Models, their versions, and the public catalogue."""

from __future__ import annotations

from typing import Any

from litestar import Response, get, patch, post
from litestar.params import FromPath, JSONBody

from mp_kit.contracts import (
    Lineage,
    Listing,
    ModelRegistration,
    OwnModel,
    RegisteredModel,
    StageChange,
    Success,
    ValidationNote,
    ValidationReport,
)
from mp_kit.server.edge.auth import allow
from mp_kit.server.edge.parts import Caller, TheHouse, listing, ok, require_json
from mp_kit.server.services import gates, models
from mp_kit.server.services.lineage import lineage


@get("/api/catalog", sync_to_thread=True, tags=["catalog"])
def catalog(house: TheHouse) -> Response[dict[str, Any]]:
    """Models in pilot or prod. Measured fields are null, never absent, until there is something to measure."""
    with house.db.begin() as tx:
        entries = models.catalog(tx)
    return Response(listing(entries).model_dump(mode="json", exclude={"next_cursor"}))


@post(
    "/api/vendors/models",
    guards=[allow("vendor")],
    before_request=require_json,
    status_code=200,
    sync_to_thread=True,
    tags=["models"],
)
def register(house: TheHouse, who: Caller, data: JSONBody[ModelRegistration]) -> Success[RegisteredModel]:
    """Registers a version of a model."""
    with house.db.begin() as tx:
        return ok(models.register(tx, who.vendor_id or "", data))


@get("/api/vendors/models", guards=[allow("vendor")], sync_to_thread=True, tags=["models"])
def list_own(house: TheHouse, who: Caller) -> Listing[list[OwnModel]]:
    """The vendor's models, newest first."""
    with house.db.begin() as tx:
        return listing(models.list_of(tx, who.vendor_id or ""))


@patch(
    "/api/vendors/models/{model_id:str}/versions/{version:str}",
    guards=[allow("vendor")],
    before_request=require_json,
    sync_to_thread=True,
    tags=["models"],
)
def change_stage(
    house: TheHouse, who: Caller, model_id: FromPath[str], version: FromPath[str], data: JSONBody[StageChange]
) -> Success[RegisteredModel]:
    """Moves a version along shadow, pilot, prod, retired."""
    with house.db.begin() as tx:
        return ok(
            models.change_stage(
                tx, who.vendor_id or "", model_id, version, data.stage, actor=who.name, reason=data.reason
            )
        )


@post(
    "/api/vendors/models/{model_id:str}/versions/{version:str}/validations",
    guards=[allow("vendor")],
    before_request=require_json,
    status_code=200,
    sync_to_thread=True,
    tags=["models"],
)
def note_validation(
    house: TheHouse, who: Caller, model_id: FromPath[str], version: FromPath[str], data: JSONBody[ValidationReport]
) -> Success[ValidationNote]:
    """Stores what `mp validate` found with the version; the same report again changes nothing."""
    with house.db.begin() as tx:
        return ok(gates.note_validation(tx, who.vendor_id or "", model_id, version, data, actor=who.name))


@get("/api/vendors/models/{model_id:str}/lineage", guards=[allow("vendor")], sync_to_thread=True, tags=["models"])
def get_lineage(house: TheHouse, who: Caller, model_id: FromPath[str]) -> Success[Lineage]:
    """Run, artifacts, version, gates, deployments, signals: where the model comes from and what came of it."""
    with house.db.begin() as tx:
        return ok(lineage(tx, who.vendor_id or "", model_id))


HANDLERS = [catalog, list_own, register, change_stage, note_validation, get_lineage]
"""All of them."""
