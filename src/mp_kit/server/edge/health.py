"""GET /api/health and, for balancers and clusters, whether the process lives and whether it can do its work."""

from __future__ import annotations

from litestar import Response, get
from litestar.datastructures import State
from sqlalchemy import text

from mp_kit.contracts import CONTRACTS_VERSION, ServiceHealth
from mp_kit.contracts.system import ServiceReadiness
from mp_kit.errors import DatabaseDownError
from mp_kit.server import clock
from mp_kit.server.edge.limits import FREE
from mp_kit.server.edge.parts import TheHouse
from mp_kit.server.services.readiness import Readiness
from mp_kit.version import __version__

_AGAIN = {"Retry-After": "2"}


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
    return Response(_said(healthy), status_code=200 if healthy else 503, headers={} if healthy else _AGAIN)


@get("/api/health/live", opt=FREE, sync_to_thread=False, summary="Does the process answer?", tags=["system"])
def live() -> ServiceHealth:
    """200 as long as the process serves at all; it asks nobody. Restart a process that does not answer this."""
    return _said(healthy=True)


@get("/api/health/ready", opt=FREE, sync_to_thread=True, summary="Can the process do its work?", tags=["system"])
def ready(state: State) -> Response[ServiceReadiness]:
    """503 while the database, its schema or the object store is not as the process needs it; no reason is given."""
    readiness: Readiness = state.readiness
    found = readiness.ask()
    well = all(found.checks.values())
    body = ServiceReadiness(
        **_said(well).model_dump(),
        checks={part: "ok" if good else "failing" for part, good in found.checks.items()},
        versions={"package": __version__, "contracts": CONTRACTS_VERSION}
        | ({"schema": found.schema} if found.schema else {}),
    )
    return Response(body, status_code=200 if well else 503, headers={} if well else _AGAIN)


HANDLERS = [health, live, ready]


def _said(healthy: bool) -> ServiceHealth:
    return ServiceHealth(
        success=healthy,
        service="mp-kit",
        version=__version__,
        timestamp=clock.now(),
        status="healthy" if healthy else "unhealthy",
    )
