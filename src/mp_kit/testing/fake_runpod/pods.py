"""A pod: what was ordered, its timeline, what it has cost, and how the API tells of it.

1. The timeline alone says what a pod is at an instant; entries of the future are what will become of it.
2. A pod costs from its creation to its termination, per second begun. While it holds a machine (PROVISIONING,
   STARTING, RUNNING, ERROR): its price and its disks. EXITED: its volume alone, at a stopped one's price. TERMINATED:
   nothing.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from mp_kit.testing.fake_runpod.faults import Trouble
from mp_kit.testing.fake_runpod.logs import LogBook, stamp

__all__ = ["Amounts", "Pod", "Status"]

_HOUR = Decimal(3600)
_MONTH = _HOUR * 730
DISK = Decimal("0.10")  # USD per GB and month, container disk and volume of a pod that holds a machine
STOPPED_DISK = Decimal("0.20")  # of a stopped pod's volume


class Status(StrEnum):
    """Lifecycle status, as in the contract."""

    PROVISIONING = "PROVISIONING"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    EXITED = "EXITED"
    ERROR = "ERROR"
    TERMINATED = "TERMINATED"


_ACTIONS = {
    Status.RUNNING: ["stop", "restart", "terminate"],
    Status.PROVISIONING: ["stop", "terminate"],
    Status.STARTING: ["stop", "terminate"],
    Status.EXITED: ["start", "terminate"],
    Status.ERROR: ["start", "terminate"],
    Status.TERMINATED: [],
}


@dataclass(frozen=True)
class Amounts:
    """US dollars."""

    machine: Decimal = Decimal(0)
    disk: Decimal = Decimal(0)

    @property
    def total(self) -> Decimal:
        """All together."""
        return self.machine + self.disk

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(self.machine + other.machine, self.disk + other.disk)


@dataclass
class Pod:
    """One pod, ever.

    Attributes:
        id: Its id.
        owner: The account's API key.
        spec: The resolved order: name, image, args, env …
        price: US dollars per hour for the machine.
        created_at: When it was ordered.
        key: What it may call the API with, about itself.
        timeline: What it is from when on, in order; may reach into the future.
        troubles: What befalls it.
        doors: Ports of this machine by the container's own: a process has no network of its own.
    """

    id: str
    owner: str = field(repr=False)
    spec: dict[str, Any] = field(repr=False)
    price: Decimal
    created_at: datetime
    key: str = field(repr=False)
    timeline: list[tuple[datetime, Status]] = field(default_factory=list)
    troubles: tuple[Trouble, ...] = ()
    hidden_from_get: datetime | None = None
    hidden_from_list: datetime | None = None
    place: str = "EU-RO-1"
    locked: bool = False
    added_env: dict[str, str] = field(default_factory=dict, repr=False)
    doors: dict[int, int] = field(default_factory=dict)
    generation: int = 0
    log: LogBook = field(default_factory=LogBook, repr=False)
    wake: Callable[[], None] = field(default=lambda: None, repr=False)
    _told: int = field(default=0, repr=False)

    @property
    def name(self) -> str:
        """Its name, which need not be unique."""
        return str(self.spec["name"])

    def status(self, now: datetime) -> Status:
        """What it is at an instant."""
        index = bisect_right(self.timeline, now, key=lambda entry: entry[0])
        return self.timeline[max(index - 1, 0)][1]

    def next_change(self, now: datetime) -> datetime | None:
        """When the timeline has its next entry."""
        index = bisect_right(self.timeline, now, key=lambda entry: entry[0])
        return self.timeline[index][0] if index < len(self.timeline) else None

    def mark(self, status: Status, now: datetime, *, keep_future: bool = False) -> None:
        """Becomes something now; what was to come is forgotten unless kept. Nothing follows TERMINATED."""
        self.catch_up(now)
        past = [entry for entry in self.timeline if entry[0] <= now]
        if past and past[-1][1] is Status.TERMINATED:
            return
        future = self.timeline[len(past) :] if keep_future else []
        self.timeline = [*past, (now, status), *future]
        self.catch_up(now)
        self.wake()

    def plan_end(self, at: datetime | None, now: datetime) -> None:
        """Sets the instant of its termination, or takes it back while it is to come."""
        kept = [entry for entry in self.timeline if entry[0] <= now or entry[1] is not Status.TERMINATED]
        self.timeline = [*kept, (at, Status.TERMINATED)] if at else kept
        self.wake()

    def ended_at(self, now: datetime) -> datetime | None:
        """When it was terminated, if it is."""
        return next((at for at, status in self.timeline if status is Status.TERMINATED and at <= now), None)

    def started_at(self, now: datetime) -> datetime | None:
        """When its container was started last."""
        starts = [at for at, status in self.timeline if status is Status.RUNNING and at <= now]
        return starts[-1] if starts else None

    def catch_up(self, now: datetime) -> None:
        """Writes the system lines of what has happened up to now."""
        for at, status in self.timeline[self._told :]:
            if at > now:
                return
            self._told += 1
            for line in _SYSTEM.get(status, ()):
                self.log.write("system", line.format(image=self.spec["image"]), at)
            if status is Status.TERMINATED:
                self.log.close()

    def cost(self, now: datetime, since: datetime | None = None) -> Amounts:
        """What it has cost up to now, or since an instant."""
        held = stopped = 0
        for start, end, status in self._pieces(now):
            begin = max(start, since) if since else start
            if begin >= end or status is Status.TERMINATED:
                continue
            seconds = self._second(end) - self._second(begin)
            held, stopped = (held, stopped + seconds) if status is Status.EXITED else (held + seconds, stopped)
        return self._amounts(held, stopped)

    def view(self, now: datetime) -> dict[str, Any]:
        """The pod as the API tells it, environment in clear as there."""
        status = self.status(now)
        started = self.started_at(now)
        free = status in (Status.EXITED, Status.TERMINATED)
        told = {key: value for key, value in self.spec.items() if key not in ("entrypoint", "cmd", "templateId")}
        return told | {
            "id": self.id,
            "status": status.value,
            "actions": _ACTIONS[status],
            "dataCenterId": None if status is Status.PROVISIONING else self.place,
            "cudaVersion": "12.8" if status is Status.RUNNING else None,
            "ssh": {"proxy": None, "direct": None},
            "template": None,
            "cost": 0.0 if free else float(self.price),
            "locked": self.locked,
            "globalNetworking": {"enabled": False},
            "runtime": self._runtime(now, started) if status is Status.RUNNING and started else None,
            "createdAt": stamp(self.created_at),
            "startedAt": stamp(started) if started else None,
        }

    def _runtime(self, now: datetime, started: datetime) -> dict[str, Any]:
        count = self.spec.get("gpu", {}).get("count", 0)
        return {
            "uptime": int((now - started).total_seconds()),
            "gpus": [{"util": 0, "memoryUtil": 0}] * count,
            "cpu": {"util": 0},
            "memory": {"util": 0},
            "ports": [_port(text) for text in self.spec.get("ports", [])],
        }

    def local_port(self, port: int) -> int | None:
        """Where this machine has what listens on one of its http ports; None if it has no such port."""
        return self.doors.get(port) if f"{port}/http" in self.spec.get("ports", []) else None

    def _pieces(self, now: datetime) -> Iterator[tuple[datetime, datetime, Status]]:
        ends = [*(at for at, _ in self.timeline[1:]), now]
        for (start, status), end in zip(self.timeline, ends, strict=True):
            yield start, min(max(end, start), now), status

    def _second(self, at: datetime) -> int:
        """Seconds begun since the creation: pieces and buckets always add up to the whole."""
        return math.ceil((at - self.created_at).total_seconds())

    def _amounts(self, held: int, stopped: int) -> Amounts:
        volume = self.spec["mounts"].get("persistent", {}).get("size", 0)
        disk = held * (self.spec["disk"] + volume) * DISK + stopped * volume * STOPPED_DISK
        return Amounts(held * self.price / _HOUR, disk / _MONTH)


def _port(text: str) -> dict[str, Any]:
    """A port as the API tells it; http ports are reached through the proxy, which the API does not name."""
    number, _, kind = text.partition("/")
    return {"private": int(number), "public": None, "type": kind, "ip": None}


_SYSTEM = {
    Status.PROVISIONING: ("create pod",),
    Status.STARTING: ("create container {image}", "pulling image {image}"),
    Status.RUNNING: ("start container for {image}: begin",),
    Status.EXITED: ("stop container",),
    Status.ERROR: ("error creating container: the host has failed",),
    Status.TERMINATED: ("remove container",),
}
