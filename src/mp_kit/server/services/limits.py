"""Limits that all edge processes share.

1. The truth is a row per bucket in Postgres, by Postgres's clock. A process leases tokens from it in blocks (what it
   needs now and an eighth of the rest) and spends them without asking: most requests cost a look into a dict.
2. One thread asks for all requests that wait, in one statement: none of them holds a handler or a pooled connection.
   Whoever has a token left waits for nobody: the next block comes at a tick, with those of others.
3. Nothing is admitted beyond the bucket, but a leased token may be spent up to :data:`HOLD_SECONDS` later: in any
   window a process admits at most an eighth of a burst more than the bucket alone would. What it has not spent by then
   it gives back.
4. A bucket that was found empty is not asked about again before it has a token: a flood that is refused costs nothing.
5. Without the database each process goes by buckets of its own, as wide: limits then hold per process.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from math import floor
from typing import Protocol

from mp_kit.errors import DatabaseDownError
from mp_kit.server.rates import Limit
from mp_kit.server.store.limits import Ask, Grant

__all__ = ["HOLD_SECONDS", "SHARE", "Limiter", "Standing"]

log = logging.getLogger(__name__)
HOLD_SECONDS = 5.0
"""A leased token that nobody wanted for so long goes back."""
SHARE = 8
"""The part of what a bucket has that is leased beside what is needed: one of so many."""
_TIDY_SECONDS, _SWEEP_SECONDS, _AGAIN_SECONDS, _TICK_SECONDS = 60.0, 1.0, 1.0, 0.25
_LOW = 2
_AT_ONCE = 64
_MOST_PURSES = 50_000


@dataclass(frozen=True, slots=True)
class Standing:
    """What became of a request, and how its limit stands.

    Args:
        limit: The limit.
        admitted: Whether the request may pass.
        remaining: Requests that may still pass at once, as far as this process knows; 0 where it may not.
        wait: Seconds until the next one may pass; 0 where this one may.
        full_in: Seconds until all of the limit is there again.
    """

    limit: Limit
    admitted: bool
    remaining: int
    wait: float
    full_in: float


class Source(Protocol):
    """Where tokens come from: :class:`mp_kit.server.store.limits.Buckets`."""

    def take(self, asks: Sequence[Ask]) -> Mapping[str, Grant]:
        """Leases tokens."""

    def forget_full(self) -> None:
        """Forgets buckets that say nothing."""

    def close(self) -> None:
        """Gives back what is held open."""


@dataclass(slots=True)
class _Purse:
    """What this process has of one bucket; instants are monotonic."""

    limit: Limit
    tokens: int = 0
    used_at: float = 0.0
    empty_until: float = 0.0
    full_at: float = 0.0
    waiting: list[Future[Standing]] = field(default_factory=list)

    def standing(self, now: float, *, admitted: bool) -> Standing:
        """How the bucket stands."""
        wait = 0.0 if admitted else max(0.0, self.empty_until - now)
        remaining = min(self.limit.burst, self.tokens + self.free(now)) if admitted else 0
        return Standing(self.limit, admitted, remaining, wait, max(0.0, self.full_at - now))

    def free(self, now: float) -> int:
        """Tokens of the shared bucket, as it was told last and has been filling since."""
        return max(0, floor(self.limit.burst - max(0.0, self.full_at - now) / self.limit.step + 1e-6))


class Limiter:
    """Lets requests pass, or not; safe in any thread.

    Args:
        source: The shared buckets; None where no limits hold.
        limits: By name; a name that is not there is no limit.
        clock: Monotonic seconds; tests pass their own.
    """

    def __init__(
        self, source: Source | None, limits: Mapping[str, Limit], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limits = dict(limits) if source is not None else {}
        self._source = source
        self._clock = clock
        self._purses: dict[str, _Purse] = {}
        self._due: dict[str, int] = {}  # buckets to ask about, and the tokens that go back to them
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = self._hurry = False
        self._alone: dict[str, float] = {}
        self._down_until = 0.0

    def take(self, name: str, subject: str) -> Standing | Future[Standing] | None:
        """One request of somebody, counted against a limit.

        Args:
            name: Of the limit.
            subject: Whose request.

        Returns:
            At once how it stands, else a future that will say so; None where there is no such limit.
        """
        limit = self.limits.get(name)
        if limit is None:
            return None
        key, now = f"{name}:{subject}", self._clock()
        with self._changed:
            purse = self._purses.get(key)
            if purse is None:
                purse = self._purses[key] = _Purse(limit)
            purse.used_at = now
            if purse.tokens:
                purse.tokens -= 1
                if purse.tokens == _LOW and purse.free(now) >= 2 * SHARE:
                    self._ask(key)  # the next block comes before this one is spent, at the next tick and with others
                return purse.standing(now, admitted=True)
            if now < purse.empty_until:
                return purse.standing(now, admitted=False)
            future: Future[Standing] = Future()
            purse.waiting.append(future)
            self._hurry = True
            self._ask(key)
            self._changed.notify()
            return future

    def refused(self, name: str, subject: str) -> Standing | None:
        """How a limit stands that is known to be used up; None where it may not be. Takes nothing."""
        purse, now = self._purses.get(f"{name}:{subject}"), self._clock()
        if purse is None or purse.tokens or now >= purse.empty_until:
            return None
        return purse.standing(now, admitted=False)

    def close(self) -> None:
        """Gives leased tokens back and ends the thread; whoever asks afterwards has it begin anew."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout=3)
        with self._changed:
            self._thread, self._closed = None, False

    def _ask(self, key: str, back: int = 0) -> None:
        self._due[key] = self._due.get(key, 0) + back
        if self._thread is None:  # a process that serves nobody has no such thread
            self._thread = threading.Thread(target=self._work, name="limits", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        swept = tidied = self._clock()
        while True:
            with self._changed:
                if not self._hurry and not self._closed:
                    self._changed.wait(_TICK_SECONDS)
                now = self._clock()
                if now - swept >= _SWEEP_SECONDS or self._closed:
                    swept = now
                    self._sweep(now)
                asks = self._collect(now)
                self._hurry = bool(self._due)
            if asks:
                self._settle(asks, self._lease(asks))
            elif self._closed:
                break
            if now - tidied >= _TIDY_SECONDS:
                tidied = now
                self._tidy()
        if self._source is not None:
            self._source.close()

    def _collect(self, now: float) -> list[Ask]:
        asks = []
        for key in list(self._due)[:_AT_ONCE]:
            purse, back = self._purses[key], self._due.pop(key)
            need = len(purse.waiting)
            wants = need > 0 or (not back and purse.tokens <= _LOW)
            if wants or back:
                share = int(wants and now >= purse.empty_until)
                asks.append(Ask(key, purse.limit.step, purse.limit.burst, need, share, back))
        return asks

    def _sweep(self, now: float) -> None:
        """Gives back what was not wanted for a while, and forgets buckets that are full."""
        hold = 0.0 if self._closed or len(self._purses) > _MOST_PURSES else HOLD_SECONDS
        for key, purse in list(self._purses.items()):
            if purse.waiting or now - purse.used_at < hold or key in self._due:
                continue
            if purse.tokens:
                self._ask(key, back=purse.tokens)
                purse.tokens = 0
            elif now >= purse.full_at:
                del self._purses[key]

    def _lease(self, asks: Sequence[Ask]) -> Mapping[str, Grant]:
        now = self._clock()
        if now >= self._down_until:
            try:
                found = self._source.take(asks) if self._source is not None else {}
            except DatabaseDownError:
                log.warning("limits hold in this process alone: their buckets cannot be reached")
                self._down_until = self._clock() + _AGAIN_SECONDS
            else:
                self._alone.clear()
                return found
        return {ask.key: self._by_itself(ask, now) for ask in asks}

    def _by_itself(self, ask: Ask, now: float) -> Grant:
        """The same bucket, in this process."""
        base = max(now, self._alone.get(ask.key, 0.0) - ask.back * ask.step)
        free = floor((now - base) / ask.step + ask.burst + 1e-6)
        granted = min(free, ask.need + ask.share * (max(0, free - ask.need) // SHARE))
        if len(self._alone) >= _MOST_PURSES:
            self._alone.clear()
        self._alone[ask.key] = base + granted * ask.step
        return Grant(granted, self._alone[ask.key] - now)

    def _settle(self, asks: Sequence[Ask], grants: Mapping[str, Grant]) -> None:
        told = []
        with self._changed:
            now = self._clock()
            for ask in asks:
                purse, grant = self._purses[ask.key], grants[ask.key]
                purse.tokens += grant.granted
                purse.full_at = now + grant.full_in
                waiting, purse.waiting = purse.waiting, purse.waiting[ask.need :]
                served = min(ask.need, purse.tokens)
                purse.tokens -= served
                if served < ask.need:
                    purse.empty_until = now + max(0.0, grant.full_in - (ask.burst - 1) * ask.step)
                told += [(one, purse.standing(now, admitted=n < served)) for n, one in enumerate(waiting[: ask.need])]
                if purse.waiting:
                    self._ask(ask.key)
                    self._hurry = True
        for future, standing in told:
            if future.set_running_or_notify_cancel():
                future.set_result(standing)

    def _tidy(self) -> None:
        try:
            if self._source is not None:
                self._source.forget_full()
        except DatabaseDownError:
            self._down_until = self._clock() + _AGAIN_SECONDS
