"""Signing in with an API key, and out again; GitHub's way in is :mod:`mp_kit.server.console.github`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import quote

from litestar import Response, get, post
from litestar.params import FromQuery

from mp_kit.errors import AuthError, ForbiddenError
from mp_kit.server import clock
from mp_kit.server.console.pages import page, redirect
from mp_kit.server.console.visits import (
    DESK,
    GITHUB,
    HOME,
    LOGIN,
    OPERATOR,
    SESSION_COOKIE,
    AnyRequest,
    TheForm,
    TheHouse,
    TheVisit,
    Visit,
    cookie,
    peer,
    safe_path,
    signed_in,
    vendor_of,
)
from mp_kit.server.house import House
from mp_kit.server.services import audit, vendors
from mp_kit.server.store.scope import HOUSE, of_vendor, within

_AFTER_LOGIN = DESK
_MAX_KEY_CHARS = 200
_OPERATOR_HOURS = 8


@get(LOGIN, sync_to_thread=True, include_in_schema=False)
def login_form(
    house: TheHouse,
    visit: TheVisit,
    next: FromQuery[str | None] = None,  # noqa: A002 - its name in the URL
    again: FromQuery[str | None] = None,
) -> Response[bytes]:
    """The login page; whoever is signed in already goes on, unless the page that led here asks for it once more."""
    if (visit.is_operator or visit.vendor_id is not None) and again is None:
        return redirect(visit, _target(next, OPERATOR if visit.is_operator else _AFTER_LOGIN))
    return _form(house, visit, _target(next))


@post(LOGIN, sync_to_thread=True, include_in_schema=False, status_code=200)
def login(house: TheHouse, visit: TheVisit, request: AnyRequest, form: TheForm) -> Response[bytes]:
    """Trades a key for a session in a cookie, and keeps it nowhere; the service key is the operator's."""
    target, key = _target(form.get("next")), form.get("api_key", "").strip()
    if house.tokens.is_service_key(key):
        return _operator(house, visit, target if target != _AFTER_LOGIN else OPERATOR)
    try:
        with house.doors.checking(peer(request)):
            session = _open(house, key)
    except (AuthError, ForbiddenError) as error:
        return _form(house, visit, target, problem=error.message, status=error.http)
    seconds = vendors.SESSION_HOURS * 3_600
    return redirect(visit, target, cookies=(cookie(visit, SESSION_COOKIE, session, seconds=seconds),))


@post("/marketplace/logout", sync_to_thread=True, include_in_schema=False, status_code=200)
def logout(visit: TheVisit) -> Response[bytes]:
    """Ends the session of this browser."""
    return redirect(visit, HOME, say="You are signed out.", cookies=(cookie(visit, SESSION_COOKIE, ""),))


@post(
    "/marketplace/logout/everywhere", guards=[signed_in], sync_to_thread=True, include_in_schema=False, status_code=200
)
def logout_everywhere(house: TheHouse, visit: TheVisit) -> Response[bytes]:
    """Ends every session of the vendor, in all browsers and notebooks; API keys live on."""
    with house.db.begin() as tx:
        vendors.end_sessions(tx, vendor_of(visit), actor=visit.actor)
    say = "All sessions have ended, this one too."
    return redirect(visit, HOME, say=say, cookies=(cookie(visit, SESSION_COOKIE, ""),))


def _target(wanted: str | None, default: str = _AFTER_LOGIN) -> str:
    """Where to go on: back to the page that led here, but from the front door, which leads everybody here, to work."""
    target = safe_path(wanted, default)
    return default if target == HOME else target


def _operator(house: House, visit: Visit, target: str) -> Response[bytes]:
    session = house.tokens.operator_session(clock.now() + timedelta(hours=_OPERATOR_HOURS))
    with within(HOUSE), house.db.begin() as tx:
        audit.record(tx, "operator:console", "session.open", "operator")
    seconds = _OPERATOR_HOURS * 3_600
    return redirect(visit, target, cookies=(cookie(visit, SESSION_COOKIE, session, seconds=seconds),))


def _open(house: House, api_key: str) -> str:
    if not api_key.startswith("vk_") or len(api_key) > _MAX_KEY_CHARS:
        raise AuthError("This is no API key: it begins with vk_ and was shown when it was made.")
    try:
        who = house.tokens.authenticate(api_key, house.db.begin)
    except AuthError as error:
        raise AuthError("This key is not known, or it has ended.") from error
    with within(of_vendor(who.vendor_id)), house.db.begin() as tx:
        return vendors.open_session(tx, house.tokens, who.vendor_id or "", who.token_id).token


def _form(house: House, visit: Visit, target: str, *, problem: str = "", status: int = 200) -> Response[bytes]:
    facts: dict[str, Any] = {"title": "Sign in", "target": target, "problem": problem}
    facts["base_url"] = house.settings.base_url
    facts["github"] = f"{GITHUB}?next={quote(target, safe='')}" if house.github is not None else ""
    return page(visit, "login.html", status=status, **facts)


HANDLERS = [login_form, login, logout, logout_everywhere]
