"""Which bytes to ask for, and whether an answer gives exactly them. Pure: no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from mp_kit.errors import TransferError

RANGE_BYTES = 8 * 1024 * 1024
"""Length of one range: long enough that requests cost nothing, short enough to balance the threads."""

SHORTEST_BYTES = 1024 * 1024
"""No range is shorter, unless it is the last one or asked for: a request costs a round trip."""

SHARES = 4
"""A file longer than this part of a thread's work is cut, so that no thread is left alone with it at the end."""

WHOLE = 200
PARTIAL = 206

_CONTENT_RANGE = re.compile(r"^bytes (\d+)-(\d+)/(\d+|\*)$")


class Verdict(Enum):
    """What an answer is worth."""

    TAKE = "take"
    """Exactly the bytes that were asked for."""
    REFETCH = "refetch"
    """Ranges are ignored, or the file changed meanwhile: fetch it whole, from its beginning."""


@dataclass(frozen=True)
class Span:
    """Bytes ``start`` to ``end`` (excluded) of a file of ``size`` bytes."""

    start: int
    end: int
    size: int

    @property
    def length(self) -> int:
        """How many bytes."""
        return self.end - self.start

    @property
    def is_whole(self) -> bool:
        """It is the entire file."""
        return self.start == 0 and self.end == self.size

    def after(self, done: int) -> Span:
        """What is left when the first ``done`` bytes are there."""
        return Span(self.start + done, self.end, self.size)

    def headers(self, etag: str | None) -> dict[str, str]:
        """The request's headers: none for an entire file, else the range, bound to the file's ETag."""
        if self.is_whole:
            return {}
        asked = {"Range": f"bytes={self.start}-{self.end - 1}"}
        # A weak ETag may not stand in If-Range (RFC 9110, 13.1.5): the server would answer 200.
        return asked | {"If-Range": etag} if etag and not etag.startswith("W/") else asked


def spans(size: int, *, whole: bool = False, length: int = RANGE_BYTES) -> Iterator[Span]:
    """Cuts a file into ranges in order; one span for an empty file or where ranges are not wanted."""
    if whole or size <= length:
        yield Span(0, size, size)
        return
    yield from gaps(size, [(0, 0)], length=length)


def gaps(size: int, there: Iterable[tuple[int, int]], *, length: int = RANGE_BYTES) -> Iterator[Span]:
    """Cuts what is missing of a file into ranges.

    Args:
        size: The file's bytes.
        there: First byte and end of what has arrived, in order, without overlaps.
        length: Of a range, at most.
    """
    begin = 0
    for first, end in [*there, (size, size)]:
        for start in range(begin, first, length):
            yield Span(start, min(first, start + length), size)
        begin = end


def range_length(total: int, threads: int, longest: int = RANGE_BYTES) -> int:
    """How long ranges are, so that a small transfer keeps all threads busy too."""
    return min(longest, max(SHORTEST_BYTES, total // (threads * SHARES)))


def check(name: str, span: Span, status: int, headers: Mapping[str, str], etag: str | None) -> Verdict:
    """Judges an answer before a byte of it is used.

    Args:
        name: The file, for the message.
        span: What was asked for.
        status: 200 or 206.
        headers: The answer's headers.
        etag: The ETag that the file had at first, if it had one.

    Raises:
        TransferError: Another length, another range or another encoding than asked for.
    """
    if headers.get("Content-Encoding", "identity") not in {"identity", ""}:
        raise TransferError(f"{name}: the server sent the bytes encoded, though identity was asked for.")
    if etag and headers.get("ETag", etag) != etag:
        return Verdict.REFETCH
    if status == PARTIAL:
        _check_partial(name, span, headers)
        return Verdict.TAKE
    if not span.is_whole:
        return Verdict.REFETCH
    if (offered := headers.get("Content-Length") or str(span.size)) != str(span.size):
        raise TransferError(f"{name}: the server offers {offered} bytes, the manifest says {span.size}.")
    return Verdict.TAKE


def _check_partial(name: str, span: Span, headers: Mapping[str, str]) -> None:
    found = _CONTENT_RANGE.match(headers.get("Content-Range", ""))
    if found is None:
        raise TransferError(f"{name}: an answer 206 without a readable Content-Range.")
    first, last, size = int(found[1]), int(found[2]), found[3]
    if (first, last + 1) != (span.start, span.end) or size not in {"*", str(span.size)}:
        raise TransferError(
            f"{name}: asked for bytes {span.start}-{span.end - 1} of {span.size}, got {first}-{last} of {size}."
        )
