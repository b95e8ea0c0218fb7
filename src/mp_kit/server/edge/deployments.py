"""Deployments, their tokens, their heartbeats."""

from __future__ import annotations

from datetime import timedelta

from litestar import delete, get, post
from litestar.params import FromPath, JSONBody

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
from mp_kit.server.edge.parts import Caller, TheHouse, listing, ok, require_json
from mp_kit.server.services import deployments


@post(
    "/api/deployments",
    guards=[allow("vendor")],
    before_request=require_json,
    status_code=200,
    sync_to_thread=True,
    tags=["deployments"],
)
def create(house: TheHouse, who: Caller, data: JSONBody[DeploymentRequest]) -> Success[Deployment]:
    """Registers a deployment; its token is in the answer, this once."""
    with house.db.begin() as tx:
        return ok(deployments.create(tx, house.tokens, who.vendor_id or "", data, actor=who.name))


@get("/api/deployments", guards=[allow("vendor")], sync_to_thread=True, tags=["deployments"])
def list_own(house: TheHouse, who: Caller) -> Listing[list[Deployment]]:
    """The vendor's deployments, newest first."""
    with house.db.begin() as tx:
        return listing(deployments.list_of(tx, who.vendor_id or ""))


@get(
    ["/api/deployments/{deployment_id:str}", "/api/deployments/{deployment_id:str}/status"],
    guards=[allow("vendor")],
    sync_to_thread=True,
    tags=["deployments"],
)
def get_one(house: TheHouse, who: Caller, deployment_id: FromPath[str]) -> Success[Deployment]:
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
def issue_token(
    house: TheHouse, who: Caller, deployment_id: FromPath[str], data: JSONBody[TokenRequest]
) -> Success[IssuedToken]:
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
            overlap=timedelta(seconds=data.overlap_seconds),
        )
        return ok(issued)


@delete(
    "/api/deployments/{deployment_id:str}/infra-token",
    guards=[allow("vendor")],
    status_code=200,
    sync_to_thread=True,
    tags=["deployments"],
)
def revoke_tokens(house: TheHouse, who: Caller, deployment_id: FromPath[str]) -> Success[dict[str, int]]:
    """Ends every token of the deployment at once."""
    with house.db.begin() as tx:
        return ok({"revoked": deployments.revoke_tokens(tx, who.vendor_id or "", deployment_id, actor=who.name)})


@post(
    ["/api/vendors/heartbeats", "/api/marketplace/vendor/heartbeats"],
    guards=[allow("vendor", "deployment", route="heartbeats:write")],
    before_request=require_json,
    status_code=200,
    sync_to_thread=True,
    tags=["deployments"],
)
def heartbeat(house: TheHouse, who: Caller, data: JSONBody[HeartbeatWrite]) -> Success[HeartbeatReceipt]:
    """A deployment's sign of life."""
    with house.db.begin() as tx:
        return ok(deployments.heartbeat(tx, who, data))


HANDLERS = [create, list_own, get_one, issue_token, revoke_tokens, heartbeat]
"""All of them."""
