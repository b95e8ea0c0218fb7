"""The fake's clock: the real time, shifted at will, or one that moves only when told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

__all__ = ["Clock"]


class Clock:
    """Tells the time that pulls, uptime and billing go by.

    Args:
        start: The first instant; now by default.
        running: Whether time goes on by itself; if not, only :meth:`advance` moves it.
    """

    def __init__(self, start: datetime | None = None, *, running: bool = True) -> None:
        self.running = running
        self._base = (start or datetime.now(UTC)).astimezone(UTC)
        self._origin = time.monotonic()
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []

    def now(self) -> datetime:
        """The present instant, UTC."""
        with self._lock:
            passed = time.monotonic() - self._origin if self.running else 0.0
            return self._base + timedelta(seconds=passed)

    def advance(self, seconds: float) -> datetime:
        """Moves the time forward, and wakes whoever waits for an instant.

        Returns:
            The new present.
        """
        with self._lock:
            self._base += timedelta(seconds=seconds)
            listeners = list(self._listeners)
        for listener in listeners:
            listener()
        return self.now()

    def seconds_until(self, instant: datetime) -> float | None:
        """Real seconds to wait for an instant; None if waiting alone will never reach it."""
        left = (instant - self.now()).total_seconds()
        if left <= 0:
            return 0.0
        return left if self.running else None

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Calls ``listener`` after each :meth:`advance`; the answer ends that."""
        with self._lock:
            self._listeners.append(listener)

        def end() -> None:
            with self._lock:
                self._listeners.remove(listener)

        return end
