"""Flow ``deliver-webhooks``: sends what waits in the outbox, and what comes meanwhile.

It holds no state. Its deployment starts it again when it ends or dies; two at once share the work.
"""

from __future__ import annotations

import threading
from collections import Counter

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, Field

from mp_kit.server import redaction
from mp_kit.server.services.webhook_delivery import Courier, deliver, forget
from mp_kit.server.wiring import open_house

redaction.install()


class Delivering(BaseModel):
    """How long, and how eagerly, to deliver."""

    max_hours: float = Field(6.0, ge=0, le=24, description="The flow run ends itself after this many hours.")
    poll_seconds: float = Field(1.0, ge=0.1, le=60, description="Longest wait between two looks at the outbox.")


class _Tally:
    """Counts messages that were taken and messages that were not; threads tell it."""

    def __init__(self) -> None:
        self._counts: Counter[bool] = Counter()
        self._lock = threading.Lock()

    def __call__(self, taken: bool) -> None:
        with self._lock:
            self._counts[taken] += 1

    def facts(self) -> dict[str, int]:
        """The counts."""
        return {"delivered": self._counts[True], "failed_attempts": self._counts[False]}


@task(name="send", cache_policy=NO_CACHE)
def send(order: Delivering) -> dict[str, int]:
    """Forgets what is older than 30 days, then sends until its time is over; returns counts."""
    tally = _Tally()
    with open_house() as house:
        courier = Courier(house.db, house.vault, house.poster)
        forgotten = forget(courier)
        deliver(courier, seconds=order.max_hours * 3_600, poll=order.poll_seconds, on_noted=tally)
    return {**tally.facts(), "forgotten": forgotten}


@flow(name="deliver-webhooks", flow_run_name="deliver-webhooks", log_prints=False, persist_result=False)
def deliver_webhooks(order: Delivering = Delivering()) -> None:  # noqa: B008 - read only, and the form's default
    """Delivers until its time is over.

    Args:
        order: How long, and how eagerly.
    """
    did = send(order)
    get_run_logger().info("%s", did)
    create_table_artifact(key="webhooks", table=[did], description="Messages to vendors and consumers")


if __name__ == "__main__":
    deliver_webhooks()
