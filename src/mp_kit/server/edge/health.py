"""GET /api/health."""

from __future__ import annotations

from litestar import Response, get
from sqlalchemy import text

from mp_kit.contracts import ServiceHealth
from mp_kit.errors import DatabaseDownError
from mp_kit.server import clock
from mp_kit.server.edge.limits import FREE
from mp_kit.server.edge.parts import TheHouse
from mp_kit.version import __version__


@get(
    "/api/health",
    opt=FREE,  # a probe that is refused takes a healthy edge away
    sync_to_thread=True,
    summary="Is the marketplace there, and its database?",
    tags=["system"],
)
def health(house: TheHouse) -> Response[ServiceHealth]:
    """200 when the database answers, 503 when it does not."""
    try:
        with house.db.begin() as tx:
            tx.execute(text("SELECT 1"))
        healthy = True
    except DatabaseDownError:
        healthy = False
    body = ServiceHealth(
        success=healthy,
        service="mp-kit",
        version=__version__,
        timestamp=clock.now(),
        status="healthy" if healthy else "unhealthy",
    )
    return Response(body, status_code=200 if healthy else 503, headers={} if healthy else {"Retry-After": "2"})
