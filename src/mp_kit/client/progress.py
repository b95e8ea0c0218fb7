"""Who is told how far a transfer is: the protocol, and the tally that calls it.

A reporter is any callable ``(done_bytes, total_bytes, file)``; it is called under a lock, from worker threads.
"""

from __future__ import annotations

import threading
from typing import Protocol


class OnProgress(Protocol):
    """Called as bytes arrive."""

    def __call__(self, done_bytes: int, total_bytes: int, file: str) -> None:
        """Says that ``done_bytes`` of ``total_bytes`` are there; ``file`` is the one that has just grown."""
        ...


class Tally:
    """Counts the bytes of a transfer and tells a reporter.

    Args:
        total: Bytes of all files together.
        report: Whom to tell.
    """

    def __init__(self, total: int, report: OnProgress | None) -> None:
        self._total = total
        self._report = report
        self._done = 0
        self._lock = threading.Lock()

    @property
    def moved(self) -> int:
        """Bytes counted in so far."""
        return self._done

    def counted(self, count: int) -> None:
        """Counts in what is of no file."""
        self.add(count, "")

    def add(self, count: int, file: str) -> None:
        """Counts bytes in; a negative number takes back what has to be fetched again."""
        with self._lock:
            self._done += count
            if self._report is not None:
                self._report(self._done, self._total, file)
