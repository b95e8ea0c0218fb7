"""Drops: announcing Parquet files of signals, and reading what became of them."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post
from litestar.params import FromQuery, JSONBody, QueryParameter

from mp_kit.contracts import Listing, Success
from mp_kit.contracts.drops import Drop, DropRequest, DropTarget
from mp_kit.server import clock
from mp_kit.server.edge.auth import allow
from mp_kit.server.edge.parts import Caller, TheHouse, listing, ok
from mp_kit.server.services import drops


@post(
    "/api/signals/drops",
    guards=[allow("deployment", "operator", route="signals:store")],
    status_code=200,
    sync_to_thread=True,
    tags=["signals"],
)
def announce(house: TheHouse, who: Caller, data: JSONBody[DropRequest]) -> Success[DropTarget]:
    """Announces a Parquet file of signals and says where to PUT it; the ingest flow stores it exactly once."""
    with house.db.begin() as tx:
        return ok(drops.announce(tx, who, data, store=house.store, now=clock.now()))


@get("/api/signals/drops", guards=[allow("vendor", "deployment", "operator")], sync_to_thread=True, tags=["signals"])
def list_drops(
    house: TheHouse,
    who: Caller,
    *,
    name: FromQuery[str | None] = None,
    deployment_id: FromQuery[str | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 20,
) -> Listing[list[Drop]]:
    """What became of drops, newest first: a deployment's own, a vendor's, the operator's all."""
    mine = who.deployment_id if who.kind == "deployment" else deployment_id
    with house.db.begin() as tx:
        return listing(drops.list_page(tx, vendor_id=who.vendor_id, deployment_id=mine, name=name, limit=limit))
