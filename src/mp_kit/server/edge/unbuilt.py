"""Routes of the contract that this release does not have yet: they say so, with 501 and ``not_built_yet``."""

from __future__ import annotations

import re

from litestar import HttpMethod, route
from litestar.handlers import HTTPRouteHandler

from mp_kit.errors import NotBuiltYetError

UNBUILT: list[tuple[HttpMethod, str, str]] = [
    (HttpMethod.PATCH, "/api/deployments/{deployment_id:str}", "changing deployments comes with launching them"),
]
"""Method, path, and what it waits for; ``docs/wire.md`` lists the same (a test compares)."""


def handlers() -> list[HTTPRouteHandler]:
    """A handler for each, that answers 501."""
    return [_handler(method, path, reason) for method, path, reason in UNBUILT]


def _handler(method: HttpMethod, path: str, reason: str) -> HTTPRouteHandler:
    name = "".join(part.capitalize() for part in re.split(r"\W+", f"{method.value.lower()} {path}"))

    @route(path, http_method=method, status_code=501, sync_to_thread=False, operation_id=name, tags=["not built yet"])
    def not_built_yet() -> None:
        """Answers 501: the contract names this route, this release does not have it yet."""
        raise NotBuiltYetError(f"{method.value} {path.replace(':str', '')} is not built yet: {reason}.")

    return not_built_yet
