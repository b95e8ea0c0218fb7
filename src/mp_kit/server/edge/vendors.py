"""Vendors: who am I, sessions, key checks and rotation."""

from __future__ import annotations

from litestar import get, post
from litestar.params import JSONBody

from mp_kit.contracts import IssuedKey, KeyCheck, LoginRequest, RotateRequest, Session, Success, Vendor
from mp_kit.errors import AuthError
from mp_kit.server.edge.auth import allow
from mp_kit.server.edge.limits import peer
from mp_kit.server.edge.parts import AnyRequest, Caller, TheHouse, ok, require_json
from mp_kit.server.house import House
from mp_kit.server.services import vendors
from mp_kit.server.services.tokens import Principal
from mp_kit.server.store.scope import enter, of_vendor


@get(
    ["/api/vendors/me", "/api/marketplace/vendor/me"],
    guards=[allow("vendor", "deployment")],
    sync_to_thread=True,
    tags=["vendors"],
)
def me(house: TheHouse, who: Caller) -> Success[Vendor]:
    """The vendor that the token belongs to."""
    with house.db.begin() as tx:
        return ok(vendors.me(tx, who.vendor_id or ""))


@post("/api/vendors/login", before_request=require_json, status_code=200, sync_to_thread=True, tags=["vendors"])
def login(house: TheHouse, request: AnyRequest, data: JSONBody[LoginRequest]) -> Success[Session]:
    """Trades an API key for a JWT session of a day."""
    who = _by_key(house, request, data.api_key.get_secret_value())
    with house.db.begin() as tx:
        return ok(vendors.open_session(tx, house.tokens, who.vendor_id or "", who.token_id))


@post(
    "/api/marketplace/vendor/auth/validate",
    before_request=require_json,
    status_code=200,
    sync_to_thread=True,
    tags=["vendors"],
)
def validate(house: TheHouse, request: AnyRequest, data: JSONBody[LoginRequest]) -> Success[KeyCheck]:
    """Whether an API key is good; a bad one is an answer, not an error."""
    try:
        who = _by_key(house, request, data.api_key.get_secret_value())
    except AuthError:
        return ok(KeyCheck(valid=False))
    with house.db.begin() as tx:
        vendor = vendors.me(tx, who.vendor_id or "")
    return ok(KeyCheck(valid=True, vendor_id=vendor.id, vendor_name=vendor.name, expires_at=who.expires_at))


@post(
    "/api/marketplace/vendor/auth/rotate",
    before_request=require_json,
    status_code=200,
    sync_to_thread=True,
    tags=["vendors"],
)
def rotate(house: TheHouse, request: AnyRequest, data: JSONBody[RotateRequest]) -> Success[IssuedKey]:
    """A new API key for a current one, which lives on for a day."""
    who = _by_key(house, request, data.current_api_key.get_secret_value())
    with house.db.begin() as tx:
        issued = vendors.rotate(
            tx, house.tokens, who.vendor_id or "", actor=who.name, key_id=who.token_id, reason=data.reason
        )
        return ok(issued)


def _by_key(house: House, request: AnyRequest, api_key: str) -> Principal:
    with house.doors.checking(peer(request)):
        who = house.tokens.authenticate(api_key, house.db.begin)
    if who.kind != "vendor" or not who.token_id:
        raise AuthError("This is no vendor API key (vk_…).")
    enter(of_vendor(who.vendor_id))
    return who
