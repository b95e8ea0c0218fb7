"""Signs of life, in a thread of their own: whatever else hangs, they keep their cadence.

1. A heartbeat says step, metrics, starts and the machine; its answer says whether to go on, until when, and when to
   report again.
2. Fresh URLs of the round's files are asked for before the old ones end, and laid down for the command to read.
3. No answer changes nothing: the job goes on, and the next heartbeat comes at its time.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mp_kit.contracts.training import RunHeartbeat, RunOrders
from mp_kit.trainer.api import RunApi
from mp_kit.trainer.machine import MachineProbe
from mp_kit.trainer.report import ReportReader
from mp_kit.trainer.state import write_json

__all__ = ["DATASET_FILE", "Heartbeats"]

DATASET_FILE = "MP_DATASET_FILE"
"""Name of the variable that holds the path of the round's URLs: as DATASET_URLS, and kept fresh."""

RENEW_SECONDS = 480.0
_SHORTEST, _LONGEST = 0.05, 120.0


class Heartbeats:
    """Reports in the background.

    Args:
        api: Whom to tell.
        report: What the job has reported.
        probe: What the machine looks like.
        starts: Times the wrapper was started.
        obey: Hears each answer.
        seconds: Between heartbeats until the marketplace names another interval.
        urls: File for fresh URLs.
    """

    def __init__(
        self,
        api: RunApi,
        report: ReportReader,
        probe: MachineProbe,
        *,
        starts: int,
        obey: Callable[[RunOrders], None],
        seconds: float,
        urls: Path,
    ) -> None:
        self._api = api
        self._report = report
        self._probe = probe
        self._starts = starts
        self._obey = obey
        self._seconds = seconds
        self._urls = urls
        self._renewed = time.monotonic()
        self._over = threading.Event()

    def start(self) -> None:
        """Begins."""
        threading.Thread(target=self._run, name="heartbeats", daemon=True).start()

    def stop(self) -> None:
        """Ends after the one that is under way."""
        self._over.set()

    def _run(self) -> None:
        pause = self._seconds
        while True:
            pause = self._once(pause)
            if self._over.wait(pause):
                return

    def _once(self, pause: float) -> float:
        renew = time.monotonic() - self._renewed > RENEW_SECONDS
        try:
            orders = self._api.heartbeat(self._beat(renew=renew))
        except Exception as error:  # noqa: BLE001 - a job that falls silent is ended: one heartbeat may fail, not all
            sys.stderr.write(f"mp-kit trainer: no heartbeat: {error}\n")
            return min(pause, self._seconds)
        if orders.dataset_urls is not None:
            self._lay_down(orders.dataset_urls)
        self._obey(orders)
        return min(max(orders.heartbeat_seconds, _SHORTEST), _LONGEST)

    def _beat(self, *, renew: bool) -> RunHeartbeat:
        progress = self._report.poll()
        return RunHeartbeat(
            step=progress.step,
            total_steps=progress.total_steps,
            metrics=progress.summary(),
            started_count=self._starts,
            machine=self._probe.picture(),
            renew_urls=renew,
        )

    def _lay_down(self, urls: list[dict[str, Any]]) -> None:
        try:
            write_json(self._urls, urls)
        except OSError as error:  # a full disk; the next heartbeat asks again
            sys.stderr.write(f"mp-kit trainer: fresh URLs could not be written: {error}\n")
            return
        self._renewed = time.monotonic()
