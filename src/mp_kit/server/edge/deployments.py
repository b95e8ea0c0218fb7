"""Deployments, their tokens, their heartbeats."""

from __future__ import annotations

from litestar import get, post

from mp_kit.contracts import (
    Deployment,
    DeploymentRequest,
    HeartbeatReceipt,
    HeartbeatWrite,
    IssuedToken,
    Listing,
    Success,
    TokenRequest,
)
from mp_kit.server.edge.auth import allow
from mp_kit.server.edge.parts import listing, ok, require_json
from mp_kit.server.house import House
from mp_kit.server.services import deployments
from mp_kit.server.services.tokens import Principal


@post(
    "/api/deployments",
    guards=[allow("vendor")],
    before_request=require_json,
    status_code=200,
    sync_to_thread=True,
    tags=["deployments"],
)
def create(house: House, who: Principal, data: DeploymentRequest) -> Success[Deployment]:
    """Registers a deployment; its token is in the answer, this once."""
    with house.db.begin() as tx:
        return ok(deployments.create(tx, house.tokens, who.vendor_id or "", data, actor=who.name))


@get("/api/deployments", guards=[allow("vendor")], sync_to_thread=True, tags=["deployments"])
def list_own(house: House, who: Principal) -> Listing[list[Deployment]]:
    """The vendor's deployments, newest first."""
    with house.db.begin() as tx:
        return listing(deployments.list_of(tx, who.vendor_id or ""))


@get(
    ["/api/deployments/{deployment_id:str}", "/api/deployments/{deployment_id:str}/status"],
    guards=[allow("vendor")],
    sync_to_thread=True,
    tags=["deployments"],
)
def get_one(house: House, who: Principal, deployment_id: str) -> Success[Deployment]:
    """A deployment of the vendor's."""
    with house.db.begin() as tx:
        return ok(deployments.get(tx, who.vendor_id or "", deployment_id))


@post(
    "/api/deployments/{deployment_id:str}/infra-token",
    guards=[allow("vendor")],
    before_request=require_json,
    status_code=200,
    sync_to_thread=True,
    tags=["deployments"],
)
def issue_token(house: House, who: Principal, deployment_id: str, data: TokenRequest) -> Success[IssuedToken]:
    """A token scoped to the deployment, shown this once."""
    with house.db.begin() as tx:
        issued = deployments.issue_token(
            tx,
            house.tokens,
            who.vendor_id or "",
            deployment_id,
            actor=who.name,
            symbols=data.symbols,
            rotate=data.rotate,
        )
        return ok(issued)


@post(
    ["/api/vendors/heartbeats", "/api/marketplace/vendor/heartbeats"],
    guards=[allow("vendor", "deployment", route="heartbeats:write")],
    before_request=require_json,
    status_code=200,
    sync_to_thread=True,
    tags=["deployments"],
)
def heartbeat(house: House, who: Principal, data: HeartbeatWrite) -> Success[HeartbeatReceipt]:
    """A deployment's sign of life."""
    with house.db.begin() as tx:
        return ok(deployments.heartbeat(tx, who, data))
