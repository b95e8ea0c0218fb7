"""GitHub accounts that open the vendor's sessions: linked and unlinked. They stand on the page of the API keys."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from litestar import Response, post
from litestar.params import FromPath

from mp_kit.errors import ConflictError
from mp_kit.server.console.github import github_of
from mp_kit.server.console.pages import page, redirect
from mp_kit.server.console.vendor.api_keys import KEYS, keys_page, who_asks
from mp_kit.server.console.visits import (
    LOGIN,
    SESSION_COOKIE,
    AnyRequest,
    TheHouse,
    TheVisit,
    cookie,
    peer,
    signed_in,
    vendor_of,
)
from mp_kit.server.services import identities, trips

LINKED = "/marketplace/vendor/github"
_BACK = quote(KEYS, safe="")
_OPTIONS: dict[str, Any] = {
    "guards": [signed_in], "sync_to_thread": True, "include_in_schema": False, "status_code": 200,
}  # fmt: skip


@post(f"{LINKED}/link", **_OPTIONS)
def link(house: TheHouse, visit: TheVisit, request: AnyRequest) -> Response[bytes]:
    """A page that goes on to GitHub by itself: a redirect would be held against the policy of the form's page."""
    github, who = github_of(house), who_asks(house, request)
    if not trips.is_fresh(who):
        say = "A linked account is a way in: sign in once more before you link one."
        return redirect(visit, f"{LOGIN}?again=1&next={_BACK}", say=say)
    session = request.cookies.get(SESSION_COOKIE, "")
    try:
        with house.db.begin() as tx:
            departure = trips.begin_link(tx, house.tokens, who, session=session, target=KEYS, address=peer(request))
    except ConflictError as error:
        return keys_page(house, visit, who, problem=error.message, status=error.http)
    url = github.authorize_url(departure.state, departure.challenge, choose=True)
    return page(visit, "vendor/github.html", title="To GitHub", url=url)


@post(f"{LINKED}/{{identity_id:str}}/unlink", **_OPTIONS)
def unlink(house: TheHouse, visit: TheVisit, request: AnyRequest, identity_id: FromPath[str]) -> Response[bytes]:
    """Takes an account's way in, and ends all sessions; the last way in stays."""
    github_of(house)
    try:
        with house.db.begin() as tx:
            gone = identities.unlink(tx, vendor_of(visit), identity_id, actor=visit.actor)
    except ConflictError as error:
        problem = f"{error.message} {error.hint}"
        return keys_page(house, visit, who_asks(house, request), problem=problem, status=error.http)
    say = f"{gone.login or gone.subject} is unlinked, and every session has ended. Sign in with a key of yours."
    return redirect(visit, f"{LOGIN}?next={_BACK}", say=say, cookies=(cookie(visit, SESSION_COOKIE, ""),))


HANDLERS = [link, unlink]
