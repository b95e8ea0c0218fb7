"""Signs of life: how a deployment stands by the age of its last one, and what its silence does.

1. Online at most 60 s after a heartbeat, degraded at most 150 s, offline after that. Nothing is stored for it but the
   instant: whoever asks, computes.
2. A deployment that falls silent is told of once; a heartbeat brings it back, and makes it worth telling again.
3. An endpoint whose workers sleep by its owner's wish is silent and not offline.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row

from mp_kit.contracts import Liveness, WebhookEventType
from mp_kit.server import clock
from mp_kit.server.services.webhook_events import emit
from mp_kit.server.store import deployments as rows
from mp_kit.server.store.engine import Tx

__all__ = ["DEGRADED_SECONDS", "KEPT_DAYS", "ONLINE_SECONDS", "flip", "forget", "liveness_of", "words"]

ONLINE_SECONDS = 60.0
DEGRADED_SECONDS = 150.0
KEPT_DAYS = 30
_FORGET_AT_ONCE = 50_000

_WORDS = {
    Liveness.ONLINE: "is online",
    Liveness.DEGRADED: "is degraded: heartbeats come late",
    Liveness.OFFLINE: "is offline",
    Liveness.SILENT: "has not been heard of yet",
}


def liveness_of(last_heartbeat_at: datetime | None, now: datetime) -> Liveness:
    """What the age of the last heartbeat says."""
    if last_heartbeat_at is None:
        return Liveness.SILENT
    age = (now - last_heartbeat_at).total_seconds()
    if age <= ONLINE_SECONDS:
        return Liveness.ONLINE
    return Liveness.DEGRADED if age <= DEGRADED_SECONDS else Liveness.OFFLINE


def words(row: Row[Any], hosting: Row[Any] | None = None, now: datetime | None = None) -> str:
    """How a deployment stands, in a sentence."""
    now = now or clock.now()
    alive = liveness_of(row.last_heartbeat_at, now)
    if hosting is not None and hosting.state != "running":
        return f"{row.name} is {hosting.state}" + (f": {hosting.failure}" if hosting.failure else "") + "."
    if hosting is not None and is_asleep(hosting) and alive in {Liveness.OFFLINE, Liveness.SILENT}:
        return f"{row.name} sleeps: it has no worker until somebody asks it."
    said = f"{row.name} {_WORDS[alive]}"
    if row.last_heartbeat_at is not None:
        said += f"; the last heartbeat, {(now - row.last_heartbeat_at).total_seconds():.0f} s ago, said {row.status}"
    return f"{said}."


def is_asleep(hosting: Row[Any]) -> bool:
    """Whether an endpoint has no worker because its owner lets it sleep."""
    lets = hosting.kind == "endpoint" and int(hosting.spec.get("workers_min", 0)) == 0
    return lets and int((hosting.seen or {}).get("workers", {}).get("total", 0)) == 0


def flip(tx: Tx) -> list[str]:
    """Marks deployments offline that have fallen silent, and tells their vendors, once each.

    Returns:
        Their ids.
    """
    fallen = rows.mark_silent(tx, DEGRADED_SECONDS)
    for row in fallen:
        facts = {"deployment_id": row.id, "name": row.name, "last_heartbeat_at": row.last_heartbeat_at}
        emit(tx, WebhookEventType.DEPLOYMENT_OFFLINE, row.vendor_id, **facts)
    return [row.id for row in fallen]


def forget(tx: Tx, now: datetime) -> int:
    """Forgets heartbeats that are older than 30 days; returns how many."""
    return rows.forget_heartbeats(tx, now - timedelta(days=KEPT_DAYS), _FORGET_AT_ONCE)
