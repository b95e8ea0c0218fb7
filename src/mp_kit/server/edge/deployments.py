"""Deployments, their tokens, their heartbeats."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from litestar import delete, get, patch, post
from litestar.params import FromPath, JSONBody, QueryParameter

from mp_kit.contracts import (
    Deployment,
    DeploymentChange,
    DeploymentLogs,
    DeploymentRequest,
    HeartbeatReceipt,
    HeartbeatWrite,
    IssuedToken,
    Listing,
    Poll,
    ServedModel,
    Success,
    TokenRequest,
)
from mp_kit.errors import NotFoundError
from mp_kit.server import clock
from mp_kit.server.edge.auth import allow
from mp_kit.server.edge.parts import Caller, TheHouse, listing, ok, require_json
from mp_kit.server.services import deployments, hostings, polling


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
    polling.check_url(house.poster.guard, data)
    with house.db.begin() as tx:
        vendor_id = who.vendor_id or ""
        return ok(deployments.create(tx, house.tokens, vendor_id, data, actor=who.name, hosts=house.hosts))


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


@patch(
    "/api/deployments/{deployment_id:str}",
    guards=[allow("vendor")],
    before_request=require_json,
    sync_to_thread=True,
    tags=["deployments"],
)
def change(
    house: TheHouse, who: Caller, deployment_id: FromPath[str], data: JSONBody[DeploymentChange]
) -> Success[Deployment]:
    """Starts, stops, scales or removes a deployment that the marketplace runs; says whether and where it is asked."""
    polling.check_url(house.poster.guard, data)
    with house.db.begin() as tx:
        return ok(deployments.change(tx, who.vendor_id or "", deployment_id, data, actor=who.name))


@get("/api/deployments/{deployment_id:str}/polls", guards=[allow("vendor")], sync_to_thread=True, tags=["deployments"])
def polls(
    house: TheHouse,
    who: Caller,
    deployment_id: FromPath[str],
    limit: Annotated[int, QueryParameter(ge=1, le=1_000)] = 100,
) -> Listing[list[Poll]]:
    """The bars that the marketplace asked a deployment about, the latest call first."""
    with house.db.begin() as tx:
        return listing(deployments.polls(tx, who.vendor_id or "", deployment_id, limit))


@get("/api/deployments/{deployment_id:str}/logs", guards=[allow("vendor")], sync_to_thread=True, tags=["deployments"])
def logs(
    house: TheHouse,
    who: Caller,
    deployment_id: FromPath[str],
    tail: Annotated[int, QueryParameter(ge=1, le=5_000)] = 100,
) -> Success[DeploymentLogs]:
    """The last lines of a server that the marketplace runs."""
    lines = hostings.logs(house.db.begin, house.hosts, who.vendor_id or "", deployment_id, tail)
    return ok(DeploymentLogs(lines=lines))


@get(
    "/api/deployments/{deployment_id:str}/model",
    guards=[allow("vendor", "deployment", route="datasets:read")],
    sync_to_thread=True,
    tags=["deployments"],
)
def served_model(house: TheHouse, who: Caller, deployment_id: FromPath[str]) -> Success[ServedModel]:
    """The model that a deployment serves: for its server, with its own token, when it starts."""
    if who.deployment_id is not None and who.deployment_id != deployment_id:
        raise NotFoundError(f"There is no deployment {deployment_id!r}.")
    with house.db.begin() as tx:
        return ok(hostings.served_model(tx, house.store, who.vendor_id or "", deployment_id, clock.now()))


HANDLERS = [create, list_own, get_one, change, polls, logs, served_model, issue_token, revoke_tokens, heartbeat]
"""All of them."""
