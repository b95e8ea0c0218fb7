"""What a Parquet file is made of, byte by byte: the ranges and digests that let somebody read a part and prove it.

1. One pass over the file: its own hash, its footer's and those of all column chunks.
2. A column chunk's bytes are all its pages, dictionary included, as its footer places them.
3. The footer is the file's end: its metadata, their length in four bytes, and the magic.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["Described", "Footer", "RowGroup", "bounds", "describe"]

TIME_COLUMN = "timestamp"
_TAIL_BYTES = 8  # the metadata's length in four bytes, and the magic
_HASH_CHUNK = 1 << 20


@dataclass(frozen=True)
class Footer:
    """The file's last bytes: how many, and their SHA-256 in hexadecimal."""

    length: int
    sha256: str


@dataclass(frozen=True)
class RowGroup:
    """Where a row group lies: byte range, rows, and its first and last timestamp in RFC 3339 (None if unknown).

    ``chunks`` has the SHA-256 of each column chunk's bytes by the column's name.
    """

    offset: int
    length: int
    rows: int
    min_time: str | None
    max_time: str | None
    chunks: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Described:
    """A Parquet file's bytes.

    Attributes:
        sha256: Of the whole file, hexadecimal.
        size_bytes: Its length.
        rows: Rows in all row groups.
        footer: Its end.
        row_groups: In file order, those without rows left out.
    """

    sha256: str
    size_bytes: int
    rows: int
    footer: Footer
    row_groups: list[RowGroup]


def describe(content: pa.Buffer) -> Described:
    """Describes a Parquet file.

    Args:
        content: All its bytes; a memory map is read once, from its beginning to its end.

    Example:
        >>> with pa.memory_map("train-EURUSD.parquet") as file:
        ...     describe(file.read_buffer()).row_groups[0].chunks["close"]
    """
    metadata = pq.read_metadata(pa.BufferReader(content))
    view = memoryview(content)
    length = int.from_bytes(view[-_TAIL_BYTES:-4], "little") + _TAIL_BYTES
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    groups = [group for group in groups if group.num_rows]
    wanted = [bounds(group.column(number)) for group in groups for number in range(group.num_columns)]
    wanted.append((len(view) - length, len(view)))
    whole, parts = _digests(view, wanted)
    return Described(
        sha256=whole,
        size_bytes=len(view),
        rows=metadata.num_rows,
        footer=Footer(length, parts[wanted[-1]]),
        row_groups=[_group(group, parts) for group in groups],
    )


def bounds(chunk: Any) -> tuple[int, int]:
    """First byte and end of a column chunk, from its metadata as pyarrow gives them."""
    start = min(page for page in (chunk.dictionary_page_offset, chunk.data_page_offset) if page)
    return start, start + chunk.total_compressed_size


def _digests(view: memoryview, wanted: list[tuple[int, int]]) -> tuple[str, dict[tuple[int, int], str]]:
    """Hash of all bytes and of each wanted range; the ranges are in order and don't overlap."""
    whole, parts = hashlib.sha256(), {}
    for start, end, is_wanted in _pieces(wanted):
        part = hashlib.sha256()
        for begin in range(start, end, _HASH_CHUNK):
            piece = view[begin : min(end, begin + _HASH_CHUNK)]  # hashed twice while the processor has it at hand
            whole.update(piece)
            if is_wanted:
                part.update(piece)
        parts[start, end] = part.hexdigest()
    return whole.hexdigest(), parts


def _pieces(wanted: list[tuple[int, int]]) -> Iterator[tuple[int, int, bool]]:
    """The ranges and what lies between them."""
    position = 0
    for start, end in sorted(wanted):
        if position < start:
            yield position, start, False
        yield start, end, True
        position = end


def _group(group: Any, parts: dict[tuple[int, int], str]) -> RowGroup:
    chunks = {group.column(number).path_in_schema: group.column(number) for number in range(group.num_columns)}
    ranges = {name: bounds(chunk) for name, chunk in chunks.items()}
    first, last = _times(chunks.get(TIME_COLUMN))
    return RowGroup(
        offset=min(start for start, _ in ranges.values()),
        length=sum(end - start for start, end in ranges.values()),
        rows=group.num_rows,
        min_time=first,
        max_time=last,
        chunks={name: parts[span] for name, span in ranges.items()},
    )


def _times(chunk: Any) -> tuple[str | None, str | None]:
    statistics = chunk.statistics if chunk is not None else None
    if statistics is None or not statistics.has_min_max:
        return None, None
    return _rfc3339(statistics.min), _rfc3339(statistics.max)


def _rfc3339(moment: Any) -> str | None:
    """None for a time without a zone or no time at all: nobody can compare those with an instant."""
    if getattr(moment, "tzinfo", None) is None:
        return None
    text: str = moment.isoformat()
    return text.replace("+00:00", "Z")
