"""The outermost layer of the edge: each exchange is counted, traced, and told in the access log, whatever answered it.

What is told of a path is its route's template and our own ids: the path itself may be anything, a signed URL's, too.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from mp_kit.server.house import House
from mp_kit.server.telemetry import traces, trail
from mp_kit.server.telemetry.logs import FIELDS
from mp_kit.server.telemetry.metrics import METHODS, NO_ROUTE

if TYPE_CHECKING:
    from opentelemetry.trace import Span

access = logging.getLogger("mp_kit.access")

_PROBES = "/api/health"


@dataclass(slots=True)
class _Answer:
    """What was seen of an answer: its status, and when it began; None where none did."""

    status: int | None = None
    began_at: float | None = None


class Watched:
    """Wraps the app; see the module.

    Args:
        app: What answers.
        house: Whose metrics, traces and settings.
    """

    def __init__(self, app: ASGIApp, house: House) -> None:
        self._app = app
        self._metrics = house.metrics
        self._tracing = house.tracing
        self._tell = house.settings.access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one exchange."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        answer, came_at = _Answer(), time.perf_counter()

        async def send_seen(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.status, answer.began_at = message["status"], time.perf_counter()
            await send(message)

        with trail.following() as ids, self._span(scope) as span:
            try:
                with self._metrics.in_flight.track_inprogress():
                    await self._app(scope, receive, send_seen)
            finally:
                self._close(scope, answer, came_at, ids, span)

    @contextmanager
    def _span(self, scope: Scope) -> Iterator[Span | None]:
        if self._tracing is None:
            yield None
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        with self._tracing.request(headers) as span:
            trail.note(trace_id=traces.trace_id(span))
            yield span

    def _close(self, scope: Scope, answer: _Answer, came_at: float, ids: trail.Trail, span: Span | None) -> None:
        """Tells the three of an exchange that is over."""
        state: dict[str, Any] = dict(scope)
        route, method = _route(state), state["method"]
        seconds = (answer.began_at or time.perf_counter()) - came_at
        self._metrics.answered(route, method, answer.status, seconds)
        verb = method if method in METHODS else "OTHER"
        if span is not None:
            traces.finish(span, _attributes(route, verb, answer, ids), name=f"{verb} {route}", status=answer.status)
        if self._tell and not route.startswith(_PROBES):
            fields = {"method": verb, "route": route, "status": answer.status, "duration_ms": round(seconds * 1_000, 2)}
            access.info("%s %s %s", verb, route, answer.status or "aborted", extra={FIELDS: fields})


def _route(state: dict[str, Any]) -> str:
    """The template of what answered; of a mount its path, for it has no template."""
    if template := state.get("path_template"):
        return str(template)
    handler = state.get("route_handler")
    return NO_ROUTE if handler is None else min(handler.paths, default=NO_ROUTE)


def _attributes(route: str, verb: str, answer: _Answer, ids: trail.Trail) -> dict[str, str | int]:
    found: dict[str, str | int] = {"http.request.method": verb, "http.route": route}
    if answer.status is not None:
        found["http.response.status_code"] = answer.status
    ours = {name: getattr(ids, name) for name in trail.IDS if name != "trace_id"}
    return found | {f"mp.{name}": value for name, value in ours.items()}
