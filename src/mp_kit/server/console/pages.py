"""Making pages: templates, the headers that every page bears, redirects, and the page that says an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Response
from litestar.datastructures import Cookie

from mp_kit.errors import AuthError, InternalError, MarketplaceError, MethodNotAllowedError
from mp_kit.server.console import charts, shown
from mp_kit.server.console.assets import address
from mp_kit.server.console.visits import (
    NONCE_COOKIE,
    SAID_COOKIE,
    SESSION_COOKIE,
    AnyRequest,
    Visit,
    cookie,
    login_path,
    visit_of,
)

TEMPLATES = Path(__file__).parent / "templates"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; connect-src 'self'"
)
DOCUMENT_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
"""Of HTML that is not ours to vouch for: an origin of its own, no script, nothing from anywhere."""

_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_SAID_SECONDS = 60
_TITLES = {401: "Sign in", 402: "Over budget", 403: "Not allowed", 404: "Not found", 405: "Not like this",
           409: "Not possible now", 422: "Not understood", 429: "Too many at once", 503: "Back soon"}  # fmt: skip

__all__ = ["DOCUMENT_POLICY", "POLICY", "TEMPLATES", "away", "document", "download", "page", "redirect", "sorry"]


def page(visit: Visit, template: str, *, status: int = 200, **facts: Any) -> Response[bytes]:
    """A page.

    Args:
        visit: Who looks at it.
        template: Below ``templates/``.
        status: HTTP status.
        **facts: What the template shows; ``title`` is the page's name.
    """
    body = _environment().get_template(template).render(visit=visit, **facts)
    cookies = [cookie(visit, SAID_COOKIE, "")] if visit.said else []
    if visit.nonce is not None:
        cookies.append(cookie(visit, NONCE_COOKIE, visit.nonce))
    return _respond(visit, body.encode(), status, cookies)


def document(visit: Visit, html: bytes) -> Response[bytes]:
    """HTML that was made elsewhere, such as a notebook's: it is shown, and can do nothing."""
    answer = _respond(visit, html, 200, [])
    answer.headers["Content-Security-Policy"] = DOCUMENT_POLICY
    return answer


def download(visit: Visit, body: bytes, *, media_type: str, name: str) -> Response[bytes]:
    """A file to be saved under a name, not to be shown."""
    answer = _respond(visit, body, 200, [])
    answer.media_type = media_type
    answer.headers |= {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return answer


def redirect(visit: Visit, path: str, *, say: str = "", cookies: tuple[Cookie, ...] = ()) -> Response[bytes]:
    """Sends the visitor to another page of the console (303), where a sentence is shown once.

    Args:
        visit: Whom.
        path: A path of ours: what came from outside goes through ``visits.safe_path`` first.
        say: The sentence.
        cookies: To set.
    """
    left = [*cookies, cookie(visit, SAID_COOKIE, quote(say), seconds=_SAID_SECONDS)] if say else list(cookies)
    answer = _respond(visit, b"", 303, left)
    answer.headers["Location"] = path
    return answer


def away(visit: Visit, url: str, *, cookies: tuple[Cookie, ...] = ()) -> Response[bytes]:
    """Sends the visitor to another site (303), one that the operator set.

    Only in answer to GET: browsers hold what answers a form against the policy's form-action.
    """
    answer = _respond(visit, b"", 303, list(cookies))
    answer.headers |= {"Location": url, "Cache-Control": "no-store"}
    return answer


def sorry(translate: Callable[[Exception], MarketplaceError], report: Callable[[str, Exception], None]) -> Any:
    """The handler of a page's errors.

    Args:
        translate: Finds the error of our tree for any exception.
        report: Logs what nobody expected, under the request's id.
    """

    def answer(request: AnyRequest, error: Exception) -> Response[bytes]:
        told = translate(error)
        visit = visit_of(request)
        request_id = str(request.scope["state"].get("request_id", ""))
        if isinstance(told, InternalError):
            report(request_id, error)
        if isinstance(told, AuthError):
            return _to_login(request, visit)
        return failure(visit, told, request_id)

    return answer


def failure(visit: Visit, told: MarketplaceError, request_id: str = "") -> Response[bytes]:
    """The page that says an error, in the console's layout and with the next step."""
    title = _TITLES.get(told.http, "Something went wrong")
    answer = page(
        visit, "error.html", status=told.http, title=title, error=told, request_id=request_id,
        is_method=isinstance(told, MethodNotAllowedError),
    )  # fmt: skip
    if told.http in {429, 503}:
        answer.headers["Retry-After"] = str(max(1, ceil(told.retry_after or 2)))
    return answer


def _to_login(request: AnyRequest, visit: Visit) -> Response[bytes]:
    say = "Your session has ended. Sign in to go on." if SESSION_COOKIE in request.cookies else ""
    return redirect(visit, login_path(request), say=say, cookies=(cookie(visit, SESSION_COOKIE, ""),))


def _respond(visit: Visit, body: bytes, status: int, cookies: list[Cookie]) -> Response[bytes]:
    headers = dict(_HEADERS)
    headers["Cache-Control"] = "no-store" if visit.vendor_id or cookies else "private, no-cache"
    if visit.secure:
        headers["Strict-Transport-Security"] = "max-age=31536000"
    return Response(body, status_code=status, media_type="text/html", headers=headers, cookies=cookies)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    filters: Mapping[str, Callable[..., Any]] = {name: getattr(shown, name) for name in shown.__all__}
    environment.filters.update(filters)
    environment.globals.update({"asset": address, "charts": charts})
    environment.globals["ui"] = environment.get_template("ui.html").module
    return environment
