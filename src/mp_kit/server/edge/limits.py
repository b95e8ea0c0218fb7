"""Limits at the door: whose request is counted against which of them, and what its headers say.

1. A request without a token is its address's, one with a token its deployment's, run's or vendor's; the operator's is
   nobody's. What bears its own permission (signed URLs), changes never (static files) or keeps watch (health) is free.
2. The address is the peer's, or what a trusted proxy says of it (``serve``): nobody else's word counts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from math import ceil
from typing import Any

from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Scope

from mp_kit.contracts import RATE_LIMIT_HEADER, RATE_REMAINING_HEADER, RATE_RESET_HEADER
from mp_kit.errors import RateLimitedError
from mp_kit.server.console.visits import peer, visit_of
from mp_kit.server.house import House
from mp_kit.server.services.doors import CLOSED, address_of, too_many
from mp_kit.server.services.limits import Standing
from mp_kit.server.services.tokens import Principal

__all__ = [
    "FREE",
    "JWT_DOTS",
    "by_address",
    "by_caller",
    "by_visit",
    "charge",
    "closed",
    "failed",
    "headers",
    "leases",
    "peer",
]

Connection = ASGIConnection[Any, Any, Any, Any]
JWT_DOTS = 2
FREE = {"limit": "none"}
"""A handler's ``opt`` that takes it out of all limits."""
_WRITES = {"signals:store": "writes", "consensus:store": "writes", "heartbeats:write": "heartbeats"}
_STANDING = "standing"


@asynccontextmanager
async def leases(app: Litestar) -> AsyncIterator[None]:
    """Gives back what an edge has leased and not spent when it ends."""
    yield
    app.state.house.limiter.close()


async def by_address(connection: Connection, handler: BaseRouteHandler) -> None:
    """The guard of whatever takes no token.

    Raises:
        RateLimitedError: The address asks too often.
    """
    names_caller = any(getattr(guard, "names_caller", False) for guard in handler.guards or ())
    if not names_caller and "limit" not in handler.opt:
        await charge(connection, "public", peer(connection))


async def by_visit(connection: Connection, _: BaseRouteHandler) -> None:
    """The guard of the console's pages, behind the one that says who visits.

    Raises:
        RateLimitedError: The vendor, or the address, looks at too many.
    """
    visit = visit_of(connection)
    if visit.vendor_id is not None:
        await charge(connection, "pages", visit.vendor_id)
    elif not visit.is_operator:
        await charge(connection, "public", peer(connection))


async def by_caller(connection: Connection, who: Principal, route: str | None) -> None:
    """Counts a request with a token; ``route`` is what a deployment's scope must name for it.

    Raises:
        RateLimitedError: The caller asks too often.
    """
    if who.kind == "deployment":
        await charge(connection, _WRITES.get(route or "", "vendor"), who.deployment_id or "")
    elif who.kind == "run":
        await charge(connection, "runs", who.run_id or "")
    elif who.kind == "vendor":
        await charge(connection, "vendor", who.vendor_id or "")


async def charge(connection: Connection, name: str, subject: str) -> None:
    """Counts a request against a limit.

    Raises:
        RateLimitedError: There is none left.
    """
    house: House = connection.app.state.house
    standing = await _settled(house.limiter.take(name, subject))
    if standing is None:
        return
    connection.scope["state"][_STANDING] = standing
    if not standing.admitted:
        raise too_many(standing)


async def failed(connection: Connection) -> None:
    """Counts a wrong token of an address.

    Raises:
        RateLimitedError: It was one too many.
    """
    house: House = connection.app.state.house
    standing = await _settled(house.doors.failed(peer(connection)))
    if standing is not None and not standing.admitted:
        connection.scope["state"][_STANDING] = standing
        raise too_many(standing, CLOSED)


def closed(house: House, scope: Scope, authorization: bytes | None) -> RateLimitedError | None:
    """Refuses, before the framework does anything, a token that nobody knows from an address that showed too many.

    A flood is thus refused at a tenth of what an answer costs.
    """
    client = scope["client"]
    standing = house.doors.closed(address_of(client[0] if client is not None else None))
    if standing is None or authorization is None:
        return None
    token = authorization.decode("latin-1").partition(" ")[2].strip()
    if token.count(".") == JWT_DOTS or house.tokens.is_service_key(token) or house.tokens.proved(token):
        return None
    scope["state"][_STANDING] = standing
    return too_many(standing, CLOSED)


def headers(state: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    """What an answer says of the limit that its request was counted against; nothing where there was none."""
    standing: Standing | None = state.get(_STANDING)
    if standing is None:
        return []
    told = {
        RATE_LIMIT_HEADER: standing.limit.count,
        RATE_REMAINING_HEADER: standing.remaining,
        RATE_RESET_HEADER: ceil(time.time() + standing.full_in),
    }
    return [(name.lower().encode(), b"%d" % value) for name, value in told.items()]


async def _settled(told: Standing | Future[Standing] | None) -> Standing | None:
    if isinstance(told, Future):
        standing: Standing = await asyncio.wrap_future(told)
        return standing
    return told
