"""One-time codes, and programs that wait until somebody approves them on ``/marketplace/device``."""

from __future__ import annotations

from litestar import post
from litestar.params import JSONBody

from mp_kit.contracts import DeviceAnswer, DeviceCode, DevicePoll, DeviceRequest, ExchangeRequest, IssuedKey, Success
from mp_kit.server.edge.limits import peer
from mp_kit.server.edge.parts import AnyRequest, TheHouse, ok, require_json
from mp_kit.server.services import sign_in
from mp_kit.server.store.scope import SIGN_IN, within

PAGE = "/marketplace/device"


@post(
    "/api/marketplace/vendor/auth/exchange",
    before_request=require_json,
    status_code=200,
    sync_to_thread=True,
    tags=["vendors"],
)
def exchange(house: TheHouse, request: AnyRequest, data: JSONBody[ExchangeRequest]) -> Success[IssuedKey]:
    """Trades a one-time code (``ac_…``) for an API key, which is in this answer and in no later one."""
    with house.doors.checking(peer(request)):
        return ok(sign_in.exchange(house.db.begin, house.tokens, data.auth_code.get_secret_value()))


@post("/api/vendors/device", before_request=require_json, status_code=200, sync_to_thread=True, tags=["vendors"])
def begin(house: TheHouse, request: AnyRequest, data: JSONBody[DeviceRequest]) -> Success[DeviceCode]:
    """A program without a key asks to be signed in: a code to show, and one to ask with (after RFC 8628)."""
    page = f"{house.settings.base_url}{PAGE}"
    with within(SIGN_IN), house.db.begin() as tx:
        return ok(sign_in.begin_device(tx, house.tokens, client=data.client, address=peer(request), page=page))


@post("/api/vendors/device/token", before_request=require_json, status_code=200, sync_to_thread=True, tags=["vendors"])
def poll(house: TheHouse, data: JSONBody[DevicePoll]) -> Success[DeviceAnswer]:
    """Whether somebody approved; a yes bears a one-time code for ``auth/exchange``."""
    return ok(sign_in.poll(house.db.begin, house.tokens, data.device_code.get_secret_value()))


HANDLERS = [exchange, begin, poll]
