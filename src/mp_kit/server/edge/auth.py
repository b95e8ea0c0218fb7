"""Who is calling, and may it? A guard per kind of caller; the token check itself is ``services/tokens.py``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from litestar.concurrency import sync_to_thread
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

from mp_kit.errors import AuthError, ForbiddenError, NotFoundError, UnavailableError
from mp_kit.server.edge import limits
from mp_kit.server.house import House
from mp_kit.server.services.tokens import Kind, Principal
from mp_kit.server.store import scope as scopes
from mp_kit.server.telemetry import trail

_SCHEME = "bearer "
_MAX_TOKEN_CHARS = 4_096
_CHECKERS, _MOST_WAITING = 2, 100

Connection = ASGIConnection[Any, Any, Any, Any]


class Checks:
    """Checks tokens that are not known yet: in threads of their own, and of those that wait no more than some."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_CHECKERS, thread_name_prefix="check")
        self._waiting = 0

    async def run(self, check: Callable[..., Principal], *given: Any) -> Principal:
        """Runs a check when its turn comes.

        Raises:
            UnavailableError: Too many wait.
        """
        if self._waiting >= _MOST_WAITING:
            raise UnavailableError("Too many unknown tokens are being checked at once.", retry_after=1)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, check, *given)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Ends the threads; who waits hears that it is over."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def bearer(connection: Connection) -> str:
    """The token of the Authorization header.

    Raises:
        AuthError: There is none, or it is not a bearer token.
    """
    header = connection.headers.get("authorization", "")
    if not header:
        raise AuthError(
            "Nobody is signed in: the request bears no token (header Authorization: Bearer <token>).",
            hint="Sign in: `mp login` in a shell, m.sign_in() in a notebook.",
        )
    if not header.lower().startswith(_SCHEME) or len(header) > _MAX_TOKEN_CHARS:
        raise AuthError("The Authorization header is not of the form Bearer <token>.")
    return header[len(_SCHEME) :].strip()


async def identify(connection: Connection) -> Principal:
    """Who is calling. A remembered token is answered at once, any other one in a thread.

    Raises:
        AuthError, ForbiddenError: Nobody who may act.
        RateLimitedError: Too many wrong tokens came from the address.
        UnavailableError: As many unknown tokens are being checked as may be.
    """
    house: House = connection.app.state.house
    token = bearer(connection)
    remembered = house.tokens.recall(token)
    if remembered is not None:
        return remembered
    try:
        if token.count(".") == limits.JWT_DOTS or house.tokens.proved(token):  # no Argon2: as quick as any handler
            return await sync_to_thread(house.tokens.authenticate, token, house.db.begin)
        house.doors.admit(limits.peer(connection))
        checks: Checks = connection.app.state.checks
        return await checks.run(house.tokens.authenticate, token, house.db.begin)
    except (AuthError, ForbiddenError):
        await limits.failed(connection)
        raise


def allow(*kinds: Kind, route: str | None = None) -> Guard:
    """A guard that lets only these kinds of callers in, and leaves the caller for :func:`who`.

    Args:
        *kinds: Kinds of principals.
        route: What a deployment's scope must name.
    """

    async def guard(connection: Connection, _: BaseRouteHandler) -> None:
        principal = await identify(connection)
        await limits.by_caller(connection, principal, route)
        if principal.kind not in kinds:
            wanted = " or ".join(kinds)
            raise ForbiddenError(f"A {principal.kind} token may not do this.", hint=f"It takes a {wanted} token.")
        if principal.kind == "deployment" and route is not None and route not in principal.scope.get("routes", ()):
            raise ForbiddenError("This token's scope does not cover this route.")
        connection.scope["state"]["who"] = principal
        trail.note_parameters(connection.path_params)
        trail.note(vendor_id=principal.vendor_id, deployment_id=principal.deployment_id, run_id=principal.run_id)
        scopes.enter(scopes.HOUSE if principal.kind == "operator" else scopes.of_vendor(principal.vendor_id))

    guard.names_caller = True  # type: ignore[attr-defined] # so that its limit is the caller's, and not the address's
    return guard


def own_run(principal: Principal, run_id: str) -> None:
    """A run token reaches its own run and no other; for others the run does not exist."""
    if principal.run_id != run_id:
        raise NotFoundError(f"There is no training run {run_id!r}.")
