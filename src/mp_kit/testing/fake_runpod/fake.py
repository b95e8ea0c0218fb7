"""The fake as a whole."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Self

from mp_kit.errors import NotFoundError
from mp_kit.testing.fake_runpod.catalog import Catalogue
from mp_kit.testing.fake_runpod.clock import Clock
from mp_kit.testing.fake_runpod.cloud import Account, Cloud, Pace
from mp_kit.testing.fake_runpod.doors import PodProxy
from mp_kit.testing.fake_runpod.endpoints import Fleet
from mp_kit.testing.fake_runpod.endpoints_api import EndpointRoutes
from mp_kit.testing.fake_runpod.faults import Faults
from mp_kit.testing.fake_runpod.pods import Pod, Status
from mp_kit.testing.fake_runpod.proxy import LoadBalancer
from mp_kit.testing.fake_runpod.records import Records, RequestRecord, Violations
from mp_kit.testing.fake_runpod.router import Route, Router
from mp_kit.testing.fake_runpod.server import Server
from mp_kit.testing.fake_runpod.snapshots import EndpointSnapshot, PodSnapshot, endpoint_snapshot, pod_snapshot
from mp_kit.testing.fake_runpod.yard import Yard

__all__ = ["FakeRunPod"]

IMAGE_COMMAND = ("python", "-m", "mp_kit.trainer")


class FakeRunPod:
    """A stand-in for RunPod's REST v2 on the loopback; a context manager.

    Args:
        keys: API keys with their credit in US dollars; None as credit for as much as it takes.
        clock: Tells the time; pulls, uptime, hiding and billing go by it.
        faults: What goes wrong; may be changed at any time.
        run_containers: Whether pods run their command; if not, their lives are scripted.
        lives: Tells a new pod's further life as ``(seconds, status)`` entries; for scripted lives.
        pace: How long things take.
        port: Of the loopback; 0 for any free one.
        openapi: RunPod's OpenAPI document, to check each request against.
        later: Whether keys are accepted that came after that document (``entrypoint``, ``cmd`` …).
        page: Pods per page at most.
        per_minute: Requests that an account may send in a minute.
        folder: The containers' disks; a temporary folder by default.
        image_command: What runs in a pod that names no command.
        patience: Seconds that a request to an endpoint waits for a worker, and for the worker's answer.
    """

    def __init__(  # noqa: PLR0913 - each is a knob of its own, all by name
        self,
        keys: Mapping[str, Decimal | float | None] | None = None,
        *,
        clock: Clock | None = None,
        faults: Faults | None = None,
        run_containers: bool = True,
        lives: Callable[[Pod], Sequence[tuple[float, str]]] | None = None,
        pace: Pace | None = None,
        port: int = 0,
        openapi: Path | None = None,
        later: bool = False,
        page: int = 1_000,
        per_minute: int | None = None,
        folder: Path | None = None,
        image_command: tuple[str, ...] = IMAGE_COMMAND,
        patience: tuple[float, float] = (120.0, 330.0),
    ) -> None:
        self.clock = clock or Clock()
        self.faults = faults or Faults()
        given = {"rp-key": None} if keys is None else keys
        credits_ = {key: None if credit is None else Decimal(str(credit)) for key, credit in given.items()}
        self._cloud = Cloud(self.clock, credits_, pace or Pace())
        self._cloud.life = lives or (lambda _pod: ())
        self._records = Records()
        self._router = Router(self._cloud, self.faults, later=later, page=page, openapi=openapi)
        self._server = Server(port, self._router, self._records, per_minute)
        self._fleet = Fleet(self._cloud)
        self._balancer = LoadBalancer(self._cloud, self._fleet, self._server.closing, patience)
        self._pod_proxy = PodProxy(self._cloud)
        self._add_serverless(later=later)
        self._yard = Yard(self._cloud, folder, image_command)
        if run_containers:
            self._cloud.on_create = self._yard.launch
        for work in (self._listen, self._collect):
            threading.Thread(target=work, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the server and all containers, and removes their disks."""
        self._server.closing.set()
        for pod in (*self._cloud.pods.values(), *self._cloud.workers.values()):
            pod.log.close()
        self._server.shutdown()
        self._server.server_close()
        self._yard.close()
        self._balancer.close()
        self._pod_proxy.close()

    @property
    def folder(self) -> Path:
        """The containers' disks, one folder per pod id."""
        return self._yard.folder

    @property
    def url(self) -> str:
        """Base URL, ``/v2`` included."""
        return f"{self._server.root}/v2"

    @property
    def proxy_url(self) -> str:
        """Public address of a pod's http port, with ``{pod}`` and ``{port}`` in it."""
        return f"{self._server.root}/proxy/{{pod}}/{{port}}"

    @property
    def catalogue(self) -> Catalogue:
        """Stock and prices, which a test may change."""
        return self._cloud.catalogue

    @property
    def pods(self) -> list[PodSnapshot]:
        """All pods ever, oldest first."""
        with self._cloud.lock:
            self._cloud.settle()
            now = self.clock.now()
            return [pod_snapshot(pod, now) for pod in self._cloud.pods.values()]

    @property
    def endpoints(self) -> list[EndpointSnapshot]:
        """All serverless endpoints ever, oldest first."""
        with self._cloud.lock:
            self._cloud.settle()
            now = self.clock.now()
            return [endpoint_snapshot(endpoint, now) for endpoint in self._fleet.endpoints.values()]

    @property
    def requests(self) -> list[RequestRecord]:
        """Every request so far."""
        return list(self._records.requests)

    @property
    def violations(self) -> Violations:
        """Every request that broke the contract; ``violations.check()`` fails a test that had one."""
        return self._records.violations

    def billing(self) -> dict[str, Decimal]:
        """What each pod has cost so far, US dollars, by pod id.

        A pod costs from its creation to its termination, per second begun: while it holds a machine its price and its
        disks (0.10 per GB and month), while it is EXITED its volume alone (0.20 per GB and month).
        """
        return {pod.id: pod.cost for pod in self.pods}

    def balance(self, key: str) -> Decimal | None:
        """What an account has left; None if it has no bounds."""
        with self._cloud.lock:
            self._cloud.settle()
            return self._cloud.balance(key)

    def set_credit(self, key: str, credit: Decimal | float | None) -> None:
        """Changes what an account has paid in, or adds an account."""
        amount = None if credit is None else Decimal(str(credit))
        with self._cloud.lock:
            self._cloud.accounts[key] = Account(key, amount)
            self._cloud.settle()

    def end(self, pod_id: str, status: str = "TERMINATED") -> None:
        """Makes a pod vanish (TERMINATED), or become EXITED or ERROR, behind everybody's back."""
        with self._cloud.lock:
            self._pod(pod_id).mark(Status(status), self.clock.now())

    def restart(self, pod_id: str) -> None:
        """Starts a pod's container anew, as RunPod does when a main process ends; for scripted lives."""
        with self._cloud.lock:
            pod = self._pod(pod_id)
            pod.generation += 1
            pod.mark(Status.RUNNING, self.clock.now(), keep_future=True)

    def say(self, pod_id: str, line: str, source: str = "container") -> None:
        """Writes a log line; for scripted lives."""
        with self._cloud.lock:
            pod = self._pod(pod_id)
            pod.catch_up(self.clock.now())
            pod.log.write(source, line, self.clock.now())

    def logs(self, pod_id: str) -> list[str]:
        """All lines of a pod, ``source: text`` each, terminated or not."""
        with self._cloud.lock:
            pod = self._pod(pod_id)
            pod.catch_up(self.clock.now())
        return [f"{line.source}: {line.text}" for line in pod.log.lines]

    def _add_serverless(self, *, later: bool) -> None:
        endpoints = EndpointRoutes(self._cloud, self._fleet, lambda: self._server.root, later=later)
        forward = Route("*", r"/\./lb/([^/]+)(/.*)?", "endpoint_request", self._balancer.forward, waits=True)
        ask = r"/\./proxy/([^/]+)/([0-9]{1,5})(/.*)?"
        door = Route("*", ask, "pod_request", self._pod_proxy.forward, waits=True, is_public=True)
        self._router.add(*endpoints.routes(Route), forward, door)

    def _listen(self) -> None:
        self._server.serve_forever(poll_interval=0.05)

    def _collect(self) -> None:
        """Ends the pods of accounts that run out of money while nobody asks."""
        while not self._server.closing.wait(1.0):
            with self._cloud.lock:
                self._cloud.settle()

    def _pod(self, pod_id: str) -> Pod:
        if pod_id not in self._cloud.pods:
            raise NotFoundError(f"The fake never had a pod {pod_id!r}.")
        return self._cloud.pods[pod_id]
