"""A round of asking: who is asked about which bars, in turns by vendor, within a time.

1. No new bar, no call: what was asked about is left out before anything is read or sent.
2. Vendors take turns, and each has few calls under way; deployments whose last call failed share half of the threads.
   So neither many nor slow servers of one vendor hold up another's.
3. No call begins that could outlast the round. What is left is asked first in the next one.
4. It keeps no state: kill it anywhere; two at once share the work and never store anything twice.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from mp_kit.contracts import PollOutcome
from mp_kit.errors import DatabaseDownError, InvalidInputError, MarketplaceError
from mp_kit.server.providers.addresses import AddressGuard
from mp_kit.server.providers.hosting import Door, Hosts
from mp_kit.server.providers.inference import Asker, Said
from mp_kit.server.services.hostings import hosted_of
from mp_kit.server.services.poll_calls import Claim, Noted, Refusal, Terms, claim, note
from mp_kit.server.services.poll_passes import Passes
from mp_kit.server.services.poll_windows import Live, Window
from mp_kit.server.services.tokens import TokenBook
from mp_kit.server.store import polling as rows
from mp_kit.server.store.engine import Database
from mp_kit.server.store.polling import Bar
from mp_kit.signing import Signer

__all__ = ["Asked", "Poller", "anybody", "ask_all", "outcomes"]

log = logging.getLogger(__name__)

anybody = rows.anybody
"""Whether any deployment wants to be asked."""


@dataclass(frozen=True)
class Poller:
    """What asking works with.

    Args:
        db: Transactions.
        signer: Signs receipts.
        tokens: Mints passes for servers that ask their callers.
        asker: Asks.
        guard: Says whether a vendor's own URL may be sent to.
        hosts: Where deployments' servers run.
        terms: Budgets, breaker, attempts.
        threads: Calls under way at once.
        each: Calls of one vendor at once.
    """

    db: Database
    signer: Signer
    tokens: TokenBook
    asker: Asker
    guard: AddressGuard
    hosts: Hosts
    terms: Terms = field(default_factory=Terms)
    threads: int = 16
    each: int = 2


@dataclass(frozen=True)
class Asked:
    """What became of one bar of one deployment in this round; ``outcome`` is a word of the store's, or why not."""

    deployment_id: str
    symbol: str
    timeframe: str
    bar: datetime
    outcome: str
    http_status: int | None = None
    milliseconds: int | None = None
    reason: str | None = None


@dataclass(frozen=True)
class _Task:
    deployment: Row[Any]
    window: Window

    @property
    def bar(self) -> Bar:
        window = self.window
        return Bar(self.deployment.deployment_id, window.symbol, str(window.timeframe), window.event_time)

    def told(self, outcome: str, reason: str | None = None, said: Said | None = None) -> Asked:
        bar, (status, took) = self.bar, (None, None) if said is None else (said.status, said.milliseconds)
        return Asked(bar.deployment_id, bar.symbol, bar.timeframe, bar.event_time, outcome, status, took, reason)


def ask_all(poller: Poller, live: Live, *, seconds: float) -> list[Asked]:
    """Asks every deployment that wants it about each newest closed bar that it was not asked about.

    Args:
        poller: What to work with.
        live: The bars.
        seconds: When to end; no call begins that could take longer.

    Returns:
        What became of each bar that was new to somebody.
    """
    end = time.monotonic() + seconds
    with poller.db.begin() as tx:
        tasks = _tasks(rows.pollable(tx), live.windows)
        fresh = rows.unasked(tx, [task.bar for task in tasks], poller.terms.attempts)
    found = _one_for_the_half_open([tasks[place] for place in fresh])
    questions, asked = _read(found)
    ready = [task for task in found if task.window.symbol in questions]
    passes = Passes(poller.db, poller.tokens, seconds)
    try:
        return asked + _Round(poller, passes, questions, ready).run(end - poller.terms.call_seconds)
    finally:
        passes.close()


def _tasks(deployments: Iterable[Row[Any]], windows: Sequence[Window]) -> list[_Task]:
    return [
        _Task(row, window)
        for row in deployments
        for window in windows
        if (row.symbols is None or window.symbol in row.symbols)
        and (row.timeframes is None or window.timeframe in row.timeframes)
        and row.trained_on in {None, str(window.timeframe)}
    ]


def _one_for_the_half_open(tasks: Sequence[_Task]) -> list[_Task]:
    seen: set[str] = set()
    kept = []
    for task in tasks:
        if task.deployment.opens and task.deployment.deployment_id in seen:
            continue
        seen.add(task.deployment.deployment_id)
        kept.append(task)
    return kept


def _read(tasks: Sequence[_Task]) -> tuple[dict[str, bytes], list[Asked]]:
    """The question of each symbol that somebody is to be asked about, and who is not asked because there is none."""
    questions: dict[str, bytes] = {}
    problems: dict[str, str] = {}
    for window in {task.window.symbol: task.window for task in tasks}.values():
        try:
            questions[window.symbol] = window.question()
        except (MarketplaceError, OSError, ValueError) as error:
            log.warning("bars of %s cannot be read: %s", window.symbol, error)
            problems[window.symbol] = f"its bars cannot be read ({type(error).__name__})"
    unread = [task for task in tasks if task.window.symbol in problems]
    return questions, [task.told("not asked", problems[task.window.symbol]) for task in unread]


class _Round:
    """Calls that wait, by vendor, and those under way."""

    def __init__(self, poller: Poller, passes: Passes, questions: Mapping[str, bytes], tasks: Sequence[_Task]) -> None:
        self._poller, self._passes, self._questions = poller, passes, questions
        self._waiting: dict[str, deque[_Task]] = {}
        for task in tasks:  # in the order of who was asked longest ago
            self._waiting.setdefault(task.deployment.vendor_id, deque()).append(task)
        self._turns = deque(self._waiting)
        self._under_way: dict[Future[Asked | Refusal], _Task] = {}
        self._asked: list[Asked] = []

    def run(self, last_start: float) -> list[Asked]:
        with ThreadPoolExecutor(self._poller.threads, thread_name_prefix="poll") as pool:
            while True:
                while time.monotonic() < last_start and (task := self._next()) is not None:
                    question = self._questions[task.window.symbol]
                    self._under_way[pool.submit(_ask, self._poller, self._passes, task, question)] = task
                if not self._under_way:
                    break
                for done in wait(self._under_way, return_when=FIRST_COMPLETED).done:
                    self._end(self._under_way.pop(done), done)
        left = [task.told("left", "for the next round: the time is over") for task in self._left()]
        return self._asked + left

    def _next(self) -> _Task | None:
        """The next vendor's next call that may begin."""
        busy = [task.deployment for task in self._under_way.values()]
        if len(busy) >= self._poller.threads:
            return None
        crowded = sum(bool(one.failures) for one in busy) >= max(self._poller.threads // 2, 1)
        for _ in range(len(self._turns)):
            vendor = self._turns[0]
            self._turns.rotate(-1)
            waiting = self._waiting[vendor]
            if sum(one.vendor_id == vendor for one in busy) >= self._poller.each:
                continue
            if waiting and not (crowded and waiting[0].deployment.failures):
                return waiting.popleft()
        return None

    def _end(self, task: _Task, done: Future[Asked | Refusal]) -> None:
        error = done.exception()
        if error is not None:  # its lease ends by itself
            log.warning("a poll of %s could not be noted: %s", task.bar.deployment_id, type(error).__name__)
            self._asked.append(task.told("not noted", "the database did not take it: it is asked again"))
            return
        result = done.result()
        if isinstance(result, Asked):
            self._asked.append(result)
            return
        self._asked.append(task.told("not asked", result.value))
        self._drop(task.deployment, result)

    def _drop(self, deployment: Row[Any], refusal: Refusal) -> None:
        """What would be refused as well is not tried."""
        waiting = self._waiting[deployment.vendor_id]
        if refusal is Refusal.BUDGET:
            waiting.clear()
        elif refusal in {Refusal.OFF, Refusal.BREAKER}:
            mine = [task for task in waiting if task.deployment.deployment_id != deployment.deployment_id]
            self._waiting[deployment.vendor_id] = deque(mine)

    def _left(self) -> Iterable[_Task]:
        return (task for waiting in self._waiting.values() for task in waiting)


def _ask(poller: Poller, passes: Passes, task: _Task, question: bytes) -> Asked | Refusal:
    """Claims, asks with no transaction open, notes."""
    with poller.db.begin() as tx:
        claimed = claim(tx, task.bar, poller.terms)
    if isinstance(claimed, Refusal):
        return claimed
    said = _say(poller, passes, task.deployment, question)
    noted = _note(poller, claimed, said)
    if noted is None:
        return task.told("not noted", "its claim was over", said)
    return task.told(noted.outcome.value, noted.reason, said)


def _say(poller: Poller, passes: Passes, deployment: Row[Any], question: bytes) -> Said:
    try:
        door = _door(poller, deployment)
    except MarketplaceError as error:  # of the vendor's credential
        return Said(None, reason=error.message, passes=True)
    if door.wants_pass:
        door = replace(door, bearer=passes.of(deployment.vendor_id, deployment.deployment_id))
    return poller.asker.ask(door, question)


def _door(poller: Poller, deployment: Row[Any]) -> Door:
    if deployment.provider is None:
        return Door(deployment.infer_url, poller.guard)
    host, hosted = poller.hosts.get((deployment.provider, deployment.kind)), hosted_of(deployment)
    if host is None or hosted is None:
        raise InvalidInputError(f"the marketplace runs no servers on {deployment.provider} any more")
    return host.door(hosted)


def _note(poller: Poller, claimed: Claim, said: Said) -> Noted | None:
    try:
        with poller.db.begin() as tx:
            return note(tx, poller.signer, claimed, said, poller.terms)
    except DatabaseDownError:
        raise
    except MarketplaceError as error:  # nothing of it was stored: that is what is noted
        why = f"its answer cannot be stored: {error.message}"
        refused = Said(None, said.status, why, milliseconds=said.milliseconds)
        with poller.db.begin() as tx:
            return note(tx, poller.signer, claimed, refused, poller.terms)


def outcomes(asked: Iterable[Asked]) -> dict[str, int]:
    """How many bars had which outcome, those of the store always among them."""
    counts = {one.value: 0 for one in PollOutcome}
    for one in asked:
        counts[one.outcome] = counts.get(one.outcome, 0) + 1
    return counts
