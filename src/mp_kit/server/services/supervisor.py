"""The supervisor's loop: it claims runs that are worth a look, asks the providers, and has each run looked at.

1. It keeps no state: kill it anywhere and start another; two at once share the work by their claims.
2. What waits for a provider waits in a thread: a slow account holds up no launch on another.
3. Each vendor's machines are seen by one call to its provider per cycle, however many runs there are; runs that only
   have to go on are given back by one statement.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Self

from mp_kit.errors import DatabaseDownError, MarketplaceError
from mp_kit.server.providers.base import Observed, Provider
from mp_kit.server.services import runs_claims as claims
from mp_kit.server.services.runs_claims import Claimed
from mp_kit.server.services.runs_looks import MAX_ATTEMPTS, Desk, look, now, paced
from mp_kit.server.services.runs_states import Act, decide
from mp_kit.server.store import runs as rows
from mp_kit.server.telemetry import trail

__all__ = ["MAX_ATTEMPTS", "Desk", "cycle", "watch"]

log = logging.getLogger(__name__)

POLL_SECONDS = 2.0
"""A notification that was lost costs no more than this."""

_BATCH = 1_000
_THREADS = 16
_BACKLOG = 64
_SHORTEST_WAIT = 0.05
_WHILE_AT_WORK = 0.1
"""A look that ends may want another one soon, and rings no bell."""


class _Crew:
    """Threads that look at runs; leaving the block waits for them."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="supervisor")
        self._waiting = 0
        self._idle = threading.Condition()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._idle:
            self._idle.wait_for(lambda: self._waiting == 0)  # a task may order another
        self._pool.shutdown()

    @property
    def is_busy(self) -> bool:
        """Whether more claims would only lie about until their leases end."""
        return self._waiting >= _BACKLOG

    @property
    def is_at_work(self) -> bool:
        """Whether any look is under way."""
        return self._waiting > 0

    def do(self, task: Callable[[], None]) -> None:
        """Has a thread do something as soon as one is free."""
        with self._idle:
            self._waiting += 1
        self._pool.submit(self._done, task)

    def _done(self, task: Callable[[], None]) -> None:
        try:
            task()
        except DatabaseDownError as error:
            log.warning("the database is away: %s", error)  # the leases end by themselves
        except Exception:  # a thread has nobody to tell but the log
            log.exception("a look failed")
        finally:
            with self._idle:
                self._waiting -= 1
                self._idle.notify_all()


def watch(
    desk: Desk,
    *,
    seconds: float,
    on_cycle: Callable[[int], None] | None = None,
    poll: float = POLL_SECONDS,
    stop: Callable[[], bool] | None = None,
) -> None:
    """Supervises for a while, through outages of the database.

    Args:
        desk: What to work with.
        seconds: When to end; whatever is under way goes on under the next supervisor.
        on_cycle: Hears how many runs each cycle looked at.
        poll: Longest wait between two cycles, in seconds.
        stop: Asked before each cycle; true ends the watch.
    """
    end = time.monotonic() + seconds

    def over() -> bool:
        return time.monotonic() >= end or (stop is not None and stop())

    while not over():
        try:
            _listen(desk, over, on_cycle or (lambda _: None), lambda: min(poll, max(end - time.monotonic(), 0.0)))
        except DatabaseDownError as error:
            log.warning("the database is away: %s", error)
            time.sleep(min(POLL_SECONDS, max(end - time.monotonic(), 0.0)))


def _listen(desk: Desk, over: Callable[[], bool], on_cycle: Callable[[int], None], poll: Callable[[], float]) -> None:
    with _Crew() as crew, desk.db.listen(rows.CHANNEL) as bell:
        while not over():
            looked_at = 0 if crew.is_busy else _cycle(desk, crew)
            on_cycle(looked_at)
            if looked_at < _BATCH:
                bell.wait(min(_pause(desk, poll()), _WHILE_AT_WORK if crew.is_at_work else poll()))


def _pause(desk: Desk, poll: float) -> float:
    with desk.db.begin() as tx:
        seconds = rows.seconds_to_next_look(tx, sorted(desk.providers))
    return poll if seconds is None else min(max(seconds, _SHORTEST_WAIT), poll)


def cycle(desk: Desk) -> int:
    """Looks once at each run that is due, to the end of each look; returns how many there were."""
    with _Crew() as crew:
        return _cycle(desk, crew)


def _cycle(desk: Desk, crew: _Crew) -> int:
    with desk.db.begin() as tx:
        claimed = claims.claim(tx, providers=desk.providers, limit=_BATCH, lease_seconds=desk.lease_seconds)
    accounts: dict[tuple[str, str], list[Claimed]] = defaultdict(list)
    for run in claimed:
        if run.handle is None:
            crew.do(partial(_look, desk, run, None))
        else:
            accounts[run.provider, run.vendor_id].append(run)
    for (provider, _), group in accounts.items():
        crew.do(partial(_look_at, desk, crew, provider, group))
    return len(claimed)


def _look_at(desk: Desk, crew: _Crew, name: str, group: Sequence[Claimed]) -> None:
    """Sees the machines of one account at once; most of their runs only have to go on."""
    seen = _ask(name, desk.providers[name], group)
    quiet: dict[float, list[Claimed]] = defaultdict(list)
    for run in group:
        observed = seen.get(run.handle.ref) if run.handle else None
        step = decide(run.facts, observed, now(), desk.limits)
        if step.act is Act.WAIT and step.letter is None:
            quiet[paced(run, step.look_in)].append(run)
        else:
            crew.do(partial(_look, desk, run, observed))
    with desk.db.begin() as tx:
        for look_in, runs in quiet.items():
            claims.release_all(tx, runs, look_in)


def _look(desk: Desk, run: Claimed, observed: Observed | None) -> None:
    with trail.following(run_id=run.run_id, vendor_id=run.vendor_id):
        look(desk, run, observed)


def _ask(name: str, provider: Provider, group: Sequence[Claimed]) -> Mapping[str, Observed]:
    try:
        return provider.observe([run.handle for run in group if run.handle])
    except MarketplaceError as error:
        log.warning("provider %s cannot be observed: %s", name, error)
        return {}
