"""The columns of a batch as it came: rows of JSON or an Arrow table, both read alike.

What a source cannot read by columns it marks, row by row; it decides nothing about such rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from mp_kit.contracts.common import Instant
from mp_kit.contracts.signal_rules import extra_json
from mp_kit.server.store.signal_columns import Documents, Ints, Mask, Words, micros

__all__ = ["Dicts", "Source", "Table"]

_FIRST, _LAST = -62_135_510_400_000_000, 253_402_128_000_000_000  # a day inside the calendar, whatever the zone
_RFC3339 = (
    r"^[12]\d{3}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?"
    r"(Z|[+-](0\d|1[0-4]):[0-5]\d)$"
)
_INSTANT: TypeAdapter[Any] = TypeAdapter(Instant)
_ODD = object()  # stands for a value that cannot be told by its hash, and fits no rule


class Source(Protocol):
    """A batch's columns."""

    @property
    def readable(self) -> Mask:
        """Rows that can be read by columns at all."""

    def words(self, name: str) -> Words:
        """A column as words; None where a row has nothing there."""

    def instants(self, name: str) -> tuple[Ints, Mask, Mask]:
        """A column as microseconds since 1970; where there is anything, and where what is there is an instant."""

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column as numbers; NaN where there is none, or something odd."""

    def documents(self, name: str, fits: Callable[[Any], bool], plain: Mask) -> Documents:
        """A column as JSON texts, None when all rows have nothing; rows that do not fit are no longer plain."""


class Dicts:
    """Rows of JSON, already in our own dialect.

    Args:
        rows: As they came; those that are no objects are not readable.
    """

    def __init__(self, rows: Sequence[Any]) -> None:
        self.readable: Mask = np.fromiter((type(row) is dict for row in rows), bool, len(rows))
        self._rows = rows if self.readable.all() else [row if type(row) is dict else {} for row in rows]

    def _column(self, name: str) -> list[Any]:
        return [row.get(name) for row in self._rows]

    def words(self, name: str) -> Words:
        """A column as words."""
        values = self._column(name)
        try:
            return Words.of(values)
        except TypeError:  # a list or an object among them
            return Words.of([value if type(value) is str or value is None else _ODD for value in values])

    def instants(self, name: str) -> tuple[Ints, Mask, Mask]:
        """A column as instants."""
        return _instants(self.words(name))

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column as numbers."""
        values = self._column(name)
        known = (float(value) if type(value) in {float, int} and -1 <= value <= 1 else np.nan for value in values)
        return np.fromiter(known, np.float64, len(values))

    def documents(self, name: str, fits: Callable[[Any], bool], plain: Mask) -> Documents:
        """A column as JSON texts."""
        values = self._column(name)
        return None if values.count(None) == len(values) else _render(name, values, fits, plain)


class Table:
    """An Arrow table.

    Args:
        table: As it came, its buffers checked.
    """

    def __init__(self, table: pa.Table) -> None:
        # A name that occurs twice has no column of its own: the rules decide what that means.
        names = table.column_names
        self.readable: Mask = np.full(table.num_rows, len(set(names)) == len(names))
        self._columns = {
            name: table.column(place).combine_chunks()
            if table.column(place).num_chunks != 1
            else table.column(place).chunk(0)
            for place, name in enumerate(names)
        }
        self._rows = table.num_rows

    def words(self, name: str) -> Words:
        """A column as words; any but texts are odd."""
        column = self._columns.get(name)
        if column is None or pa.types.is_null(column.type):
            return Words(np.full(self._rows, -1, np.int64), [None])
        if isinstance(column, pa.DictionaryArray):
            known = column
        elif pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            known = column.dictionary_encode()
        else:
            codes = np.where(column.is_null().to_numpy(zero_copy_only=False), -1, 0)
            return Words(codes, [_ODD, None])
        codes = pc.fill_null(known.indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
        if not (pa.types.is_string(known.dictionary.type) or pa.types.is_large_string(known.dictionary.type)):
            return Words(np.where(codes < 0, codes, 0), [_ODD, None])
        return Words(codes, [*known.dictionary.to_pylist(), None])

    def instants(self, name: str) -> tuple[Ints, Mask, Mask]:
        """A column as instants."""
        column = self._columns.get(name)
        if column is None or not pa.types.is_timestamp(column.type):
            return _instants(self.words(name))
        given = column.is_valid().to_numpy(zero_copy_only=False)
        try:
            pa.scalar(0, column.type).as_py()  # does anybody know the zone?
            moments = pc.fill_null(column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64()), 0)
        except (pa.ArrowException, ValueError, LookupError, OSError):
            return np.zeros(self._rows, np.int64), given, ~given
        found = moments.to_numpy(zero_copy_only=False)
        known = (found > _FIRST) & (found < _LAST) & (column.type.tz is not None)
        return found, given, known | ~given

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column as numbers."""
        column = self._columns.get(name)
        if column is None or not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
            return np.full(self._rows, np.nan)
        found: NDArray[np.float64] = pc.fill_null(column.cast(pa.float64(), safe=False), np.nan).to_numpy(
            zero_copy_only=False
        )
        return found

    def documents(self, name: str, fits: Callable[[Any], bool], plain: Mask) -> Documents:
        """A column as JSON texts."""
        column = self._columns.get(name)
        if column is None or column.null_count == self._rows:
            return None
        try:
            values = column.to_pylist()
        except (pa.ArrowException, ValueError, OverflowError, LookupError):
            plain[:] = False
            return None
        return _render(name, values, fits, plain)


def _instants(words: Words) -> tuple[Ints, Mask, Mask]:
    found, known = _parse(words.words[:-1])
    return np.append(found, 0)[words.codes], words.codes >= 0, np.append(known, True)[words.codes]


def _parse(words: Sequence[Any]) -> tuple[Ints, Mask]:
    """Instants of words, and which words are instants; common texts all at once, others by the contract's type."""
    texts = pa.array([word if type(word) is str and word.isascii() else None for word in words], pa.string())
    usual = pc.fill_null(pc.match_substring_regex(texts, _RFC3339), fill_value=False)
    try:
        parsed = pc.if_else(usual, texts, None).cast(pa.timestamp("us", "UTC"))
        known = usual.to_numpy(zero_copy_only=False).copy()
    except pa.ArrowInvalid:  # such as the 30th of February
        parsed, known = pa.nulls(len(words), pa.int64()), np.zeros(len(words), bool)
    found = pc.fill_null(parsed.cast(pa.int64()), 0).to_numpy(zero_copy_only=False).copy()
    for place in np.flatnonzero(~known).tolist():
        try:
            found[place] = micros(_INSTANT.validate_python(words[place]))
        except (ValidationError, TypeError):
            continue
        known[place] = True
    return found, known


def _render(name: str, values: Sequence[Any], fits: Callable[[Any], bool], plain: Mask) -> Documents:
    """JSON of what can be rendered; rows that cannot are no longer plain."""
    rendered: list[str | None] = [None] * len(values)
    for row, value in enumerate(values):
        if value is None:
            continue
        with suppress(ValueError):  # the rules themselves tell why
            rendered[row] = extra_json(name, value) if fits(value) else None
        plain[row] &= rendered[row] is not None
    return rendered
