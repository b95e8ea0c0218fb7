"""Serverless load-balancing endpoints: workers that come with requests and go when idle.

1. Between ``workers.min`` and ``workers.max`` live. One starts with a request that finds none free, and ends
   ``idleTimeout`` seconds after its last request.
2. A worker takes requests once its health check has answered 200. It listens where ``PORT`` says.
3. A worker costs like a pod, at the serverless price.
4. Without a request for three days ``workers.max`` is cut to 2, after seven to 0, until it is raised by hand.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from mp_kit.testing.fake_runpod.cloud import Cloud, free_port
from mp_kit.testing.fake_runpod.faults import Fault, Trouble
from mp_kit.testing.fake_runpod.logs import stamp
from mp_kit.testing.fake_runpod.pods import Pod, Status

__all__ = ["Endpoint", "Fleet", "Worker"]

_DULL = ((timedelta(days=7), 0), (timedelta(days=3), 2))
_CRASH_LOOP = 3


@dataclass
class Worker:
    """One worker: a pod of its own, not among the account's pods.

    Attributes:
        pod: What runs.
        port: Where it listens.
        version: Of the endpoint, when it was started.
        in_flight: Requests that it works on.
        healthy: Whether its health check has answered 200 since its last start.
    """

    pod: Pod
    port: int
    version: int
    in_flight: int = 0
    healthy: bool = False

    def status(self, now: datetime) -> str:
        """As the API tells it."""
        status = self.pod.status(now)
        if any(trouble.fault is Fault.STUCK for trouble in self.pod.troubles):
            return "THROTTLED"
        starts = sum(entry is Status.RUNNING and at <= now for at, entry in self.pod.timeline)
        if status in (Status.ERROR, Status.EXITED) or (starts > _CRASH_LOOP and not self.healthy):
            return "UNHEALTHY"
        if status is not Status.RUNNING or not self.healthy:
            return "INITIALIZING"
        return "RUNNING" if self.in_flight else "IDLE"


@dataclass
class Endpoint:
    """One endpoint.

    Attributes:
        id: Its id.
        owner: The account's API key.
        spec: As it was ordered and changed since.
        created_at: When it was ordered.
        price: US dollars per hour and worker.
        gpu: The type that its workers get; None for CPU workers.
        troubles: What befalls its workers.
        workers: All that it ever had.
        version: Counts changes of the container.
        used_at: When it was last asked, or raised by hand.
    """

    id: str
    owner: str = field(repr=False)
    spec: dict[str, Any] = field(repr=False)
    created_at: datetime
    price: Decimal
    gpu: str | None
    used_at: datetime
    troubles: tuple[Trouble, ...] = ()
    workers: list[Worker] = field(default_factory=list)
    version: int = 1
    deleted: bool = False

    def alive(self, now: datetime) -> list[Worker]:
        """The workers that are there."""
        return [worker for worker in self.workers if worker.pod.status(now) is not Status.TERMINATED]

    def limits(self, now: datetime) -> tuple[int, int]:
        """Fewest and most workers, with the cut for a dull life."""
        workers = self.spec["workers"]
        most = workers["max"]
        for age, cut in _DULL:
            if now - self.used_at >= age:
                most = min(most, cut)
        return min(workers["min"], most), most

    def view(self, root: str, now: datetime) -> dict[str, Any]:
        """The endpoint as the API tells it."""
        least, most = self.limits(now)
        base = f"{root}/lb/{self.id}"
        health = self.spec["env"].get("HEALTH_CHECK_PATH", "/ping")
        told = {key: value for key, value in self.spec.items() if key not in ("entrypoint", "cmd")}
        return told | {
            "id": self.id,
            "requestUrls": {"base": base, "health": base + health},
            "workers": self.spec["workers"] | {"min": least, "max": most},
            "createdAt": stamp(self.created_at),
        }


class Fleet:
    """All endpoints and their workers; call its methods under the cloud's lock.

    Args:
        cloud: The state.
    """

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.endpoints: dict[str, Endpoint] = {}

    def create(self, owner: str, spec: dict[str, Any], troubles: Sequence[Trouble]) -> Endpoint:
        """Makes an endpoint, with its fewest workers."""
        now = self._cloud.clock.now()
        gpu, price = self._machine(spec)
        endpoint = Endpoint(self._cloud.new_id(), owner, spec, now, price, gpu, now, tuple(troubles))
        self.endpoints[endpoint.id] = endpoint
        self.scale(endpoint)
        return endpoint

    def find(self, owner: str, endpoint_id: str) -> Endpoint | None:
        """An endpoint of this account."""
        found = self.endpoints.get(endpoint_id)
        return found if found and found.owner == owner and not found.deleted else None

    def change(self, endpoint: Endpoint, sent: Mapping[str, Any], *, release: bool) -> None:
        """Applies a PATCH; a change of the container replaces workers as they fall idle."""
        for key, value in sent.items():
            merged = endpoint.spec[key] | value if key in ("workers", "gpu") else value
            endpoint.spec[key] = merged
        endpoint.gpu, endpoint.price = self._machine(endpoint.spec)
        endpoint.used_at = self._cloud.clock.now() if "workers" in sent else endpoint.used_at
        endpoint.version += release
        self.scale(endpoint)

    def delete(self, endpoint: Endpoint) -> None:
        """Ends it and its workers."""
        endpoint.deleted = True
        for worker in endpoint.alive(self._cloud.clock.now()):
            worker.pod.mark(Status.TERMINATED, self._cloud.clock.now())

    def scale(self, endpoint: Endpoint) -> None:
        """Ends idle workers that are stale or too many, and starts those that are missing."""
        now = self._cloud.clock.now()
        least, most = endpoint.limits(now)
        idle = [worker for worker in endpoint.alive(now) if not worker.in_flight]
        stale = [worker for worker in idle if worker.version != endpoint.version]
        surplus = len(endpoint.alive(now)) - len(stale) - most
        fresh = [worker for worker in idle if worker not in stale]
        for worker in [*stale, *fresh[: max(0, surplus)]]:
            worker.pod.mark(Status.TERMINATED, now)
        while len(endpoint.alive(now)) < least:
            self.start_worker(endpoint)

    def start_worker(self, endpoint: Endpoint) -> Worker:
        """Starts a worker."""
        now = self._cloud.clock.now()
        gpu = {"gpu": {"id": endpoint.gpu, "count": endpoint.spec["gpu"].get("count", 1)}} if endpoint.gpu else {}
        pod_id = self._cloud.new_id()
        port = free_port()
        pod = Pod(
            id=pod_id,
            owner=endpoint.owner,
            spec=endpoint.spec | {"mounts": {}, "env": dict(endpoint.spec["env"])} | gpu,
            price=endpoint.price,
            created_at=now,
            key=f"rpa_pod_{pod_id}_{secrets.token_hex(12)}",
            timeline=self._cloud.timeline(now, {trouble.fault: trouble for trouble in endpoint.troubles}),
            troubles=endpoint.troubles,
            added_env={"PORT": str(port), "PORT_HEALTH": str(port), "RUNPOD_ENDPOINT_ID": endpoint.id},
        )
        worker = Worker(pod, port, endpoint.version)
        endpoint.workers.append(worker)
        self._cloud.workers[pod_id] = pod
        self._cloud.on_create(pod)
        return worker

    def begin(self, endpoint: Endpoint, worker: Worker) -> bool:
        """A worker takes a request, and stays; False if it has gone meanwhile."""
        now = self._cloud.clock.now()
        if worker.pod.status(now) is not Status.RUNNING:
            return False
        worker.in_flight += 1
        endpoint.used_at = now
        worker.pod.plan_end(None, now)
        return True

    def end(self, endpoint: Endpoint, worker: Worker) -> None:
        """A worker is done with a request, and goes if it stays idle."""
        now = self._cloud.clock.now()
        worker.in_flight -= 1
        endpoint.used_at = now
        least, _ = endpoint.limits(now)
        if not worker.in_flight and len(endpoint.alive(now)) > least:
            worker.pod.plan_end(now + timedelta(seconds=endpoint.spec["workers"]["idleTimeout"]), now)
        self.scale(endpoint)

    def _machine(self, spec: Mapping[str, Any]) -> tuple[str | None, Decimal]:
        """The first type of the pools that is not excluded, and its serverless price."""
        gpu = spec.get("gpu")
        if not gpu:
            return None, self._cloud.catalogue.cpu_price * 2 * Decimal(spec["cpu"][0]["vcpuCount"])
        kinds = [kind for kind in self._cloud.catalogue.kinds.values() if kind.pool in gpu["pools"]]
        left = [kind for kind in kinds if kind.id not in gpu.get("excludedTypes", [])]
        return (left[0].id, left[0].secure * 2 * gpu.get("count", 1)) if left else (None, Decimal(0))
