"""A vendor's webhooks: made, listed, rotated, tested, removed; what became of their messages."""

from __future__ import annotations

from typing import Annotated

from litestar import delete, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from mp_kit.contracts import (
    IssuedWebhook,
    Listing,
    Success,
    Webhook,
    WebhookDelivery,
    WebhookDeliveryStatus,
    WebhookRequest,
)
from mp_kit.server.edge.auth import allow
from mp_kit.server.edge.parts import Caller, TheHouse, listing, ok, require_json
from mp_kit.server.services import webhooks

_PATH = "/api/vendors/webhooks"
_ONE = f"{_PATH}/{{webhook_id:str}}"
Overlap = Annotated[float, QueryParameter(ge=0, le=720)]
Limit = Annotated[int, QueryParameter(ge=1, le=1000)]


@post(
    _PATH,
    guards=[allow("vendor")],
    before_request=require_json,
    status_code=200,
    sync_to_thread=True,
    tags=["webhooks"],
)
def create(house: TheHouse, who: Caller, data: JSONBody[WebhookRequest]) -> Success[IssuedWebhook]:
    """Makes an endpoint; its secret is in this answer and in no later one."""
    guard = house.poster.guard
    return ok(webhooks.create(house.db.begin, house.vault, guard, who.vendor_id or "", data, actor=who.name))


@get(_PATH, guards=[allow("vendor")], sync_to_thread=True, tags=["webhooks"])
def list_own(house: TheHouse, who: Caller) -> Listing[list[Webhook]]:
    """The vendor's endpoints, oldest first: where to, what, and how each does."""
    with house.db.begin() as tx:
        return listing(webhooks.list_of(tx, who.vendor_id or ""))


@get(_ONE, guards=[allow("vendor")], sync_to_thread=True, tags=["webhooks"])
def get_one(house: TheHouse, who: Caller, webhook_id: FromPath[str]) -> Success[Webhook]:
    """One endpoint."""
    with house.db.begin() as tx:
        return ok(webhooks.get(tx, who.vendor_id or "", webhook_id))


@delete(_ONE, guards=[allow("vendor")], status_code=200, sync_to_thread=True, tags=["webhooks"])
def remove(house: TheHouse, who: Caller, webhook_id: FromPath[str]) -> Success[Webhook]:
    """Removes an endpoint; messages on their way to it are dropped. The answer says what it was."""
    with house.db.begin() as tx:
        return ok(webhooks.remove(tx, who.vendor_id or "", webhook_id, actor=who.name))


@post(f"{_ONE}/rotate", guards=[allow("vendor")], status_code=200, sync_to_thread=True, tags=["webhooks"])
def rotate(
    house: TheHouse, who: Caller, webhook_id: FromPath[str], overlap_hours: Overlap = 24.0
) -> Success[IssuedWebhook]:
    """A new secret, in this answer alone; for ``overlap_hours`` messages are signed with the former one too."""
    with house.db.begin() as tx:
        vendor_id = who.vendor_id or ""
        return ok(webhooks.rotate(tx, house.vault, vendor_id, webhook_id, actor=who.name, overlap_hours=overlap_hours))


@post(f"{_ONE}/enable", guards=[allow("vendor")], status_code=200, sync_to_thread=True, tags=["webhooks"])
def enable(house: TheHouse, who: Caller, webhook_id: FromPath[str]) -> Success[Webhook]:
    """Sends to a disabled endpoint again; what still waited for it leaves first."""
    with house.db.begin() as tx:
        return ok(webhooks.enable(tx, who.vendor_id or "", webhook_id, actor=who.name))


@post(f"{_ONE}/test", guards=[allow("vendor")], status_code=200, sync_to_thread=True, tags=["webhooks"])
def test_one(house: TheHouse, who: Caller, webhook_id: FromPath[str]) -> Success[WebhookDelivery]:
    """Sends a ``ping`` on the way that all messages go; look for it among the deliveries."""
    with house.db.begin() as tx:
        return ok(webhooks.ping(tx, who.vendor_id or "", webhook_id, actor=who.name))


@get(f"{_ONE}/deliveries", guards=[allow("vendor")], sync_to_thread=True, tags=["webhooks"])
def deliveries(
    house: TheHouse,
    who: Caller,
    webhook_id: FromPath[str],
    status: FromQuery[WebhookDeliveryStatus | None] = None,
    limit: Limit = 100,
) -> Listing[list[WebhookDelivery]]:
    """The endpoint's messages of the last 30 days, newest first, each with its latest attempts."""
    with house.db.begin() as tx:
        return listing(webhooks.deliveries(tx, who.vendor_id or "", webhook_id, status=status, limit=limit))


@post(
    f"{_ONE}/deliveries/{{delivery_id:str}}/replay",
    guards=[allow("vendor")],
    status_code=200,
    sync_to_thread=True,
    tags=["webhooks"],
)
def replay(
    house: TheHouse, who: Caller, webhook_id: FromPath[str], delivery_id: FromPath[str]
) -> Success[WebhookDelivery]:
    """Sends a message again under the same ``webhook-id``; its attempts count anew."""
    with house.db.begin() as tx:
        return ok(webhooks.replay(tx, who.vendor_id or "", webhook_id, delivery_id, actor=who.name))


HANDLERS = [create, list_own, get_one, remove, rotate, enable, test_one, deliveries, replay]
