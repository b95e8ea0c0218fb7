"""Fetches files by signed URLs: ranges in parallel, resumed, verified, all or nothing per file.

1. The status and the headers are judged before a byte reaches disk; only 200 for an entire file and 206 with exactly
   the asked range count.
2. A range that breaks off goes on where it stopped, bound to the same ETag; a server that ignores ranges, or a file
   that changed, is fetched once more, whole.
3. A finished file has its manifest's sha256; a mismatch leaves no file.
4. Whatever ends the transfer, no temporary stays behind; finished files do.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from mp_kit.client.failures import failure_of
from mp_kit.client.http import Patience
from mp_kit.client.opener import Body, Opener
from mp_kit.client.partial import Partial, Wanted, is_disk_error
from mp_kit.client.progress import OnProgress, Tally
from mp_kit.client.ranges import PARTIAL, RANGE_BYTES, WHOLE, Span, Verdict, check, spans
from mp_kit.client.urls import UrlBook
from mp_kit.errors import (
    AuthError,
    ForbiddenError,
    InternalError,
    InvalidInputError,
    MarketplaceError,
    TimeoutExceededError,
    TransferError,
)

THREADS = 8
CHUNK_BYTES = 1024 * 1024
MAX_RENEWALS = 2
ERROR_BODY_BYTES = 64 * 1024
UNSATISFIABLE = 416


@dataclass(frozen=True)
class Floor:
    """The slowest that a connection may be before another one is tried.

    Args:
        bytes_per_second: The rate.
        window_seconds: Over how long it is measured.
    """

    bytes_per_second: float = 1024.0
    window_seconds: float = 30.0


@dataclass(frozen=True)
class Fetched:
    """What a transfer did.

    Args:
        fetched: Names of the files that were fetched.
        kept: Names of the files that were there already, proved by their hash.
        bytes: Bytes fetched.
        seconds: How long it took.
    """

    fetched: list[str]
    kept: list[str]
    bytes: int
    seconds: float


@dataclass
class _Job:
    """One file on its way; ``again`` asks for a second pass, whole."""

    wanted: Wanted
    spans: list[Span]
    whole: bool
    again: bool = False
    partial: Partial | None = None
    landed: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def land(self, length: int) -> None:
        with self.lock:
            self.landed += length

    def open(self) -> Partial:
        with self.lock:
            if self.partial is None:
                self.partial = Partial(self.wanted, len(self.spans))
            return self.partial


@dataclass
class _Cursor:
    """How far one range is, over all its attempts."""

    span: Span
    done: int = 0
    attempts: int = 0
    renewals: int = 0
    refused: str | None = None

    @property
    def rest(self) -> Span:
        return self.span.after(self.done)


class Transfer:
    """Fetches a set of files.

    Args:
        opener: Opens URLs.
        book: Knows and renews the URLs.
        threads: Ranges in flight.
        range_bytes: Length of a range.
        on_progress: Told as bytes arrive.
        patience: How long a range goes on without progress.
        floor: The slowest that a connection may be.
        sleep: Waits; tests pass their own.
    """

    def __init__(
        self,
        opener: Opener,
        book: UrlBook,
        *,
        threads: int = THREADS,
        range_bytes: int = RANGE_BYTES,
        on_progress: OnProgress | None = None,
        patience: Patience | None = None,
        floor: Floor | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._opener = opener
        self._book = book
        self._threads = threads
        self._range_bytes = range_bytes
        self._report = on_progress
        self._patience = patience or Patience(attempts=8, first_wait=0.25, longest_wait=5.0)
        self._floor = floor or Floor()
        self._sleep = sleep
        self._stop = threading.Event()

    def run(self, files: Sequence[Wanted]) -> Fetched:
        """Fetches what is not there yet.

        Raises:
            IntegrityError: A file's bytes are not the promised ones; names file, expected and found hash.
            TransferError: The disk is full, a file kept changing, or the server serves something else.
            NetworkError: No connection, for as long as our patience lasts.
            TimeoutExceededError: The connections stalled.
        """
        began = time.monotonic()
        self._stop.clear()
        if len({file.target for file in files}) != len(files):
            raise InvalidInputError("Two files of the transfer would land in the same place.")
        with ThreadPoolExecutor(self._threads) as pool:
            there = list(pool.map(lambda file: file.is_there, files))
        missing = [file for file, found in zip(files, there, strict=True) if not found]
        size = sum(file.size_bytes for file in missing)
        _check_room(missing, size)
        tally = Tally(size, self._report)
        changed = self._pass(missing, tally, whole=False)
        if self._pass(changed, tally, whole=True):
            raise TransferError("A file kept changing on the server while it was being fetched.")
        kept = [file.name for file, found in zip(files, there, strict=True) if found]
        return Fetched([file.name for file in missing], kept, size, time.monotonic() - began)

    def _pass(self, files: Sequence[Wanted], tally: Tally, *, whole: bool) -> list[Wanted]:
        """Fetches the files once; returns those that need another pass."""
        length = self._range_bytes
        jobs = [_Job(file, list(spans(file.size_bytes, whole=whole, length=length)), whole) for file in files]
        tasks = deque((job, span) for job in jobs for span in job.spans)
        try:
            with ThreadPoolExecutor(self._threads, thread_name_prefix="mp-transfer") as pool:
                workers = [pool.submit(self._work, tasks, tally) for _ in range(min(self._threads, len(tasks)))]
                try:
                    for worker in workers:
                        worker.result()
                except BaseException:
                    self._stop.set()
                    raise
        finally:
            for job in jobs:
                if job.partial is not None:
                    job.partial.discard()
        for job in jobs:
            if job.again:
                tally.add(-job.landed, job.wanted.name)
        return [job.wanted for job in jobs if job.again]

    def _work(self, tasks: deque[tuple[_Job, Span]], tally: Tally) -> None:
        while not self._stop.is_set():
            try:
                job, span = tasks.popleft()
            except IndexError:
                return
            try:
                self._fetch(job, _Cursor(span), tally)
            except BaseException:
                self._stop.set()
                raise

    def _fetch(self, job: _Job, cursor: _Cursor, tally: Tally) -> None:
        """Brings one range home, however many attempts it takes."""
        partial = job.open()
        while not (job.again or self._stop.is_set()):
            before = cursor.done
            try:
                verdict = self._attempt(partial, cursor, tally)
            except MarketplaceError as error:
                cursor.attempts = 1 if cursor.done > before else cursor.attempts + 1
                self._bear(error, cursor)
                if job.whole:
                    self._rewind(partial, cursor, tally)
                continue
            job.again = job.again or verdict is Verdict.REFETCH
            if not job.again and not cursor.rest.length:
                job.land(cursor.span.length)
                if partial.arrived():
                    partial.finish()
                return
        self._rewind(partial, cursor, tally)

    def _attempt(self, partial: Partial, cursor: _Cursor, tally: Tally) -> Verdict:
        name, rest = partial.wanted.name, cursor.rest
        url = self._book.url(name, cursor.refused)
        with self._opener.open(url, rest.headers(partial.etag)) as body:
            if body.status == UNSATISFIABLE:
                return Verdict.REFETCH
            if body.status not in {WHOLE, PARTIAL}:
                cursor.refused = url
                raise failure_of(f"GET {name}", body.status, body.headers, body.read(ERROR_BODY_BYTES))
            cursor.refused = None
            verdict = check(name, rest, body.status, body.headers, partial.etag)
            if verdict is Verdict.TAKE:
                partial.note_etag(body.headers.get("ETag"))
                self._drain(body, partial, cursor, tally)
            return verdict

    def _drain(self, body: Body, partial: Partial, cursor: _Cursor, tally: Tally) -> None:
        name, since, arrived = partial.wanted.name, time.monotonic(), 0
        while (left := cursor.rest.length) and not self._stop.is_set():
            data = body.read(min(CHUNK_BYTES, left))
            if not data:
                raise TransferError(f"{name}: the body ended {left} bytes early.")
            partial.write(data, cursor.rest.start)
            cursor.done += len(data)
            arrived += len(data)
            tally.add(len(data), name)
            if (elapsed := time.monotonic() - since) >= self._floor.window_seconds:
                if arrived < self._floor.bytes_per_second * elapsed:
                    raise TimeoutExceededError(f"{name}: only {arrived} bytes came in {elapsed:.0f} s.")
                since, arrived = time.monotonic(), 0

    def _bear(self, error: MarketplaceError, cursor: _Cursor) -> None:
        """Waits for the next attempt, or raises when there is none."""
        if isinstance(error, (AuthError, ForbiddenError)):
            cursor.renewals += 1
            if cursor.renewals > MAX_RENEWALS:
                raise error
            return
        cursor.refused = None
        hopeless = is_disk_error(error) or not (error.retryable or isinstance(error, InternalError))
        wait = self._patience.wait(cursor.attempts, error.retry_after)
        if hopeless or cursor.attempts >= self._patience.attempts or wait > self._patience.total_wait:
            raise error
        self._sleep(wait)

    @staticmethod
    def _rewind(partial: Partial, cursor: _Cursor, tally: Tally) -> None:
        tally.add(-cursor.done, partial.wanted.name)
        cursor.done = 0
        partial.restart()


def _check_room(files: Sequence[Wanted], size: int) -> None:
    if not files:
        return
    folder = files[0].target.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < size:
        raise TransferError(
            f"The disk is full: {size:,} bytes are needed in {folder}, {free:,} are free.",
            hint="Free some space or choose another folder; finished files are kept.",
        )
