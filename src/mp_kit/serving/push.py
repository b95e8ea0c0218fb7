"""Answers to live bars on their way to the marketplace, as signals, in a thread of their own.

1. An answer never waits for the marketplace, and a failed push never fails an answer.
2. Only a signal model's answers to bars are sent: the bar's open is the signal's ``event_time``. Requests by features
   alone, and dry runs, leave no signal; a consensus or an allocation speaks of no bar, and is asked for, not pushed.
3. What the marketplace cannot take just now is sent again, oldest first; a signal that it refuses is told and dropped.
   Sending twice is harmless: a signal's identity is its deployment, symbol, timeframe, bar and model version.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from pydantic import BaseModel

from mp_kit.contracts.inference import InferRequest, InferResponse
from mp_kit.contracts.signals import SignalWrite
from mp_kit.errors import MarketplaceError

__all__ = ["Pusher", "signal_of"]

MOST_WAITING = 10_000
BATCH = 500

_LOG = logging.getLogger("mp_kit.serving")


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
        send: Sends some; raises a MarketplaceError.
        wait: Seconds before the first repetition; doubled up to a minute.
    """

    def __init__(self, send: Callable[[Sequence[SignalWrite]], object], wait: float = 1.0) -> None:
        self._send, self._wait = send, wait
        self._waiting: queue.Queue[SignalWrite] = queue.Queue(MOST_WAITING)
        self._held: list[SignalWrite] = []
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._pushed = self._failed = 0
        self._thread = threading.Thread(target=self._run, name="signals", daemon=True)

    def start(self) -> None:
        """Begins to send."""
        self._thread.start()

    def put(self, signal: SignalWrite) -> None:
        """Takes one; a full queue drops it and tells so."""
        try:
            self._waiting.put_nowait(signal)
        except queue.Full:
            self._lost(1, "ten thousand signals are waiting already")

    def stop(self, seconds: float = 5.0) -> None:
        """Sends what is waiting, in this time, and ends."""
        self._over.set()
        self._thread.join(seconds)
        if left := len(self._held) + self._waiting.qsize():
            self._lost(left, "the server ended before the marketplace took them")

    def figures(self) -> dict[str, int]:
        """For a heartbeat."""
        with self._lock:
            return {
                "signals_pushed": self._pushed,
                "signals_failed": self._failed,
                "signals_waiting": len(self._held) + self._waiting.qsize(),
            }

    def _run(self) -> None:
        wait = self._wait
        while not (self._over.is_set() and self._waiting.empty() and not self._held):
            if not self._held and not self._take():
                continue
            if self._once():
                wait = self._wait
            elif self._over.wait(wait) and not self._once():  # ending: one more try, no more patience
                return
            else:
                wait = min(2 * wait, 60.0)

    def _take(self) -> bool:
        """Moves what waits into the batch; waits a little for the first one."""
        try:
            self._held.append(self._waiting.get(timeout=0.2))
        except queue.Empty:
            return False
        while len(self._held) < BATCH and not self._waiting.empty():
            self._held.append(self._waiting.get_nowait())
        return True

    def _once(self) -> bool:
        """Sends the batch; False where it is worth another try."""
        if not self._held:
            return True
        try:
            self._send(self._held)
        except MarketplaceError as error:
            if error.retryable:
                _LOG.warning("%d signals wait for the marketplace: %s", len(self._held), error)
                return False
            self._lost(len(self._held), str(error))
        else:
            with self._lock:
                self._pushed += len(self._held)
        self._held = []
        return True

    def _lost(self, count: int, why: str) -> None:
        with self._lock:
            self._failed += count
        _LOG.error("%d signals were not sent: %s", count, why)
