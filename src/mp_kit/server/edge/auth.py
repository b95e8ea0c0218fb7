"""Who is calling, and may it? A guard per kind of caller; the token check itself is ``services/tokens.py``."""

from __future__ import annotations

from typing import Any

from litestar.concurrency import sync_to_thread
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

from mp_kit.errors import AuthError, ForbiddenError, NotFoundError
from mp_kit.server.house import House
from mp_kit.server.services.tokens import Kind, Principal
from mp_kit.server.store import scope as scopes
from mp_kit.server.telemetry import trail

_SCHEME = "bearer "
_MAX_TOKEN_CHARS = 4_096

Connection = ASGIConnection[Any, Any, Any, Any]


def bearer(connection: Connection) -> str:
    """The token of the Authorization header.

    Raises:
        AuthError: There is none, or it is not a bearer token.
    """
    header = connection.headers.get("authorization", "")
    if not header:
        raise AuthError("No token: send the header Authorization: Bearer <token>.")
    if not header.lower().startswith(_SCHEME) or len(header) > _MAX_TOKEN_CHARS:
        raise AuthError("The Authorization header is not of the form Bearer <token>.")
    return header[len(_SCHEME) :].strip()


async def identify(connection: Connection) -> Principal:
    """Who is calling. A remembered token is answered at once, any other one in a thread."""
    house: House = connection.app.state.house
    token = bearer(connection)
    remembered = house.tokens.recall(token)
    if remembered is not None:
        return remembered
    return await sync_to_thread(house.tokens.authenticate, token, house.db.begin)


def allow(*kinds: Kind, route: str | None = None) -> Guard:
    """A guard that lets only these kinds of callers in, and leaves the caller for :func:`who`.

    Args:
        *kinds: Kinds of principals.
        route: What a deployment's scope must name.
    """

    async def guard(connection: Connection, _: BaseRouteHandler) -> None:
        principal = await identify(connection)
        if principal.kind not in kinds:
            wanted = " or ".join(kinds)
            raise ForbiddenError(f"A {principal.kind} token may not do this.", hint=f"It takes a {wanted} token.")
        if principal.kind == "deployment" and route is not None and route not in principal.scope.get("routes", ()):
            raise ForbiddenError("This token's scope does not cover this route.")
        connection.scope["state"]["who"] = principal
        trail.note_parameters(connection.path_params)
        trail.note(vendor_id=principal.vendor_id, deployment_id=principal.deployment_id, run_id=principal.run_id)
        scopes.enter(scopes.HOUSE if principal.kind == "operator" else scopes.of_vendor(principal.vendor_id))

    return guard


def own_run(principal: Principal, run_id: str) -> None:
    """A run token reaches its own run and no other; for others the run does not exist."""
    if principal.run_id != run_id:
        raise NotFoundError(f"There is no training run {run_id!r}.")
