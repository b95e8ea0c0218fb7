"""Prometheus metrics of a process, on a port of their own: its instruments, and figures of the database at a scrape.

1. A scrape asks the database once in ten seconds at most, with a connection of its own and a bound for each statement:
   it neither waits for the edge's pool nor holds it up.
2. When the database does not answer, its figures are left out and ``mp_scrape_database_up`` is 0; the rest is told.
3. Figures of the database are the same in every edge: take their maximum over instances, not their sum.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from prometheus_client import start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from mp_kit.contracts import CONTRACTS_VERSION
from mp_kit.errors import DatabaseDownError, SetupError
from mp_kit.server import clock
from mp_kit.server.house import House
from mp_kit.server.store import vitals
from mp_kit.server.store.engine import Database
from mp_kit.version import __version__

__all__ = ["DatabaseFigures", "ProcessFigures", "serve"]

_KEPT_SECONDS = 10.0
_STATEMENT_SECONDS = 2.0

Rows = Mapping[str, Sequence[Any]]


class ProcessFigures(Collector):
    """What the parts of a house count of themselves.

    Args:
        house: Whose.
    """

    def __init__(self, house: House) -> None:
        self._house = house

    def collect(self) -> Iterator[Metric]:
        """The pool, Argon2, versions."""
        pool = self._house.db.pool_use()
        used = GaugeMetricFamily("mp_db_pool_used", "Connections of the pool in use.", pool.used)
        size = GaugeMetricFamily("mp_db_pool_size", "Connections that the pool may have.", pool.size)
        waiting = GaugeMetricFamily("mp_db_pool_waiting", "Callers that wait for a connection.", pool.waiting)
        yield from (used, size, waiting)
        runs = self._house.tokens.argon2_runs
        yield CounterMetricFamily("mp_argon2_runs", "Argon2 runs: about 20 ms of a core each.", runs)
        info = GaugeMetricFamily("mp_build_info", "1, with the versions.", labels=["version", "contracts"])
        info.add_metric([__version__, CONTRACTS_VERSION], 1)
        yield info


class DatabaseFigures(Collector):
    """Figures that are rows, asked at a scrape.

    Args:
        db: A pool of its own; it must see every vendor's rows.
        keep_seconds: An answer is told again for so long.
    """

    def __init__(self, db: Database, *, keep_seconds: float = _KEPT_SECONDS) -> None:
        self._db = db
        self._keep_seconds = keep_seconds
        self._lock = threading.Lock()
        self._read: tuple[float, datetime, Rows] | None = None

    def collect(self) -> Iterator[Metric]:
        """Runs, money, queues, deployments; and whether the database answered."""
        found = self._figures()
        yield GaugeMetricFamily(
            "mp_scrape_database_up", "1 when the database answered within its bound.", 0 if found is None else 1
        )
        now, rows = found or (clock.now(), {})
        yield _labelled(
            "mp_training_runs", "Runs by state: open ones, and those that ended today (UTC).", "state", rows.get("runs")
        )
        yield _labelled("mp_deployments", "Vendors' deployments by status.", "status", rows.get("deployments"))
        yield from _money(rows.get("money", ()))
        yield from _queues(rows.get("queues", ()), now)

    def _figures(self) -> tuple[datetime, Rows] | None:
        with self._lock:
            if self._read is None or time.monotonic() - self._read[0] > self._keep_seconds:
                self._read = self._ask()
            return self._read[1:] if self._read else None

    def _ask(self) -> tuple[float, datetime, Rows] | None:
        now = clock.now()
        today = now.replace(hour=0, minute=0, second=0, microsecond=0)
        try:
            with self._db.begin() as tx:
                return time.monotonic(), now, vitals.read(tx, now=now, today=today, timeout_seconds=_STATEMENT_SECONDS)
        except (DatabaseDownError, SQLAlchemyError):  # away, or without our tables
            return None


def _labelled(name: str, told: str, label: str, rows: Sequence[Any] | None) -> Metric:
    family = GaugeMetricFamily(name, told, labels=[label])
    for word, count in rows or ():
        family.add_metric([word], count)
    return family


def _money(rows: Sequence[Any]) -> Iterator[Metric]:
    spent = GaugeMetricFamily(
        "mp_money_spent_today_usd", "What training machines have cost since midnight UTC.", labels=["provider"]
    )
    committed = GaugeMetricFamily(
        "mp_money_committed_usd", "What open runs have spent or reserved, whichever is more.", labels=["provider"]
    )
    for row in rows:
        spent.add_metric([row.provider], row.spent_today)
        committed.add_metric([row.provider], row.committed)
    yield from (spent, committed)


def _queues(rows: Sequence[Any], now: datetime) -> Iterator[Metric]:
    waiting = GaugeMetricFamily("mp_queue_waiting", "What waits in a queue.", labels=["queue"])
    oldest = GaugeMetricFamily(
        "mp_queue_oldest_seconds", "How long the oldest of them could have been done already.", labels=["queue"]
    )
    for row in rows:
        waiting.add_metric([row.queue], row.waiting)
        age = 0.0 if row.due_since is None else max((now - row.due_since).total_seconds(), 0.0)
        oldest.add_metric([row.queue], age)
    yield from (waiting, oldest)


@contextmanager
def serve(house: House) -> Iterator[int | None]:
    """Serves a house's metrics for the length of a block, where a port is set; gives the port.

    Raises:
        SetupError: The port is taken, or the address is none of this machine.
    """
    settings = house.settings
    if settings.metrics_port is None:
        yield None
        return
    # All vendors' rows: the operator's connection, whatever role the edge itself has.
    db = Database(settings.database_url, pool_size=1)
    registry = house.metrics.registry
    registry.register(ProcessFigures(house))
    registry.register(DatabaseFigures(db))
    try:
        server, thread = start_http_server(settings.metrics_port, settings.metrics_host, registry)
    except OSError as error:
        db.close()
        raise SetupError(
            f"Metrics cannot be served on {settings.metrics_host}:{settings.metrics_port}: {error.strerror}.",
            hint="Each edge of a machine needs an MP_METRICS_PORT of its own.",
        ) from error
    try:
        yield settings.metrics_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
        db.close()
