"""Delivering: messages are claimed, sent by threads, and what became of each is noted.

1. No transaction is open while anything is sent. A claim is a lease: who dies loses it, and another one sends again,
   under the same ``webhook-id``. So a message arrives at least once, and is never lost.
2. Endpoints do not wait for each other: each has a few messages under way at most, those that failed last share half
   of the threads, and every attempt has an end. Messages of one endpoint may overtake each other.
3. An attempt counts when it begins, so that one that kills its deliverer is not repeated for ever.
4. What is noted of a receiver is its status and our sentence; nothing that it sent.
"""

from __future__ import annotations

import json
import logging
import random
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from sqlalchemy import Row

from mp_kit.contracts import sign_webhook
from mp_kit.errors import DatabaseDownError, IntegrityError
from mp_kit.server.providers.webhook_post import Answer, Poster
from mp_kit.server.services import audit
from mp_kit.server.services.webhooks import secrets_of
from mp_kit.server.store import webhooks as rows
from mp_kit.server.store.engine import Database
from mp_kit.server.vault import Vault

__all__ = ["Courier", "Schedule", "backoff", "deliver", "forget"]

log = logging.getLogger(__name__)

_GONE = 410
_LOG_KEPT = 20
_KEPT_DAYS = 30
_FORGET_AT_ONCE = 5_000
_PAUSE_SECONDS = 2.0


@dataclass(frozen=True)
class Schedule:
    """When a message is sent again, and when no more.

    Args:
        first_seconds: Wait after the first failure.
        factor: Each further wait is this much longer.
        longest_seconds: Longest wait; also of a receiver's Retry-After.
        attempts: A message is dead after so many.
        patience_seconds: An endpoint that failed for so long is disabled.
        lease_seconds: Who claimed a message has so long to send it.
    """

    first_seconds: float = 5.0
    factor: float = 4.0
    longest_seconds: float = 86_400.0
    attempts: int = 10
    patience_seconds: float = 3 * 86_400.0
    lease_seconds: float = 120.0


@dataclass(frozen=True)
class Courier:
    """What delivering works with.

    Args:
        db: Transactions.
        vault: Opens endpoints' secrets.
        poster: Sends.
        schedule: When again.
        threads: Messages under way at once.
        each: Messages to one endpoint at once, while it does well.
    """

    db: Database
    vault: Vault
    poster: Poster
    schedule: Schedule = field(default_factory=Schedule)
    threads: int = 16
    each: int = 4


def backoff(schedule: Schedule, attempt: int, asked: float | None, jitter: float) -> float:
    """Seconds to wait after a failed attempt.

    Exponential: ``first · factor^(attempt - 1)``, up to the longest, times 0.8 to 1.2 by ``jitter``; a receiver's wish
    is a lower bound, up to the longest.

    Args:
        schedule: The bounds.
        attempt: Which attempt failed, from 1.
        asked: The receiver's Retry-After.
        jitter: From 0 to 1.
    """
    grown = min(schedule.first_seconds * schedule.factor ** (attempt - 1), schedule.longest_seconds)
    return max(grown * (0.8 + 0.4 * jitter), min(asked or 0.0, schedule.longest_seconds))


def deliver(
    courier: Courier,
    *,
    seconds: float,
    poll: float = 1.0,
    on_noted: Callable[[bool], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> None:
    """Delivers for a while, through outages of the database.

    Args:
        courier: What to work with.
        seconds: When to end; what is under way is waited for.
        poll: Longest wait between two looks, in seconds.
        on_noted: Hears of each attempt whether the message was taken.
        stop: Asked before each look; true ends it.
    """
    end = time.monotonic() + seconds
    over = stop or (lambda: False)
    with _Round(courier, on_noted or (lambda _: None)) as under_way:
        while time.monotonic() < end and not over():
            try:
                with courier.db.listen(rows.CHANNEL) as listener:
                    while time.monotonic() < end and not over():
                        if not under_way.fill():
                            listener.wait(under_way.pause(min(poll, max(end - time.monotonic(), 0.0))))
            except DatabaseDownError as error:
                log.warning("the database is away: %s", error)
                time.sleep(min(_PAUSE_SECONDS, max(end - time.monotonic(), 0.0)))


def forget(courier: Courier) -> int:
    """Forgets messages older than 30 days; returns how many events."""
    gone = 0
    while True:  # a transaction for each so many: nobody waits long for their locks
        with courier.db.begin() as tx:
            few = rows.forget(tx, days=_KEPT_DAYS, at_most=_FORGET_AT_ONCE)
        gone += few
        if few < _FORGET_AT_ONCE:
            return gone


class _Round:
    """What is under way: how many threads are free, and which endpoints are being sent to."""

    _SHORTEST = 0.02

    def __init__(self, courier: Courier, on_noted: Callable[[bool], None]) -> None:
        self._courier = courier
        self._on_noted = on_noted
        self._pool = ThreadPoolExecutor(courier.threads, thread_name_prefix="webhook")
        self._lock = threading.Lock()
        self._busy: dict[str, int] = {}
        self._failing = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def fill(self) -> int:
        """Claims for the threads that are free, and starts them; returns how many messages it found."""
        with self._lock:
            free = self._courier.threads - sum(self._busy.values())
            slow = min(free, self._courier.threads // 2 - self._failing)
        return self._take(free, failing=False) + self._take(min(slow, free), failing=True)

    def pause(self, poll: float) -> float:
        """How long to wait for news: not long while an endpoint may be through and want its next message."""
        with self._lock:
            return min(poll, self._SHORTEST * 5) if self._busy else poll

    def _take(self, at_most: int, *, failing: bool) -> int:
        with self._lock:
            busy = [*self._busy]
            at_most = min(at_most, self._courier.threads - sum(self._busy.values()))
        if at_most <= 0:
            return 0
        with self._courier.db.begin() as tx:
            claimed = rows.claim(
                tx,
                lock_token=secrets.token_hex(8),
                lease_seconds=self._courier.schedule.lease_seconds,
                busy=busy,
                failing=failing,
                each=1 if failing else self._courier.each,
                at_most=at_most,
            )
        for row in claimed:
            self._begin(row, failing=failing)
        return len(claimed)

    def _begin(self, row: Row[Any], *, failing: bool) -> None:
        with self._lock:
            self._busy[row.endpoint_id] = self._busy.get(row.endpoint_id, 0) + 1
            self._failing += failing
        future = self._pool.submit(_attempt, self._courier, row)
        future.add_done_callback(lambda done: self._end(row.endpoint_id, done, failing=failing))

    def _end(self, endpoint_id: str, done: Future[bool], *, failing: bool) -> None:
        with self._lock:
            self._failing -= failing
            self._busy[endpoint_id] -= 1
            if not self._busy[endpoint_id]:
                del self._busy[endpoint_id]
        error = done.exception()
        if error is None:
            self._on_noted(done.result())
        else:  # the lease ends by itself, and the message is sent again
            log.warning("a message to %s could not be noted: %s", endpoint_id, type(error).__name__)


def _attempt(courier: Courier, row: Row[Any]) -> bool:
    began = datetime.now(UTC)
    answer = _send(courier, row, began)
    entry = {
        "at": began.isoformat().replace("+00:00", "Z"),
        "http_status": answer.status,
        "error": answer.error,
        "milliseconds": answer.milliseconds,
    }
    _note(courier, row, answer, entry)
    return answer.is_taken


def _send(courier: Courier, row: Row[Any], began: datetime) -> Answer:
    body = row.body.encode()
    try:
        signing = secrets_of(courier.vault, row)
    except IntegrityError:
        log.exception("the secret of webhook %s does not open", row.endpoint_id)
        return Answer(None, "its secret does not open: rotate it", None, 0)
    return courier.poster.post(row.url, sign_webhook(row.event_id, int(began.timestamp()), body, signing), body)


def _note(courier: Courier, row: Row[Any], answer: Answer, entry: dict[str, Any]) -> None:
    schedule = courier.schedule
    gone, spent = answer.status == _GONE, row.attempts >= schedule.attempts
    status = "delivered" if answer.is_taken else "dead" if gone or spent else "pending"
    wait = 0.0
    if status == "pending":
        wait = backoff(schedule, row.attempts, answer.retry_after, random.random())  # noqa: S311 - jitter needs no secrecy
    facts = {"id": row.id, "lock_token": row.lock_token, "status": status, "wait_seconds": wait, "kept": _LOG_KEPT}
    with courier.db.begin() as tx:
        if not rows.note(tx, facts | {"entry": json.dumps([entry])}):
            return  # the lease was over, or the message is replayed: another attempt counts
        if answer.is_taken:
            rows.succeeded(tx, row.endpoint_id)
            return
        patience = schedule.patience_seconds
        after = rows.failed(tx, row.endpoint_id, gone=gone, reason=answer.error or "", patience_seconds=patience)
        if after is not None and after.status == "disabled":
            audit.record(tx, "flow:deliver-webhooks", "webhook.disable", row.endpoint_id, reason=after.disabled_reason)
