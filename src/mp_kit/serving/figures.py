"""How a server is doing, measured: requests, errors, latencies, processor and memory of this process."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np

__all__ = ["Figures"]

RECENT = 1_000
"""Latencies that percentiles are made of."""

Value = float | int | None


class Figures:
    """Counts requests to the model; safe from many threads.

    Args:
        clock: Seconds, monotonic.
        spent: Processor seconds that this process has used.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, spent: Callable[[], float] = time.process_time
    ) -> None:
        self._clock, self._spent = clock, spent
        self._since = clock()
        self._seen = (self._since, spent())
        self._lock = threading.Lock()
        self._latencies: deque[float] = deque(maxlen=RECENT)
        self._requests = self._refused = self._errors = 0

    def count(self, seconds: float, status: int) -> None:
        """Notes an answer of the model: 4xx is the caller's fault, 5xx ours."""
        with self._lock:
            self._requests += 1
            self._refused += 400 <= status < 500  # noqa: PLR2004 - the classes of HTTP
            self._errors += status >= 500  # noqa: PLR2004 - same
            self._latencies.append(seconds)

    def metrics(self, *, mark: bool = True) -> dict[str, Value]:
        """What a heartbeat tells; latencies are null before any request.

        Args:
            mark: ``cpu_percent``, which is of one core, begins anew after this call.
        """
        with self._lock:
            now, spent = self._clock(), self._spent()
            wall, used = now - self._seen[0], spent - self._seen[1]
            self._seen = (now, spent) if mark else self._seen
            p50, p95 = self._percentiles()
            return {
                "cpu_percent": round(100 * used / wall, 1) if wall > 0 else None,
                "memory_bytes": _resident(),
                "latency_p50_ms": p50,
                "latency_p95_ms": p95,
                "requests": self._requests,
                "refused": self._refused,
                "errors": self._errors,
                "error_rate": round(self._errors / self._requests, 6) if self._requests else 0.0,
                "uptime_seconds": round(now - self._since, 1),
            }

    def _percentiles(self) -> tuple[Value, Value]:
        if not self._latencies:
            return None, None
        p50, p95 = np.percentile(np.array(self._latencies), [50, 95]) * 1e3
        return round(float(p50), 3), round(float(p95), 3)


def _resident() -> int | None:
    """Resident bytes of this process; None where there is no ``/proc``."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
