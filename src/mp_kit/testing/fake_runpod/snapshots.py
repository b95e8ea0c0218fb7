"""Pods and endpoints as a test looks at them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from mp_kit.testing.fake_runpod.endpoints import Endpoint
from mp_kit.testing.fake_runpod.pods import Pod, Status

__all__ = ["EndpointSnapshot", "PodSnapshot", "endpoint_snapshot", "pod_snapshot"]


@dataclass(frozen=True)
class PodSnapshot:
    """A pod as it is now, or was at its end.

    Attributes:
        id: Its id.
        name: Its name.
        status: PROVISIONING, STARTING, RUNNING, EXITED, ERROR or TERMINATED.
        created_at: When it was ordered.
        ended_at: When it was terminated or vanished; None while it is there.
        price: US dollars per hour.
        cost: US dollars so far.
        starts: How often its container was started.
        gpu: The GPU type's id; None for a CPU pod.
    """

    id: str
    name: str
    status: str
    created_at: datetime
    ended_at: datetime | None
    price: Decimal
    cost: Decimal
    starts: int
    gpu: str | None


@dataclass(frozen=True)
class EndpointSnapshot:
    """A serverless endpoint as it is now, or was at its end.

    Attributes:
        id: Its id.
        name: Its name.
        deleted: Whether it is gone.
        workers: Statuses of its workers.
        started: How many workers it ever had.
        cost: US dollars so far.
    """

    id: str
    name: str
    deleted: bool
    workers: tuple[str, ...]
    started: int
    cost: Decimal


def pod_snapshot(pod: Pod, now: datetime) -> PodSnapshot:
    """A pod at an instant."""
    return PodSnapshot(
        id=pod.id,
        name=pod.name,
        status=pod.status(now).value,
        created_at=pod.created_at,
        ended_at=pod.ended_at(now),
        price=pod.price,
        cost=pod.cost(now).total,
        starts=sum(status is Status.RUNNING and at <= now for at, status in pod.timeline),
        gpu=pod.spec.get("gpu", {}).get("id"),
    )


def endpoint_snapshot(endpoint: Endpoint, now: datetime) -> EndpointSnapshot:
    """An endpoint at an instant."""
    return EndpointSnapshot(
        id=endpoint.id,
        name=str(endpoint.spec["name"]),
        deleted=endpoint.deleted,
        workers=tuple(worker.status(now) for worker in endpoint.alive(now)),
        started=len(endpoint.workers),
        cost=sum((worker.pod.cost(now).total for worker in endpoint.workers), Decimal(0)),
    )
