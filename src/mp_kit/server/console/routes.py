"""The console's routes, as one router that the edge mounts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from litestar import Response, Router, get
from litestar.di import Provide
from litestar.params import FromPath
from litestar.types import Guard

from mp_kit.errors import MarketplaceError, RouteNotFoundError
from mp_kit.server.console import (
    audit,
    catalog,
    consensus,
    devices,
    docs,
    github,
    leaderboard,
    reports,
    sessions,
    vendor,
)
from mp_kit.server.console.assets import favicon, static
from mp_kit.server.console.pages import failure, redirect, sorry
from mp_kit.server.console.visits import (
    HOME,
    AnyRequest,
    TheVisit,
    is_console,
    open_visit,
    provide_form,
    provide_visit,
    visit_of,
)

log = logging.getLogger(__name__)
_ABSENT_HINT = "Begin at the catalogue, or search there."
_FORM_BYTES = 256 * 1024


def routes(translate: Callable[[Exception], MarketplaceError], limit: Guard) -> list[Router]:
    """All pages.

    Args:
        translate: Finds the error of our tree for any exception, as the edge does for its own routes.
        limit: Refuses who looks at too many.
    """
    pages = Router(
        path="/",
        guards=[open_visit, limit],
        opt={"limit": "visit"},
        dependencies={
            "visit": Provide(provide_visit, sync_to_thread=False),
            "form": Provide(provide_form, sync_to_thread=False),
        },
        exception_handlers={Exception: sorry(translate, _report)},
        request_max_body_size=_FORM_BYTES,
        route_handlers=[
            root,
            absent,
            *catalog.HANDLERS,
            *consensus.HANDLERS,
            *leaderboard.HANDLERS,
            *docs.HANDLERS,
            *reports.HANDLERS,
            *audit.HANDLERS,
            *sessions.HANDLERS,
            *github.HANDLERS,
            *vendor.HANDLERS,
            *devices.HANDLERS,
        ],
    )
    return [pages, Router(path="/", opt={"limit": "none"}, route_handlers=[static, favicon])]


@get("/", sync_to_thread=False, include_in_schema=False)
def root(visit: TheVisit) -> Response[bytes]:
    """The front door."""
    return redirect(visit, HOME)


@get(["/marketplace/{rest:path}", "/consensus/{rest:path}"], sync_to_thread=False, include_in_schema=False)
def absent(rest: FromPath[str]) -> Response[bytes]:
    """No page has this address."""
    raise RouteNotFoundError(f"There is no page {rest[:80]}.", hint=_ABSENT_HINT)


def or_page(
    answer: Callable[[AnyRequest, Exception], Response[Any]], translate: Callable[[Exception], MarketplaceError]
) -> Callable[[AnyRequest, Exception], Response[Any]]:
    """The edge's own answer to an error, but a page where no handler was found below the console's roots.

    Nobody was asked who visits, then: the page shows neither a name nor the way to the login.
    """

    def told(request: AnyRequest, error: Exception) -> Response[Any]:
        found = translate(error)
        if isinstance(found, RouteNotFoundError) and is_console(request.url.path):
            lost = RouteNotFoundError("There is no page at this address.", hint=_ABSENT_HINT)
            return failure(visit_of(request), lost)
        return answer(request, error)

    return told


def _report(request_id: str, error: Exception) -> None:
    log.error("unexpected error in page %s", request_id, exc_info=error)
