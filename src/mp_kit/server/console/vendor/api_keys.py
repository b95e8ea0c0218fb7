"""The vendor's API keys: listed, made, rotated, revoked. A key is on the page that made it and on no later one.

The page also shows the GitHub accounts that are linked (:mod:`mp_kit.server.console.vendor.linked`).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from litestar import Response, get, post
from litestar.params import FromPath
from pydantic import ValidationError

from mp_kit.contracts import IssuedKey, KeyRequest
from mp_kit.errors import ConflictError
from mp_kit.server.console.pages import page, redirect
from mp_kit.server.console.visits import (
    LOGIN,
    SESSION_COOKIE,
    AnyRequest,
    TheForm,
    TheHouse,
    TheVisit,
    Visit,
    cookie,
    signed_in,
)
from mp_kit.server.house import House
from mp_kit.server.services import identities, keys
from mp_kit.server.services.tokens import Principal

KEYS = "/marketplace/vendor/keys"
_OVERLAP = timedelta(hours=24)
_OPTIONS: dict[str, Any] = {
    "guards": [signed_in], "sync_to_thread": True, "include_in_schema": False, "status_code": 200,
}  # fmt: skip


@get(KEYS, **_OPTIONS)
def show(house: TheHouse, visit: TheVisit, request: AnyRequest) -> Response[bytes]:
    """Living keys, then those that ended in the last 30 days; no secret."""
    return keys_page(house, visit, who_asks(house, request))


@post(KEYS, **_OPTIONS)
def create(house: TheHouse, visit: TheVisit, request: AnyRequest, form: TheForm) -> Response[bytes]:
    """Makes a further key, which this page alone shows."""
    who, typed = who_asks(house, request), {name: form.get(name, "") for name in ("name", "days")}
    try:
        wanted = KeyRequest.model_validate({"name": typed["name"], "days": typed["days"].strip() or 90})
        with house.db.begin() as tx:
            made = keys.create(tx, house.tokens, who, wanted)
    except ValidationError as error:
        errors = {str(found["loc"][0]): f"{found['msg']}." for found in error.errors(include_url=False)}
        return keys_page(house, visit, who, typed=typed, errors=errors, status=422)
    except ConflictError as error:
        return keys_page(house, visit, who, typed=typed, problem=error.message, status=error.http)
    return keys_page(house, visit, who, made=made)


@post(f"{KEYS}/{{key_id:str}}/rotate", **_OPTIONS)
def rotate(house: TheHouse, visit: TheVisit, request: AnyRequest, key_id: FromPath[str]) -> Response[bytes]:
    """Makes a key in place of another, which lives on for a day."""
    who = who_asks(house, request)
    try:
        with house.db.begin() as tx:
            made = keys.rotate(tx, house.tokens, who, key_id, overlap=_OVERLAP)
    except ConflictError as error:
        return keys_page(house, visit, who, problem=error.message, status=error.http)
    return keys_page(house, visit, who, made=made)


@post(f"{KEYS}/{{key_id:str}}/revoke", **_OPTIONS)
def revoke(house: TheHouse, visit: TheVisit, request: AnyRequest, key_id: FromPath[str]) -> Response[bytes]:
    """Ends a key at once, and all sessions with it; the last key lives on."""
    who = who_asks(house, request)
    try:
        with house.db.begin() as tx:
            ended = keys.revoke(tx, who, key_id)
    except ConflictError as error:
        return keys_page(house, visit, who, problem=f"{error.message} Make another one first.", status=error.http)
    if not ended.revoked:
        return redirect(visit, KEYS, say="That key had ended already.")
    say = "The key has ended, and every session with it. Sign in with another one."
    return redirect(visit, f"{LOGIN}?next=%2Fmarketplace%2Fvendor%2Fkeys", say=say,
                    cookies=(cookie(visit, SESSION_COOKIE, ""),))  # fmt: skip


def who_asks(house: House, request: AnyRequest) -> Principal:
    """The session that asks; the services want to know which key opened it."""
    return house.tokens.authenticate(request.cookies.get(SESSION_COOKIE, ""), house.db.begin)


def keys_page(house: House, visit: Visit, who: Principal, *, status: int = 200, **more: Any) -> Response[bytes]:
    """The page, with what a form of it came to."""
    made: IssuedKey | None = None
    facts: dict[str, Any] = {"made": made, "typed": {"name": "", "days": "90"}, "errors": {}, "problem": "", **more}
    with house.db.begin() as tx:
        listed = keys.list_of(tx, who)
        facts["accounts"] = identities.list_of(tx, who.vendor_id or "") if house.github is not None else None
    return page(visit, "vendor/keys.html", status=status, title="API keys", keys=listed, **facts)


HANDLERS = [show, create, rotate, revoke]
