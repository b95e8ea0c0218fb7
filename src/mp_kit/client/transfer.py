"""Fetches files by signed URLs: ranges in parallel, resumed, verified, all or nothing per file.

1. The status and the headers are judged before a byte reaches disk; only 200 for an entire file and 206 with exactly
   the asked range count.
2. A range that breaks off goes on where it stopped, bound to the same ETag; a server that ignores ranges, or a file
   that changed, is fetched once more, whole.
3. A finished file has its manifest's sha256; a mismatch leaves no file. A file that comes in one piece is hashed as it
   comes, others when their last range is there.
4. Whatever ends the transfer, finished files stay. A temporary stays only beside a journal of what it holds
   (:mod:`mp_kit.client.journal`), and the next transfer of the file goes on from it.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from mp_kit.client.failures import failure_of
from mp_kit.client.http import Patience
from mp_kit.client.jobs import Cursor, Job, Sink, Work, plan
from mp_kit.client.opener import Body, Opener
from mp_kit.client.partial import Wanted, is_disk_error
from mp_kit.client.progress import OnProgress, Tally
from mp_kit.client.ranges import PARTIAL, RANGE_BYTES, SHARES, WHOLE, Span, Verdict, check, range_length, spans
from mp_kit.client.urls import UrlBook
from mp_kit.errors import (
    AuthError,
    ForbiddenError,
    IntegrityError,
    InternalError,
    InvalidInputError,
    MarketplaceError,
    TimeoutExceededError,
    TransferError,
)

THREADS = 8
CHUNK_BYTES = 256 * 1024
"""What is hashed and written at once, from one buffer per thread: it stays in the processor's cache meanwhile."""
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
        bytes: Bytes fetched, those of files that were fetched again included once.
        seconds: How long it took.
        resumed: Bytes that a killed transfer had left, proved by their hashes.
    """

    fetched: list[str]
    kept: list[str]
    bytes: int
    seconds: float
    resumed: int = 0


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
        self._local = threading.local()

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
        _check_room(missing, sum(file.size_bytes for file in missing))
        jobs = self._plan(missing)
        tally = Tally(sum(file.size_bytes for file in missing), self._report)
        for job in jobs:
            tally.add(job.landed, job.wanted.name)
        again = [Job(file, list(spans(file.size_bytes, whole=True)), whole=True) for file in self._pass(jobs, tally)]
        if self._pass(again, tally):
            raise TransferError("A file kept changing on the server while it was being fetched.")
        kept = [file.name for file, found in zip(files, there, strict=True) if found]
        resumed = sum(job.resumed for job in jobs if not job.again)
        return Fetched([file.name for file in missing], kept, tally.moved - resumed, time.monotonic() - began, resumed)

    def gather(self, works: Iterable[tuple[Work, Sequence[Span]]], tally: Tally) -> None:
        """Brings ranges home wherever their works put them, with all that :meth:`run` does about faults but one.

        A work whose ``again`` is set afterwards has not come: ranges are ignored, or the file changed meanwhile.

        Raises:
            MarketplaceError: As :meth:`run`, and whatever a work's ``finish`` raises.
        """
        self._stop.clear()
        self._run(deque((work, span) for work, asked in works for span in asked), tally)

    def _plan(self, files: Sequence[Wanted]) -> list[Job]:
        total = sum(file.size_bytes for file in files)
        length = range_length(total, self._threads, self._range_bytes)
        stream = max(length, total // (self._threads * SHARES))
        with ThreadPoolExecutor(self._threads) as pool:
            return list(pool.map(lambda file: plan(file, stream=stream, length=length), files))

    def _pass(self, jobs: Sequence[Job], tally: Tally) -> list[Wanted]:
        """Fetches the files once; returns those that need another pass."""
        tasks: deque[tuple[Work, Span]] = deque((job, span) for job in jobs for span in job.spans)
        keep = False
        try:
            for job in jobs:
                if not job.spans:  # all of it was left behind
                    self._finish(job, None)
            self._run(tasks, tally)
        except BaseException as error:
            keep = not is_disk_error(error)
            raise
        finally:
            for job in jobs:
                if job.partial is not None:
                    job.partial.leave() if keep and not (job.again or job.whole) else job.partial.discard()
        for job in jobs:
            if job.again:
                tally.add(-job.landed, job.wanted.name)
        return [job.wanted for job in jobs if job.again]

    def _run(self, tasks: deque[tuple[Work, Span]], tally: Tally) -> None:
        with ThreadPoolExecutor(self._threads, thread_name_prefix="mp-transfer") as pool:
            workers = [pool.submit(self._work, tasks, tally) for _ in range(min(self._threads, len(tasks)))]
            try:
                for worker in workers:
                    worker.result()
            except BaseException:
                self._stop.set()
                raise

    def _work(self, tasks: deque[tuple[Work, Span]], tally: Tally) -> None:
        while not self._stop.is_set():
            try:
                job, span = tasks.popleft()
            except IndexError:
                return
            try:
                self._fetch(job, Cursor(span, self._range_bytes), tally)
            except BaseException:
                self._stop.set()
                raise

    def _fetch(self, job: Work, cursor: Cursor, tally: Tally) -> None:
        """Brings one range home, however many attempts it takes."""
        partial = job.open()
        while not (job.again or self._stop.is_set()):
            before = cursor.done
            try:
                verdict = self._attempt(partial, cursor, tally)
            except MarketplaceError as error:
                kept = cursor.done > before and not job.whole  # of a whole file nothing is: it begins anew
                cursor.attempts = 1 if kept else cursor.attempts + 1
                self._bear(error, cursor)
                if job.whole:
                    self._rewind(partial, cursor, tally)
                continue
            job.again = job.again or verdict is Verdict.REFETCH
            if not job.again and not cursor.rest.length:
                if job.land(cursor.span.length):
                    self._finish(job, cursor)
                return
        if job.again:
            self._rewind(partial, cursor, tally)

    @staticmethod
    def _finish(job: Work, cursor: Cursor | None) -> None:
        """Verifies and names the file; one whose resumed part proves wrong is fetched again, whole."""
        partial = job.open()
        try:
            partial.finish(cursor.digest.hexdigest() if cursor and cursor.span.is_whole else None)
        except IntegrityError:
            if not partial.is_resumed:
                raise
            job.again = True

    def _attempt(self, partial: Sink, cursor: Cursor, tally: Tally) -> Verdict:
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

    def _drain(self, body: Body, partial: Sink, cursor: Cursor, tally: Tally) -> None:
        name, since, arrived = partial.wanted.name, time.monotonic(), 0
        buffer = self._buffer()
        while (left := cursor.rest.length) and not self._stop.is_set():
            count = body.readinto(buffer[:left])
            if not count:
                raise TransferError(f"{name}: the body ended {left} bytes early.")
            data = buffer[:count]
            partial.write(data, cursor.rest.start)
            arrived_range = cursor.take(data)
            if arrived_range is not None and not (cursor.span.is_whole and not cursor.rest.length):
                partial.note(arrived_range)
            arrived += count
            tally.add(count, name)
            if (elapsed := time.monotonic() - since) >= self._floor.window_seconds:
                if arrived < self._floor.bytes_per_second * elapsed:
                    raise TimeoutExceededError(f"{name}: only {arrived} bytes came in {elapsed:.0f} s.")
                since, arrived = time.monotonic(), 0

    def _buffer(self) -> memoryview:
        """This thread's own, used for all that it fetches."""
        if not hasattr(self._local, "buffer"):
            self._local.buffer = memoryview(bytearray(CHUNK_BYTES))
        buffer: memoryview = self._local.buffer
        return buffer

    def _bear(self, error: MarketplaceError, cursor: Cursor) -> None:
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
    def _rewind(partial: Sink, cursor: Cursor, tally: Tally) -> None:
        tally.add(-cursor.done, partial.wanted.name)
        cursor.rewind()
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
