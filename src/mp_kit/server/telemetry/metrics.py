"""The instruments of one process, in a registry of their own; what needs SQL is collected beside them at a scrape.

Labels are bounded: route templates, methods, statuses, words of ours. No vendor, no id, no path that somebody sent.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

__all__ = ["METHODS", "NO_ROUTE", "Metrics"]

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Any other method is counted as ``OTHER``."""

NO_ROUTE = "none"
"""The route of requests that no route took."""

_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Counts of one process.

    Attributes:
        registry: What a scrape reads.
        in_flight: Requests under way.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "mp_http_requests",
            "Answers by route template, method and status; 'aborted' where the caller left before one began.",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self._durations = Histogram(
            "mp_http_request_duration_seconds",
            "From a request's head to the head of its answer: bodies that stream do not count.",
            ["route", "method"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.in_flight = Gauge("mp_http_requests_in_flight", "Requests under way.", registry=self.registry)
        self._rows = Counter(
            "mp_ingest_rows", "Rows of signals by what became of them, by HTTP.", ["outcome"], registry=self.registry
        )
        self._listening = Gauge(
            "mp_revocations_listening", "1 while this process hears of revocations at once.", registry=self.registry
        )
        self._silence = Gauge(
            "mp_revocations_silence_seconds",
            "Since the listener for revocations last had word from the database; about a second when all is well.",
            registry=self.registry,
        )
        self._heard_at: float | None = None
        self._silence.set_function(self._silent_for)
        ProcessCollector(registry=self.registry)

    def answered(self, route: str, method: str, status: int | None, seconds: float) -> None:
        """Counts a request.

        Args:
            route: Its template, or :data:`NO_ROUTE`.
            method: As it was sent.
            status: Of the answer; None where none began.
            seconds: Until the answer began.
        """
        verb = method if method in METHODS else "OTHER"
        self._requests.labels(route, verb, "aborted" if status is None else str(status)).inc()
        self._durations.labels(route, verb).observe(seconds)

    def ingested(self, rows: Mapping[str, int]) -> None:
        """Counts rows of signals by outcome: accepted, duplicate, conflict, rejected."""
        for outcome, count in rows.items():
            if count:
                self._rows.labels(outcome).inc(count)

    def heard(self) -> None:
        """The listener for revocations had word from the database: it listens."""
        self._heard_at = time.monotonic()
        self._listening.set(1)

    def deaf(self) -> None:
        """The listener for revocations lost its connection."""
        self._listening.set(0)

    def _silent_for(self) -> float:
        return 0.0 if self._heard_at is None else time.monotonic() - self._heard_at
