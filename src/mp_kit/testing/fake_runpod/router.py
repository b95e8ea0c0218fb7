"""From a request to its answer: who asks, for what, what befalls it, what is answered.

1. RunPod's edge comes first: no User-Agent, or Python's own, is 403 before any key is looked at; v1 is 410.
2. An unknown key is 401. A pod's own key may delete its pod and act on it, nothing else.
3. What a request breaks of the contract is on the record, however it was answered.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mp_kit.testing.fake_runpod.api import Call, PodRoutes
from mp_kit.testing.fake_runpod.catalog_api import CatalogRoutes
from mp_kit.testing.fake_runpod.cloud import Cloud
from mp_kit.testing.fake_runpod.faults import Fault, Faults
from mp_kit.testing.fake_runpod.openapi import OpenApi, stray_parameters
from mp_kit.testing.fake_runpod.replies import Reply, problem
from mp_kit.testing.fake_runpod.streams import LogRoutes, Stream

__all__ = ["Route", "Router"]

_UNDONE = {Fault.RATE_LIMITED, Fault.SERVER_ERROR, Fault.NO_ANSWER, Fault.NO_JSON}
_POD_KEY_MAY = {"delete", "action"}
_HTML = b"<html><head><title>502 Bad Gateway</title></head></html>"


@dataclass(frozen=True)
class Route:
    """One operation.

    Attributes:
        method: HTTP method.
        pattern: Of the path below ``/v2``; groups are handed to ``answer``.
        operation: The name that faults are set for.
        answer: Does it.
        waits: Whether it takes its time and locks what it needs by itself.
        is_public: Whether anybody may ask, without a key.
    """

    method: str
    pattern: str
    operation: str
    answer: Callable[..., Reply | Stream]
    waits: bool = False
    is_public: bool = False


class Router:
    """All routes.

    Args:
        cloud: The state.
        faults: What goes wrong.
        later: Whether keys are known that came after the published contract.
        page: Pods per page at most.
        openapi: The contract's file, for a second opinion on each request.
    """

    def __init__(self, cloud: Cloud, faults: Faults, *, later: bool, page: int, openapi: Path | None) -> None:
        self._cloud = cloud
        self._faults = faults
        self._later = later
        self.contract = OpenApi(openapi) if openapi else None
        pods, catalogue = PodRoutes(cloud, later=later, page=page), CatalogRoutes(cloud, later=later)
        self._routes = [
            Route("POST", r"/pods", "create", pods.create),
            Route("GET", r"/pods", "list", pods.list),
            Route("GET", r"/pods/([^/]+)", "get", pods.get),
            Route("PATCH", r"/pods/([^/]+)", "update", pods.update),
            Route("DELETE", r"/pods/([^/]+)", "delete", pods.delete),
            Route("POST", r"/pods/([^/]+)/action", "action", pods.action),
            Route("GET", r"/pods/([^/]+)/logs", "logs", LogRoutes(cloud).pod),
            *catalogue.routes(Route),
        ]

    def now(self) -> datetime:
        """The cloud's time."""
        return self._cloud.clock.now()

    def add(self, *routes: Route) -> None:
        """Adds operations of another room."""
        self._routes.extend(routes)

    def find(self, method: str, path: str) -> tuple[Route, tuple[str, ...]] | None:
        """The route of a path below ``/v2``, and the ids in it."""
        for route in self._routes:
            match = re.fullmatch(route.pattern, path)
            if match and route.method in (method, "*"):
                return route, match.groups()
        return None

    def stopped_at_edge(self, call: Call) -> Reply | None:
        """What is refused before any route is looked for."""
        agent = call.headers.get("user-agent", "")
        if not agent or agent.startswith("Python-urllib"):
            return Reply(403, b"error code: 1010", "text/plain")
        if call.path.startswith("/./v1/"):
            call.errors.append("REST v1 was retired")
            return problem(410, "this API version was retired; use /v2")
        return self._unknown(call)

    def answer(self, call: Call, route: Route, ids: tuple[str, ...]) -> Reply | Stream:
        """Does what a route says, under the troubles of the request."""
        self._judge(call)
        if call.pod_key_of and (route.operation not in _POD_KEY_MAY or ids[:1] != (call.pod_key_of.id,)):
            return problem(403, "access denied")
        if call.pod_key_of and any(t.fault is Fault.KEY_FORBIDDEN for t in call.pod_key_of.troubles):
            return problem(403, "access denied")
        undone = call.met(*_UNDONE)
        if undone:
            return _undone(undone.fault, undone.status, undone.seconds)
        if route.waits:
            return route.answer(call, *ids)
        with self._cloud.lock:
            self._cloud.settle()
            return route.answer(call, *ids)

    def draw(self, call: Call, operation: str) -> None:
        """Lets chance and script have their say."""
        body = call.json() if operation == "create" else None
        gpu = body.get("gpu") if isinstance(body, dict) else None
        call.troubles = self._faults.draw(operation, gpu.get("id") if isinstance(gpu, dict) else None)

    def _unknown(self, call: Call) -> Reply | None:
        scheme, _, key = call.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not key:
            return problem(401, "missing bearer token")
        if key in self._cloud.accounts:
            call.owner = key
            return None
        with self._cloud.lock:
            call.pod_key_of = self._cloud.by_pod_key(key)
        call.owner = call.pod_key_of.owner if call.pod_key_of else ""
        return None if call.pod_key_of else problem(401, "invalid bearer token")

    def _judge(self, call: Call) -> None:
        call.errors.extend(stray_parameters(call))
        if self.contract:
            call.errors.extend(self.contract.broken_by(call, later=self._later))


def _undone(fault: Fault, status: int, seconds: float) -> Reply:
    if fault is Fault.RATE_LIMITED:
        wait = str(max(1, round(seconds)))
        return problem(429, "rate limit exceeded for the minute window", headers={"Retry-After": wait})
    if fault is Fault.NO_JSON:
        return Reply(502, _HTML, "text/html")
    return problem(status, "upstream failure") if fault is Fault.SERVER_ERROR else Reply(0)
