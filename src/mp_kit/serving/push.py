"""Answers to live bars on their way to the marketplace, as signals, in a thread of their own.

1. An answer never waits for the marketplace, and a failed push never fails an answer.
2. Only a signal model's answers to bars are sent: the bar's open is the signal's ``event_time``. Requests by features
   alone, and dry runs, leave no signal; a consensus or an allocation speaks of no bar, and is asked for, not pushed.
3. A push is on disk before it is sent (the client's outbox). What the marketplace cannot take just now waits there,
   over a restart of the server, too; where the disk cannot be written it waits in memory, and a loss is told.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol

from pydantic import BaseModel

from mp_kit.client.pushes import FlushResult, PushResult
from mp_kit.contracts.inference import InferRequest, InferResponse
from mp_kit.contracts.signals import SignalWrite
from mp_kit.errors import AttributionError, ContractsVersionError, InvalidInputError, MarketplaceError, SetupError

__all__ = ["Outlet", "Pusher", "signal_of"]

MOST_WAITING = 10_000
BATCH = 500
LONGEST_WAIT = 60.0

_LOG = logging.getLogger("mp_kit.serving")


class Outlet(Protocol):
    """Where signals go: the client's ``signals``, for one deployment."""

    def push(self, signals: Sequence[SignalWrite]) -> PushResult:
        """Writes them to disk and sends them."""

    def flush(self) -> FlushResult:
        """Sends what waits on disk."""


def signal_of(request: BaseModel, answer: BaseModel) -> SignalWrite | None:
    """The signal that an answer is; None where it speaks of no bar."""
    if not isinstance(request, InferRequest) or not isinstance(answer, InferResponse) or not request.ohlcv:
        return None
    given = answer.model_dump()
    where = {"symbol": request.symbol, "timeframe": request.timeframe}
    return SignalWrite.model_validate(
        {**given, **where, "event_time": datetime.fromtimestamp(request.ohlcv[-1][0], UTC)}
    )


class Pusher:
    """Sends signals from a queue.

    Args:
        outlet: Where they go.
        wait: Seconds before the first repetition; doubled up to :data:`LONGEST_WAIT`.
        clock: Seconds, monotonic.
    """

    def __init__(self, outlet: Outlet, wait: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._outlet, self._first, self._clock = outlet, wait, clock
        self._queue: queue.Queue[SignalWrite] = queue.Queue(MOST_WAITING)
        self._held: list[SignalWrite] = []
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._pushed = self._failed = 0
        self._on_disk = 0
        self._asked = False  # whether an earlier process left something on disk
        self._wait, self._due = wait, clock()
        self._thread = threading.Thread(target=self._run, name="signals", daemon=True)

    def start(self) -> None:
        """Begins to send, what an earlier process left behind first."""
        self._thread.start()

    def put(self, signal: SignalWrite) -> None:
        """Takes one; a full queue drops it and tells so."""
        try:
            self._queue.put_nowait(signal)
        except queue.Full:
            self._lost(1, "ten thousand signals are waiting already")

    def stop(self, seconds: float = 5.0) -> None:
        """Brings what is waiting to the disk at least, in this time, and ends."""
        self._over.set()
        self._thread.join(seconds)
        if left := len(self._held) + self._queue.qsize():
            self._lost(left, "the server ended before they were on disk")
            self._held = []

    def figures(self) -> dict[str, int]:
        """For a heartbeat."""
        with self._lock:
            waiting = self._on_disk + len(self._held) + self._queue.qsize()
            return {"signals_pushed": self._pushed, "signals_failed": self._failed, "signals_waiting": waiting}

    def _run(self) -> None:
        while not self._over.is_set() or self._queue.qsize():
            self._turn()
        if self._held or self._on_disk or not self._asked:  # once more: a container's disk goes with it
            self._due = self._clock()
            self._turn()

    def _turn(self) -> None:
        """One step: a batch that has come, else what is due again."""
        fresh = self._take()
        due = self._clock() >= self._due
        if fresh and not self._held:
            self._push(fresh)
        elif self._held and (due or self._over.is_set()):
            self._push([*self._held, *fresh])
        elif fresh:
            self._held += fresh
        elif due and (self._on_disk or not self._asked):
            self._flush()

    def _take(self) -> list[SignalWrite]:
        """What has come, after waiting a little for the first."""
        found: list[SignalWrite] = []
        try:
            found.append(self._queue.get(timeout=0.01 if self._over.is_set() else 0.2))
            while len(found) < BATCH:
                found.append(self._queue.get_nowait())
        except queue.Empty:
            return found
        return found

    def _push(self, signals: list[SignalWrite]) -> None:
        self._held = []
        try:
            result = self._outlet.push(signals)
        except SetupError as error:  # nothing was kept: the disk is full, or cannot be written
            self._held = signals
            self._later(str(error))
        except MarketplaceError as error:
            self._refused(error, len(signals))
        else:
            with self._lock:
                self._pushed += result.accepted + result.duplicates
                self._failed += result.conflicts + result.rejected
                self._on_disk = self._on_disk + result.pending if result.pending else 0
                self._asked = self._asked or not result.pending
            for problem in result.problems:
                _LOG.warning("signal %s: %s", problem.status.value, problem.error or signals[problem.index].symbol)
            self._went(result.reason)

    def _refused(self, error: MarketplaceError, count: int) -> None:
        """For good, or until somebody mends a token or a version: those wait on disk."""
        for_good = isinstance(error, AttributionError | InvalidInputError)
        if for_good and not isinstance(error, ContractsVersionError):
            self._lost(count, str(error))
            return
        with self._lock:
            self._on_disk += count
        self._later(str(error))

    def _flush(self) -> None:
        try:
            result = self._outlet.flush()
        except MarketplaceError as error:
            self._later(str(error))
            return
        with self._lock:
            self._pushed += result.accepted + result.duplicates
            self._failed += result.refused
            self._on_disk, self._asked = result.pending, True
        self._went(result.reason)

    def _went(self, reason: str | None) -> None:
        if self._on_disk:
            self._later(reason or "they are on disk")
        else:
            self._wait = self._first

    def _later(self, why: str) -> None:
        if self._wait == self._first:  # the first of a row: the others would say the same
            _LOG.warning("signals wait for the marketplace: %s", why)
        self._due = self._clock() + self._wait
        self._wait = min(2 * self._wait, LONGEST_WAIT)

    def _lost(self, count: int, why: str) -> None:
        with self._lock:
            self._failed += count
        _LOG.error("%d signals were not sent: %s", count, why)
