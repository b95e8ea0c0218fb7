"""Signing in with a GitHub account: to GitHub, and back with an answer or with a page that says why there is none.

1. The way there is a link, not a form: a form's redirect to another site is against the pages' policy. It is followed
   from our own pages only.
2. The answer counts once, within ten minutes, in the browser or the session that began
   (:mod:`mp_kit.server.services.trips`). No transaction is open while GitHub is asked.
3. Where the operator has no OAuth app at GitHub, none of this is there: 404.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from litestar import Response, get
from litestar.params import FromQuery

from mp_kit.errors import AuthError, ConflictError, ForbiddenError, MarketplaceError, RouteNotFoundError
from mp_kit.server.console.pages import away, page, redirect
from mp_kit.server.console.visits import (
    DESK,
    GITHUB,
    LOGIN,
    NONCE_COOKIE,
    SESSION_COOKIE,
    AnyRequest,
    TheHouse,
    TheVisit,
    Visit,
    cookie,
    new_nonce,
    nonce_of,
    peer,
    safe_path,
)
from mp_kit.server.house import House
from mp_kit.server.providers.github import CALLBACK
from mp_kit.server.providers.identity import Identity, IdentityProvider
from mp_kit.server.services import identities, trips, vendors
from mp_kit.server.services.trips import Trip
from mp_kit.server.store.scope import SIGN_IN, of_vendor, within

KEYS = "/marketplace/vendor/keys"
_OURS = frozenset({"same-origin", "none"})
_BUSY, _DOWN = 429, 503
_DENIED = "access_denied"


@dataclass(frozen=True)
class _Failing:
    """Why nobody is signed in, or no account linked.

    Args:
        status: HTTP status.
        title: The page's name.
        says: What happened.
        hint: What to do.
        account: The account that GitHub named, where it is linked to nobody.
    """

    status: int
    title: str
    says: str
    hint: str = ""
    account: Identity | None = None


_LOST = _Failing(
    403,
    "This sign-in cannot be finished",
    "It was finished or given up before, took more than ten minutes, or was begun in another browser or session.",
    "Begin again here. If you did not begin it yourself, somebody sent you a link: close this page.",
)


def github_of(house: House) -> IdentityProvider:
    """GitHub, where the operator has an OAuth app there.

    Raises:
        RouteNotFoundError: It has none.
    """
    if house.github is None:
        raise RouteNotFoundError("This marketplace has no sign-in with GitHub.", hint="Sign in with an API key.")
    return house.github


@get(GITHUB, sync_to_thread=True, include_in_schema=False)
def leave(
    house: TheHouse,
    visit: TheVisit,
    request: AnyRequest,
    next: FromQuery[str | None] = None,  # noqa: A002 - its name in the URL
    choose: FromQuery[str | None] = None,
) -> Response[bytes]:
    """Sends the browser to GitHub; another site's link leads to our login page first."""
    github, target = github_of(house), safe_path(next, DESK)
    if request.headers.get("sec-fetch-site", "none") not in _OURS:
        return redirect(visit, f"{LOGIN}?next={quote(target, safe='')}")
    browser = nonce_of(request) or visit.nonce or new_nonce()
    with within(SIGN_IN), house.db.begin() as tx:
        departure = trips.begin_login(tx, house.tokens, browser=browser, target=target, address=peer(request))
    url = github.authorize_url(departure.state, departure.challenge, choose=choose is not None)
    return away(visit, url, cookies=(cookie(visit, NONCE_COOKIE, browser),))


@get(CALLBACK, sync_to_thread=True, include_in_schema=False)
def come_back(house: TheHouse, visit: TheVisit, request: AnyRequest) -> Response[bytes]:
    """Takes GitHub's answer: signs in, or links, or says why not."""
    github, session = github_of(house), request.cookies.get(SESSION_COOKIE, "")
    state, code, error = (request.query_params.get(name, "") for name in ("state", "code", "error"))
    with within(SIGN_IN), house.db.begin() as tx:
        trip = trips.come_back(tx, house.tokens, state, browser=nonce_of(request), session=session)
    if trip is None or not (code or error):
        return _failed(visit, trip, _LOST)
    if error:
        return _failed(visit, trip, _denied(error))
    try:
        identity = github.identify(code, trip.verifier)
    except MarketplaceError as told:
        return _failed(visit, trip, _told(told))
    if trip.vendor_id is not None:
        return _link(house, visit, trip, identity, session)
    return _sign_in(house, visit, trip, identity)


def _sign_in(house: House, visit: Visit, trip: Trip, identity: Identity) -> Response[bytes]:
    with within(SIGN_IN), house.db.begin() as tx:
        done = identities.sign_in(tx, house.tokens, identity)
    if done.session is None:
        return _failed(visit, trip, _refused(done.refused, identity))
    seconds = vendors.SESSION_HOURS * 3_600
    opened = cookie(visit, SESSION_COOKIE, done.session.token, seconds=seconds)
    return redirect(visit, safe_path(trip.target, DESK), cookies=(opened,))


def _link(house: House, visit: Visit, trip: Trip, identity: Identity, session: str) -> Response[bytes]:
    try:
        who = house.tokens.authenticate(session, house.db.begin)
        with within(of_vendor(who.vendor_id)), house.db.begin() as tx:
            is_new = identities.link(tx, who, trip, identity)
    except AuthError:
        told = "Your session ended on the way to GitHub and back."
        return _failed(visit, trip, _Failing(403, "Not linked", told, "Sign in and link the account once more."))
    except (ConflictError, ForbiddenError) as error:
        return _failed(visit, trip, _Failing(error.http, "Not linked", error.message, error.hint or ""))
    name = identity.login or identity.subject
    say = f"You can sign in with the GitHub account {name} now." if is_new else f"{name} was linked already."
    return redirect(visit, safe_path(trip.target, DESK), say=say)


def _denied(error: str) -> _Failing:
    if error == _DENIED:
        says, hint = "You did not let GitHub tell who you are.", "Nothing was changed. Sign in with an API key instead."
        return _Failing(403, "GitHub was told no", says, hint)
    says = (
        "GitHub refuses the sign-in for a reason of its own: its OAuth app here may be set up wrongly or be suspended."
    )
    return _Failing(_DOWN, "GitHub refuses", says, "Tell the operator, and sign in with an API key meanwhile.")


def _told(error: MarketplaceError) -> _Failing:
    if error.http == _DOWN:
        hint = "Try again in a minute, or sign in with an API key meanwhile."
        return _Failing(_DOWN, "GitHub is out of reach", error.message, hint)
    title = "Too many at once" if error.http == _BUSY else _LOST.title
    return _Failing(error.http, title, error.message, "Begin again here.")


def _refused(why: str, identity: Identity) -> _Failing:
    name = identity.login or identity.subject
    if why == "unknown":
        says = f"GitHub says that you are {name}. No vendor here has linked this account."
        return _Failing(403, "This GitHub account is not linked", says, account=identity)
    says = f"The vendor that {name} is linked to is {why}."
    return _Failing(403, f"The vendor is {why}", says, "Ask the operator to activate it.")


def _failed(visit: Visit, trip: Trip | None, failing: _Failing) -> Response[bytes]:
    """The page that says it; its buttons begin again."""
    target = quote(safe_path(trip.target if trip else None, DESK), safe="")
    facts: dict[str, Any] = {"title": failing.title, "failing": failing, "linking": bool(trip and trip.vendor_id)}
    facts |= {"again": f"{GITHUB}?next={target}", "login": f"{LOGIN}?next={target}", "keys": quote(KEYS, safe="")}
    answer = page(visit, "github_failed.html", status=failing.status, **facts)
    answer.headers["Cache-Control"] = "no-store"
    if failing.status in {_BUSY, _DOWN}:
        answer.headers["Retry-After"] = "30" if failing.status == _DOWN else "2"
    return answer


HANDLERS = [leave, come_back]
