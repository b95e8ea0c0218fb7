"""The work of a transfer: one job per file, one cursor per range of it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mp_kit.client.journal import Arrived, Leftover, adopt
from mp_kit.client.partial import Partial, Wanted
from mp_kit.client.ranges import Span, gaps, spans


class Sink(Protocol):
    """Where the bytes of one file go; several threads write their ranges into it."""

    wanted: Wanted
    etag: str | None
    is_resumed: bool

    def write(self, data: bytes | memoryview, offset: int) -> None:
        """Takes all of ``data``, which lies at ``offset`` in the file; the buffer is used again afterwards."""
        ...

    def note(self, arrived: Arrived) -> None:
        """A range is there."""
        ...

    def note_etag(self, etag: str | None) -> None:
        """The first ETag that was seen is the file's."""
        ...

    def restart(self) -> None:
        """The file is being fetched from its beginning."""
        ...

    def finish(self, found: str | None = None) -> None:
        """All ranges are there: proves them, or raises IntegrityError."""
        ...


class Work(Protocol):
    """One file on its way, for those who bring its ranges home."""

    whole: bool
    again: bool

    def open(self) -> Sink:
        """Where its bytes go."""
        ...

    def land(self, length: int) -> bool:
        """Counts a range in; True for the last one."""
        ...


@dataclass
class Job:
    """One file on its way; ``again`` asks for a second pass, whole."""

    wanted: Wanted
    spans: Sequence[Span]
    whole: bool = False
    again: bool = False
    leftover: Leftover | None = None
    partial: Partial | None = None
    landed: int = 0
    left: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.left = len(self.spans)
        if self.leftover is not None:
            self.landed = self.resumed
            self.partial = Partial(self.wanted, self.leftover)

    @property
    def resumed(self) -> int:
        """Bytes that a dead process left."""
        return sum(found.end - found.start for found in self.leftover.ranges) if self.leftover else 0

    def open(self) -> Partial:
        """Its temporary; made when the first range needs it."""
        with self.lock:
            if self.partial is None:
                self.partial = Partial(self.wanted)
            return self.partial

    def land(self, length: int) -> bool:
        """Counts a range in; True for the last one."""
        with self.lock:
            self.landed += length
            self.left -= 1
            return self.left == 0


def plan(wanted: Wanted, *, stream: int, length: int) -> Job:
    """What is to be fetched of a file: what a dead process left of it is not.

    Args:
        wanted: The file.
        stream: Up to this size it is fetched in one piece.
        length: Else in ranges of this length.
    """
    leftover = adopt(wanted.target, wanted.sha256, wanted.size_bytes)
    if leftover is None:
        whole = wanted.size_bytes <= stream
        return Job(wanted, list(spans(wanted.size_bytes, whole=whole, length=length)))
    there = [(found.start, found.end) for found in leftover.ranges]
    missing = list(gaps(wanted.size_bytes, there, length=length))
    return Job(wanted, missing, leftover=leftover)


@dataclass
class Cursor:
    """How far one range is, over all its attempts."""

    span: Span
    checkpoint: int
    done: int = 0
    noted: int = 0
    attempts: int = 0
    renewals: int = 0
    refused: str | None = None
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    @property
    def rest(self) -> Span:
        """What has not arrived."""
        return self.span.after(self.done)

    def take(self, data: bytes | memoryview) -> Arrived | None:
        """Counts bytes in, in order; says what has arrived when it is time to write that down."""
        self.digest.update(data)
        self.done += len(data)
        if self.done - self.noted < self.checkpoint and self.rest.length:
            return None
        self.noted = self.done
        return Arrived(self.span.start, self.span.start + self.done, self.digest.copy().hexdigest())

    def rewind(self) -> None:
        """Starts the range from its beginning."""
        self.done = self.noted = 0
        self.digest = hashlib.sha256()
