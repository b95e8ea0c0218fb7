"""Signals by columns, on their way into the database.

A batch of thousands is handled by columns from the border on: instants and numbers are numpy arrays, texts are words
with a code per row (a batch names few symbols, versions and decisions). What goes to the database in one go is made of
the columns: arrays for a small batch, a binary COPY for a large one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["EPOCH", "Columns", "Documents", "Ints", "Mask", "Words", "instant", "micros"]

Ints: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]
Documents: TypeAlias = "Sequence[str | None] | None"
"""JSON texts by row; None when no row has one."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)
_PG_EPOCH = 946_684_800_000_000  # 2000-01-01, where Postgres counts from
_HEAD = b"PGCOPY\n\xff\r\n\x00" + struct.pack(">ii", 0, 0)
_TAIL = struct.pack(">h", -1)
_NULL = struct.pack(">i", -1)
_FIELDS = 12
_MAX_CODE = 1 << 62
_FIXED = np.dtype(
    [
        ("fields", ">i2"),
        ("event_time_size", ">i4"),
        ("event_time", ">i8"),
        ("ts_size", ">i4"),
        ("ts", ">i8"),
        ("confidence_size", ">i4"),
        ("confidence", ">f8"),
        ("row_no_size", ">i4"),
        ("row_no", ">i4"),
        ("late_size", ">i4"),
        ("late", "u1"),
    ]
)


def micros(when: datetime) -> int:
    """Microseconds since 1970 of an aware instant."""
    return (when - EPOCH) // _MICRO


def instant(since: int) -> datetime:
    """The instant so many microseconds since 1970."""
    return EPOCH + since * _MICRO


@dataclass(frozen=True)
class Words:
    """A column of texts.

    Args:
        codes: The word of each row, by its place.
        words: The words; the last one is what a code of -1 means, which is None or a default.
    """

    codes: Ints
    words: Sequence[Any]

    @staticmethod
    def of(values: Sequence[Any]) -> Words:
        """The words of values that are hashable."""
        known = {value: code for code, value in enumerate(dict.fromkeys(v for v in values if v is not None))}
        codes = np.fromiter(map({**known, None: -1}.__getitem__, values), np.int64, len(values))
        return Words(codes, [*known, None])

    def list(self) -> list[Any]:
        """The text of each row."""
        return [self.words[code] for code in self.codes.tolist()]

    def take(self, rows: Mask | Ints) -> Words:
        """Some rows of it."""
        return Words(self.codes[rows], self.words)

    def tell(self, verdicts: Sequence[bool]) -> Mask:
        """A verdict on each row from the verdicts on the words."""
        found: Mask = np.array(verdicts, bool)[self.codes]
        return found


@dataclass(frozen=True)
class Columns:
    """Good rows, in the order of their numbers.

    Args:
        row_no: Their places in the batch as sent.
        event_time: The bars they speak of, in microseconds since 1970.
        ts: When they were made, likewise.
        confidence: From 0 to 1.
        late: They came too long after their bars to count for scores.
        texts: ``symbol``, ``timeframe``, ``model_version``, ``decision`` and ``model_id``.
        rationale: JSON texts; None when no row has one.
        metadata: Likewise.
    """

    row_no: Ints
    event_time: Ints
    ts: Ints
    confidence: NDArray[np.float64]
    late: Mask
    texts: Mapping[str, Words]
    rationale: Documents = None
    metadata: Documents = None

    def __len__(self) -> int:
        return len(self.row_no)

    def take(self, rows: Ints) -> Columns:
        """Some rows of it, by their places here."""
        picked = rows.tolist()
        return Columns(
            self.row_no[rows],
            self.event_time[rows],
            self.ts[rows],
            self.confidence[rows],
            self.late[rows],
            {name: words.take(rows) for name, words in self.texts.items()},
            None if self.rationale is None else [self.rationale[row] for row in picked],
            None if self.metadata is None else [self.metadata[row] for row in picked],
        )

    def arrays(self) -> dict[str, Any]:
        """Lists by column, as the driver takes them for arrays."""
        return {
            "row_no": self.row_no.tolist(),
            "event_time": [instant(at) for at in self.event_time.tolist()],
            "ts": [instant(at) for at in self.ts.tolist()],
            "confidence": self.confidence.tolist(),
            "late": self.late.tolist(),
            **{name: words.list() for name, words in self.texts.items()},
            "rationale": list(self.rationale or [None] * len(self)),
            "metadata": list(self.metadata or [None] * len(self)),
        }

    def copy_bytes(self) -> bytes:
        """All rows as Postgres takes them by ``COPY … (FORMAT BINARY)``.

        Fields in order: event_time, ts, confidence, row_no, late, the texts in their order, rationale, metadata.
        """
        pieces = zip(self._fixed(), self._texts(), *self._documents(), strict=True)
        return b"".join([_HEAD, *chain.from_iterable(pieces), _TAIL])

    def _fixed(self) -> Iterator[bytes]:
        rows = np.empty(len(self), _FIXED)
        rows["fields"] = _FIELDS
        for name, values in (
            ("event_time", self.event_time - _PG_EPOCH),
            ("ts", self.ts - _PG_EPOCH),
            ("confidence", self.confidence),
            ("row_no", self.row_no),
            ("late", self.late),
        ):
            rows[f"{name}_size"] = _FIXED[name].itemsize
            rows[name] = values
        packed, size = rows.tobytes(), _FIXED.itemsize
        return (packed[place : place + size] for place in range(0, len(packed), size))

    def _texts(self) -> Iterator[bytes]:
        """The texts of a row stand together; few of the combinations occur, and each is rendered once."""
        code, total = np.zeros(len(self), np.int64), 1
        for words in self.texts.values():
            if total * len(words.words) > _MAX_CODE:
                found, code = np.unique(code, return_inverse=True)
                total = len(found)
            total *= len(words.words)
            code = code * len(words.words) + words.codes % len(words.words)
        _, first, which = np.unique(code, return_index=True, return_inverse=True)
        fields = [
            [rendered[place] for place in words.codes[first].tolist()]
            for words in self.texts.values()
            for rendered in [[_field(word) for word in words.words]]
        ]
        blobs = [b"".join(parts) for parts in zip(*fields, strict=True)]
        return map(blobs.__getitem__, which.tolist())

    def _documents(self) -> Iterator[Sequence[bytes]]:
        for texts in (self.rationale, self.metadata):
            if texts is None:
                yield [_NULL] * len(self)
            else:
                yield [_field(None if text is None else f"\x01{text}") for text in texts]  # 1: jsonb's own version


def _field(text: str | None) -> bytes:
    if text is None:
        return _NULL
    raw = text.encode()
    return struct.pack(">i", len(raw)) + raw
