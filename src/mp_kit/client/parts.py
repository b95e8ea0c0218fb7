"""Parts of one remote file, held in memory and proved: what a transfer brings when only some of a file is wanted.

1. A part is given out only after its own SHA-256 matched; nothing else of the file can be read.
2. Parts that touch each other are fetched as one range; what lies between parts is never asked for.
3. The first ETag that was seen binds all later requests.
"""

from __future__ import annotations

import bisect
import hashlib
import io
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mp_kit.client.cache import Cache
from mp_kit.client.journal import Arrived
from mp_kit.client.partial import Wanted
from mp_kit.client.ranges import RANGE_BYTES, Span
from mp_kit.errors import IntegrityError


@dataclass(frozen=True)
class Part:
    """Bytes ``start`` to ``end`` (excluded) of a file.

    Args:
        start: First byte.
        end: Byte after the last.
        sha256: What they hash to.
        what: What they are, in words for an error.
    """

    start: int
    end: int
    sha256: str
    what: str


class Parts:
    """The parts of one file on their way: a transfer's work, and where the bytes go.

    Args:
        wanted: The whole file, of which they are parts.
        parts: Without overlaps.
        etag: The file's ETag, if it was seen before.
    """

    whole = False
    is_resumed = False

    def __init__(self, wanted: Wanted, parts: Iterable[Part], etag: str | None = None) -> None:
        self.wanted = wanted
        self.etag = etag
        self.again = False
        self.fetched = 0
        self.proved: dict[int, memoryview] = {}
        self._parts = sorted(parts, key=lambda part: part.start)
        runs = list(_joined(self._parts))
        self._starts = [start for start, _ in runs]
        self._runs = [bytearray(end - start) for start, end in runs]
        self._missing = sum(map(len, self._runs))
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(map(len, self._runs))

    def spans(self, length: int = RANGE_BYTES) -> list[Span]:
        """The ranges to ask for, each at most of this length."""
        return [
            Span(begin, min(begin + length, start + len(run)), self.wanted.size_bytes)
            for start, run in zip(self._starts, self._runs, strict=True)
            for begin in range(start, start + len(run), length)
        ]

    def open(self) -> Parts:
        """The bytes go here."""
        return self

    def land(self, length: int) -> bool:
        """Counts a range in; True for the last one."""
        with self._lock:
            self._missing -= length
            return self._missing == 0

    def write(self, data: bytes | memoryview, offset: int) -> None:
        """Takes bytes of a range that was asked for."""
        number = bisect.bisect_right(self._starts, offset) - 1
        begin = offset - self._starts[number]
        with memoryview(self._runs[number]) as run:
            run[begin : begin + len(data)] = data
        with self._lock:
            self.fetched += len(data)

    def note(self, arrived: Arrived) -> None:
        """Nothing is written down: what is in memory dies with us."""

    def note_etag(self, etag: str | None) -> None:
        """Remembers the first ETag that was seen."""
        with self._lock:
            self.etag = self.etag or etag

    def restart(self) -> None:
        """Nothing to forget: the ranges are written over."""

    def finish(self, found: str | None = None) -> None:  # noqa: ARG002 - the hash of a whole file; this is none
        """Proves all parts.

        Raises:
            IntegrityError: One is not what the signed manifest promises; the message says which.
        """
        for part in self._parts:
            number = bisect.bisect_right(self._starts, part.start) - 1
            begin = part.start - self._starts[number]
            held = memoryview(self._runs[number])[begin : begin + part.end - part.start]
            got = hashlib.sha256(held).hexdigest()
            if got != part.sha256:
                raise IntegrityError(
                    f"{self.wanted.name}, {part.what}: expected sha256 {part.sha256}, got {got}.",
                    hint="Nothing of it was used. Fetch it again; if it happens twice, tell the operator.",
                )
            self.proved[part.start] = held.toreadonly()

    def keep(self, cache: Cache) -> None:
        """Gives the proved parts to a cache."""
        for part in self._parts:
            cache.keep(part.sha256, self.proved[part.start])


def _joined(parts: Sequence[Part]) -> Iterator[tuple[int, int]]:
    """Runs of parts that touch each other."""
    start = end = -1
    for part in parts:
        if part.start != end:
            if end > start:
                yield start, end
            start = part.start
        end = part.end
    if end > start:
        yield start, end


class Held(io.RawIOBase):
    """A file of which only proved parts can be read.

    Args:
        name: Of the file, for the message.
        size: Its length.
        parts: Bytes by the offset of their first one.
    """

    def __init__(self, name: str, size: int, parts: Mapping[int, memoryview | bytes]) -> None:
        super().__init__()
        self._name = name
        self._size = size
        self._parts = parts
        self._starts = sorted(parts)
        self._at = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves there."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, all of them or an error.

        Raises:
            IntegrityError: They are not part of what was proved.
        """
        number = bisect.bisect_right(self._starts, self._at) - 1
        start = self._starts[number] if number >= 0 else 0
        part = self._parts.get(start, b"")
        begin = self._at - start
        if size < 0 or begin + size > len(part):
            raise IntegrityError(f"{self._name}: bytes at {self._at} were to be used that nobody has proved.")
        self._at += size
        return bytes(part[begin : begin + size])
