"""A vendor's API keys: listed, made, rotated, revoked. A secret is in the answer that made it alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from litestar import delete, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from mp_kit.contracts import ApiKey, IssuedKey, KeyRequest, Listing, RevokedKeys, Success
from mp_kit.server.edge.auth import allow
from mp_kit.server.edge.parts import Caller, TheHouse, listing, ok, require_json
from mp_kit.server.services import keys

_PATH = "/api/vendors/keys"
_ONE = f"{_PATH}/{{key_id:str}}"
Overlap = Annotated[float, QueryParameter(ge=0, le=720)]


@get(_PATH, guards=[allow("vendor")], sync_to_thread=True, tags=["keys"])
def list_own(house: TheHouse, who: Caller) -> Listing[list[ApiKey]]:
    """The vendor's keys: living ones, then those that ended in the last 30 days; no secret."""
    with house.db.begin() as tx:
        return listing(keys.list_of(tx, who))


@post(_PATH, guards=[allow("vendor")], before_request=require_json, status_code=200, sync_to_thread=True, tags=["keys"])
def create(house: TheHouse, who: Caller, data: JSONBody[KeyRequest]) -> Success[IssuedKey]:
    """Makes a further key; it is in this answer and in no later one."""
    with house.db.begin() as tx:
        return ok(keys.create(tx, house.tokens, who, data))


@post(f"{_ONE}/rotate", guards=[allow("vendor")], status_code=200, sync_to_thread=True, tags=["keys"])
def rotate(house: TheHouse, who: Caller, key_id: FromPath[str], overlap_hours: Overlap = 24.0) -> Success[IssuedKey]:
    """A key in place of another, in this answer alone; the old one lives on for ``overlap_hours``."""
    with house.db.begin() as tx:
        return ok(keys.rotate(tx, house.tokens, who, key_id, overlap=timedelta(hours=overlap_hours)))


@delete(_ONE, guards=[allow("vendor")], status_code=200, sync_to_thread=True, tags=["keys"])
def revoke(house: TheHouse, who: Caller, key_id: FromPath[str], force: FromQuery[bool] = False) -> Success[RevokedKeys]:
    """Ends a key at once, and the vendor's sessions; the last living key only with ``force``."""
    with house.db.begin() as tx:
        return ok(keys.revoke(tx, who, key_id, force=force))


@delete(_PATH, guards=[allow("vendor")], status_code=200, sync_to_thread=True, tags=["keys"])
def revoke_all(house: TheHouse, who: Caller, force: FromQuery[bool] = False) -> Success[RevokedKeys]:
    """Ends every key, session, one-time code and approval of the vendor at once; it takes ``force``."""
    with house.db.begin() as tx:
        return ok(keys.revoke_all(tx, who.vendor_id or "", actor=who.name, force=force))


HANDLERS = [list_own, create, rotate, revoke, revoke_all]
