"""Visits: who looks at a page, the session in its cookie, and the tokens that forms must bear.

1. The session is a JWT in a cookie that scripts cannot read; it ends after 24 h, or when the vendor's epoch moves on.
2. A form's token is an HMAC over the session, or over a random cookie where nobody is signed in: it is worth nothing
   in another session, and another site can neither read nor make it.
3. The operator's session is opened with the service key, reaches the operator's pages and nothing else, and ends with
   that key, or after eight hours.
4. A page to return to is a local path of the console, never another site.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from litestar import Request
from litestar.concurrency import sync_to_thread
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler

from mp_kit.errors import AuthError, ForbiddenError, InvalidInputError, MarketplaceError
from mp_kit.server.house import House
from mp_kit.server.services import vendors
from mp_kit.server.services.doors import address_of
from mp_kit.server.store.scope import HOUSE, enter, of_vendor, within
from mp_kit.server.telemetry import trail

SESSION_COOKIE = "mp_session"
NONCE_COOKIE = "mp_visit"
SAID_COOKIE = "mp_said"
CSRF_FIELD = "csrf"
LOGIN = "/marketplace/login"
GITHUB = f"{LOGIN}/github"
HOME = "/marketplace"
DESK = "/marketplace/vendor"
OPERATOR = "/marketplace/operator/reports"
AUDIT = "/marketplace/operator/audit"

_ROOTS = (HOME, "/consensus")
_PATH = re.compile(r"^/[A-Za-z0-9/_.~%:@!$&'()*+,;=?\-]*$")
_MAX_FIELDS = 200
_MAX_PATH = 512
_MAX_SAID = 300
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

AnyRequest: TypeAlias = Request[Any, Any, Any]
Connection: TypeAlias = ASGIConnection[Any, Any, Any, Any]


@dataclass(frozen=True)
class Visit:
    """One request of a person.

    Args:
        path: Where it went, with its query.
        vendor_id: The vendor that is signed in; None for the public.
        vendor_name: Its name.
        csrf: What this visit's forms bear; empty where it is not known who looks.
        secure: Whether people reach the marketplace over https.
        nonce: A new random cookie to set; None where there is one.
        said: A sentence that the page before left for this one.
        refused: Why a session that was sent is not good.
        is_operator: The operator is signed in; no vendor is, then.
    """

    path: str = HOME
    vendor_id: str | None = None
    vendor_name: str = ""
    csrf: str = field(default="", repr=False)
    secure: bool = False
    nonce: str | None = field(default=None, repr=False)
    said: str = ""
    refused: MarketplaceError | None = None
    is_operator: bool = False

    @property
    def actor(self) -> str:
        """How the audit log calls it."""
        if self.is_operator:
            return "operator:console"
        return f"vendor:{self.vendor_id}" if self.vendor_id else "public"


TheVisit: TypeAlias = NamedDependency[Visit]
"""The visit, in a handler's signature."""
TheForm: TypeAlias = NamedDependency[Mapping[str, str]]
"""The fields of a form that was sent, in a handler's signature; of a name sent twice, the last."""
TheHouse: TypeAlias = NamedDependency[House]


async def open_visit(connection: Connection, _: BaseRouteHandler) -> None:
    """The guard of every page: says who visits, and refuses forms without this visit's token.

    Raises:
        ForbiddenError: A form without the token, or from another site.
        InvalidInputError: A form that is none.
    """
    visit = await sync_to_thread(_read, connection)
    connection.scope["state"]["visit"] = visit
    trail.note_parameters(connection.path_params)
    trail.note(vendor_id=visit.vendor_id)
    if connection.scope["method"] not in _SAFE_METHODS:  # type: ignore[typeddict-item] # an HTTP scope
        await _check_form(connection, visit)


async def signed_in(connection: Connection, _: BaseRouteHandler) -> None:
    """The guard of a vendor's pages.

    Raises:
        AuthError: Nobody is signed in: the page becomes the way to the login.
        ForbiddenError: The vendor may not act.
    """
    visit = visit_of(connection)
    if visit.vendor_id is None:
        raise visit.refused or AuthError("Sign in to see this page.")
    enter(of_vendor(visit.vendor_id))


async def operator_only(connection: Connection, _: BaseRouteHandler) -> None:
    """The guard of the operator's pages.

    Raises:
        AuthError: Nobody is signed in: the page becomes the way to the login.
        ForbiddenError: A vendor is.
    """
    visit = visit_of(connection)
    if visit.vendor_id is not None:
        raise ForbiddenError("This page is the operator's.")
    if not visit.is_operator:
        raise AuthError("Sign in with the operator's key to see this page.")
    enter(HOUSE)


def visit_of(connection: Connection) -> Visit:
    """The visit that :func:`open_visit` opened; an anonymous one where it never ran."""
    visit: Visit | None = connection.scope["state"].get("visit")
    return visit if visit is not None else Visit(path=_path(connection))


def provide_visit(request: AnyRequest) -> Visit:
    """The visit, for handlers."""
    return visit_of(request)


def provide_form(request: AnyRequest) -> Mapping[str, str]:
    """The form, for handlers; it was checked by :func:`open_visit`."""
    form: Mapping[str, str] = request.scope["state"]["form"]
    return form


def vendor_of(visit: Visit) -> str:
    """The id of the vendor that is signed in, behind :func:`signed_in`.

    Raises:
        AuthError: Nobody is.
    """
    if visit.vendor_id is None:
        raise AuthError("Sign in to see this page.")
    return visit.vendor_id


def is_console(path: str) -> bool:
    """Whether an address is the console's, be there a page or not."""
    return any(path == root or path.startswith(f"{root}/") for root in _ROOTS)


def safe_path(wanted: str | None, default: str = HOME) -> str:
    """A page of the console to go to, or the default where what was asked for is none."""
    if not wanted or len(wanted) > _MAX_PATH or not _PATH.match(wanted) or wanted.startswith("//"):
        return default
    parts = urlsplit(wanted)
    inside = is_console(parts.path) and ".." not in parts.path
    return wanted if inside and not parts.scheme and not parts.netloc else default


def login_path(connection: Connection) -> str:
    """The login page that returns to where the visitor was: for a form, the page that it stood on."""
    was = _path(connection)
    if connection.scope["method"] not in _SAFE_METHODS:  # type: ignore[typeddict-item] # an HTTP scope
        parts = urlsplit(connection.headers.get("referer", ""))
        was = parts.path + (f"?{parts.query}" if parts.query else "")
    return f"{LOGIN}?next={quote(safe_path(was), safe='')}"


def cookie(visit: Visit, name: str, value: str, *, seconds: int | None = None) -> Cookie:
    """A cookie that scripts and other sites do not get; an empty value removes it."""
    age = seconds if value else 0
    return Cookie(key=name, value=value, path="/", max_age=age, httponly=True, samesite="lax", secure=visit.secure)


def peer(connection: Connection) -> str:
    """Whose address a visit comes from."""
    return address_of(connection.client.host if connection.client is not None else None)


def nonce_of(connection: Connection) -> str:
    """The random cookie of a browser; empty where it has none."""
    nonce = connection.cookies.get(NONCE_COOKIE, "")
    return nonce if len(nonce) == 43 else ""  # noqa: PLR2004 - 32 bytes as base64


def new_nonce() -> str:
    """A random cookie for a browser."""
    return secrets.token_urlsafe(32)


def _read(connection: Connection) -> Visit:
    house: House = connection.app.state.house
    token = connection.cookies.get(SESSION_COOKIE, "")
    is_operator = bool(token) and house.tokens.is_operator_session(token)
    vendor_id, name, refused = (None, "", None) if is_operator else _who(house, token)
    nonce, in_session = nonce_of(connection), bool(is_operator or vendor_id)
    fresh = None if nonce or in_session else new_nonce()
    return Visit(
        path=_path(connection),
        vendor_id=vendor_id,
        vendor_name=name,
        csrf=house.tokens.form_token(token if in_session else (fresh or nonce)),
        secure=house.settings.base_url.startswith("https://"),
        nonce=fresh,
        said=unquote(connection.cookies.get(SAID_COOKIE, ""))[:_MAX_SAID],
        refused=refused,
        is_operator=is_operator,
    )


def _who(house: House, token: str) -> tuple[str | None, str, MarketplaceError | None]:
    """A session's vendor; an API key in a cookie is no session."""
    if token.count(".") != 2:  # noqa: PLR2004 - a JWT has three parts
        return None, "", None
    try:
        who = house.tokens.authenticate(token, house.db.begin)
        if who.kind != "vendor" or who.vendor_id is None:
            return None, "", AuthError("This is no session.")
        with within(of_vendor(who.vendor_id)), house.db.begin() as tx:
            return who.vendor_id, vendors.me(tx, who.vendor_id).name, None
    except (AuthError, ForbiddenError) as error:
        return None, "", error


async def _check_form(connection: Connection, visit: Visit) -> None:
    if connection.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise ForbiddenError("This form was sent by another site.")
    if not isinstance(connection, Request):
        raise ForbiddenError("This is no form.")
    form = _parse(connection, await connection.body())
    sent = form.pop(CSRF_FIELD, "")
    if not secrets.compare_digest(sent.encode(), visit.csrf.encode()):
        if visit.refused is not None:
            raise visit.refused
        raise ForbiddenError("This form is no longer good.", hint="Go back, load the page again, and send it again.")
    connection.scope["state"]["form"] = form


def _parse(request: AnyRequest, body: bytes) -> dict[str, str]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise InvalidInputError("A form is sent as application/x-www-form-urlencoded.")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict"))
    except ValueError as error:
        raise InvalidInputError("The form cannot be read.") from error


def _path(connection: Connection) -> str:
    query = connection.scope["query_string"].decode("latin-1")
    return connection.url.path + (f"?{query}" if query else "")
