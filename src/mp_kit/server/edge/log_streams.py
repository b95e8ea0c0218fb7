"""Live logs: server-sent events out of a run's rows.

1. A stream holds no thread and no database connection while it waits; each look is one small statement.
2. Streams are bounded, in all and per vendor; one lives ten minutes at most, then its client resumes where it was. Its
   token is looked at with each look at the log: a revocation ends the stream.
3. Every line bears the number that resumes after it as its id; the end is an event of its own, so that a cut is no end.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import anyio
from litestar.concurrency import sync_to_thread
from litestar.response import ServerSentEventMessage

from mp_kit.contracts import RunLogs
from mp_kit.errors import AuthError, ForbiddenError, RateLimitedError, UnavailableError
from mp_kit.server.house import House
from mp_kit.server.services import runs

__all__ = ["Streams", "follow"]

POLL_SECONDS = 1.0
KEEP_ALIVE_SECONDS = 15.0
LONGEST_SECONDS = 600.0
MOST_STREAMS = 200
MOST_PER_VENDOR = 10
_RETRY_SECONDS = 5.0


class Streams:
    """The streams that are open in this process.

    Args:
        most: In all.
        per_vendor: Of one vendor.
    """

    def __init__(self, most: int = MOST_STREAMS, per_vendor: int = MOST_PER_VENDOR) -> None:
        self._most = most
        self._per_vendor = per_vendor
        self._open: Counter[str] = Counter()
        self._lock = threading.Lock()

    def check(self, vendor_id: str) -> None:
        """Refuses a stream that would be one too many.

        Raises:
            RateLimitedError: There is no room; the log is still read by pages.
        """
        with self._lock:
            if self._has_room(vendor_id):
                return
        raise RateLimitedError(
            "Too many logs are being followed at once.",
            hint=f"End one of yours (at most {self._per_vendor} per vendor), or read the log by pages.",
            retry_after=_RETRY_SECONDS,
        )

    @contextmanager
    def seat(self, vendor_id: str) -> Iterator[bool]:
        """Counts a stream for the length of a block; False if others were quicker and there is no room."""
        with self._lock:
            free = self._has_room(vendor_id)
            self._open[vendor_id] += free
        try:
            yield free
        finally:
            with self._lock:
                self._open[vendor_id] -= free
                self._open += Counter()  # forgets vendors that have none

    def _has_room(self, vendor_id: str) -> bool:
        return self._open.total() < self._most and self._open[vendor_id] < self._per_vendor


async def follow(
    house: House, streams: Streams, vendor_id: str, run_id: str, after: int, token: str
) -> AsyncIterator[ServerSentEventMessage]:
    """The log from line ``after`` on, as it grows, until the run is over.

    Args:
        house: For its database.
        streams: The caller has checked that there is room.
        vendor_id: Whose run.
        run_id: The run.
        after: The number of the first line that is wanted.
        token: What opened the stream; revoked, it ends it.
    """
    with streams.seat(vendor_id) as free:
        if not free:
            return
        yield ServerSentEventMessage(comment="connected", retry=int(POLL_SECONDS * 1_000), data=None)
        began = spoke = time.monotonic()
        while (now := time.monotonic()) - began < LONGEST_SECONDS:
            try:
                head, page = await sync_to_thread(_news, house, vendor_id, run_id, after, token)
            except (UnavailableError, AuthError, ForbiddenError):
                return  # the client resumes: by then the database may be back, and who may not is told so
            for line in page.lines if page else ():
                yield ServerSentEventMessage(event="log", id=line.seq + 1, data=line.model_dump_json())
            if page:
                after, spoke = page.next, now
            elif head.is_over:
                yield ServerSentEventMessage(event="end", id=after, data="{}")
                return
            else:
                if now - spoke >= KEEP_ALIVE_SECONDS:
                    spoke = now
                    yield ServerSentEventMessage(comment="waiting", data=None)
                await anyio.sleep(POLL_SECONDS)


def _news(house: House, vendor_id: str, run_id: str, after: int, token: str) -> tuple[runs.LogHead, RunLogs | None]:
    """How far the log is, and a page of it if there is something new; for whoever may still see it."""
    house.tokens.authenticate(token, house.db.begin)
    with house.db.begin() as tx:
        head = runs.log_head(tx, vendor_id, run_id)
        return head, runs.logs(tx, vendor_id, run_id, after=after) if head.next > after else None
