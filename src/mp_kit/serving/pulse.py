"""Signs of life: one heartbeat at the start, then one per interval, and a last one that says goodbye.

1. A heartbeat that fails is told once in the log, until one succeeds again; it never disturbs an answer.
2. ``ready`` is said only while the model can answer; ``error`` while the model fails requests.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from mp_kit.errors import MarketplaceError
from mp_kit.serving.app import Application

__all__ = ["Beat", "Pulse", "status_of"]

_LOG = logging.getLogger("mp_kit.serving")

SICK = 0.5
"""Part of failed requests since the last heartbeat from which on a server calls itself sick."""


class Beat(Protocol):
    """Sends one heartbeat."""

    def __call__(self, status: str, metrics: Mapping[str, Any]) -> object:
        """Sends it, or raises a MarketplaceError."""


def status_of(app: Application, *, requests: float, errors: float) -> str:
    """What to say: of requests and errors since the last time."""
    if not app.is_ready:
        return "pending"
    return "error" if requests and errors / requests >= SICK else "ready"


class Pulse:
    """Heartbeats in a thread of their own.

    Args:
        app: Whose figures are told.
        beat: Sends one.
        seconds: Between two.
        more: Figures besides the application's.
    """

    def __init__(
        self, app: Application, beat: Beat, seconds: float, more: Callable[[], Mapping[str, Any]] = dict
    ) -> None:
        self._app, self._beat, self._seconds, self._more = app, beat, seconds, more
        self._over = threading.Event()
        self._told = False
        self._before = (0.0, 0.0)
        self._thread = threading.Thread(target=self._run, name="heartbeats", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self, seconds: float = 5.0) -> None:
        """Ends it with a heartbeat that says ``offline``."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self._over.is_set():
            self.once()
            self._over.wait(self._seconds if self._app.is_ready else min(self._seconds, 2.0))
        self.once("offline")

    def once(self, status: str | None = None) -> None:
        """Sends one now."""
        metrics = {**self._app.figures.metrics(), **self._more()}
        seen = (float(metrics["requests"] or 0), float(metrics["errors"] or 0))
        requests, errors = (now - before for now, before in zip(seen, self._before, strict=True))
        self._before = seen
        try:
            self._beat(status or status_of(self._app, requests=requests, errors=errors), metrics)
        except MarketplaceError as error:
            if not self._told:
                _LOG.warning("no heartbeat goes through: %s", error)
            self._told = True
        else:
            self._told = False
