"""The load balancer: a request to an endpoint's own URL, handed to one of its workers.

Nothing is locked while a worker starts or works. The account's key is checked here and not handed on.
"""

from __future__ import annotations

import ssl
import threading
import time

import httpx

from mp_kit.testing.fake_runpod.api import Call
from mp_kit.testing.fake_runpod.cloud import Cloud
from mp_kit.testing.fake_runpod.doors import HOP, OURS
from mp_kit.testing.fake_runpod.endpoints import Endpoint, Fleet, Worker
from mp_kit.testing.fake_runpod.pods import Status
from mp_kit.testing.fake_runpod.replies import Reply, problem

__all__ = ["LoadBalancer"]

_MAX_BODY = 30 * 1024 * 1024
_LOOK_SECONDS = 0.05
_PROBE_SECONDS = 2.0
_OK = 200


class LoadBalancer:
    """Hands requests to workers.

    Args:
        cloud: The state.
        fleet: The endpoints.
        closing: Set when the fake is being closed.
        patience: Seconds that a request waits for a worker, and that the worker may take.
    """

    def __init__(self, cloud: Cloud, fleet: Fleet, closing: threading.Event, patience: tuple[float, float]) -> None:
        self._cloud = cloud
        self._fleet = fleet
        self._closing = closing
        self._cold_start, processing = patience
        timeout = httpx.Timeout(processing, connect=_PROBE_SECONDS)
        plain = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # no worker speaks TLS: reading certificates would be waste
        self._http = httpx.Client(timeout=timeout, trust_env=False, verify=plain)

    def close(self) -> None:
        """Closes the connections to the workers."""
        self._http.close()

    def forward(self, call: Call, endpoint_id: str, path: str | None) -> Reply:
        """Any request to an endpoint's URL."""
        with self._cloud.lock:
            endpoint = self._fleet.find(call.owner, endpoint_id)
        if not endpoint:
            return problem(404, "endpoint not found")
        if len(call.content) > _MAX_BODY:
            return problem(413, "the body must not exceed 30 MB")
        until = time.monotonic() + self._cold_start
        while worker := self._free_worker(endpoint, until):
            try:
                answer = self._ask(call, worker, path or "/")
            finally:
                with self._cloud.lock:
                    self._fleet.end(endpoint, worker)
            if answer:
                return answer
        return problem(400, "no workers available")

    def _ask(self, call: Call, worker: Worker, path: str) -> Reply | None:
        """A worker's answer; None if it was not there to hear the request."""
        headers = {name: value for name, value in call.headers.items() if name not in {*HOP, "authorization"}}
        url = f"http://127.0.0.1:{worker.port}{path}{'?' + call.raw_query if call.raw_query else ''}"
        try:
            with self._http.stream(call.method, url, content=call.content, headers=headers) as answer:
                content = b"".join(answer.iter_raw())
        except httpx.ConnectError:
            worker.healthy = False
            return None
        except httpx.TimeoutException:
            return Reply(524, b'{"error": "request timed out"}')
        except httpx.TransportError:
            worker.healthy = False
            return problem(502, "the worker closed the connection")
        kept = {name: value for name, value in answer.headers.items() if name not in OURS}
        return Reply(answer.status_code, content, answer.headers.get("content-type", "text/plain"), kept)

    def _free_worker(self, endpoint: Endpoint, until: float) -> Worker | None:
        """A healthy worker with the fewest requests, marked as working; None if the patience ends."""
        while time.monotonic() < until and not endpoint.deleted:
            for worker in self._candidates(endpoint):
                worker.healthy = worker.healthy or self._is_healthy(endpoint, worker)
                if worker.healthy and self._begins(endpoint, worker):
                    return worker
            if self._closing.wait(_LOOK_SECONDS):
                return None
        return None

    def _begins(self, endpoint: Endpoint, worker: Worker) -> bool:
        with self._cloud.lock:
            return self._fleet.begin(endpoint, worker)

    def _candidates(self, endpoint: Endpoint) -> list[Worker]:
        """The workers that run, least busy first; another one is started where all are at their limit."""
        with self._cloud.lock:
            self._cloud.settle()
            now = self._cloud.clock.now()
            alive = endpoint.alive(now)
            _, most = endpoint.limits(now)
            full = all(worker.in_flight >= endpoint.spec["scaling"]["requestCount"] for worker in alive)
            if full and len(alive) < most:
                self._fleet.start_worker(endpoint)
            running = [worker for worker in alive if worker.pod.status(now) is Status.RUNNING]
            return sorted(running, key=lambda worker: worker.in_flight)

    def _is_healthy(self, endpoint: Endpoint, worker: Worker) -> bool:
        path = endpoint.spec["env"].get("HEALTH_CHECK_PATH", "/ping")
        try:
            answer = self._http.get(f"http://127.0.0.1:{worker.port}{path}", timeout=_PROBE_SECONDS)
        except httpx.TransportError:
            return False
        return answer.status_code == _OK
