"""Reads the time columns of the world's bar files as instants in UTC."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from mp_kit.errors import BarsError
from mp_kit.market.bars import BAR_SCHEMA

__all__ = ["parse_times"]

_UTC = BAR_SCHEMA.field("timestamp").type
_NAIVE = pa.timestamp("us")
_REWRITES = (
    (r"^(\d{4})[./](\d{2})[./](\d{2})", r"\1-\2-\3"),  # MetaTrader
    (r"^(\d{2})\.(\d{2})\.(\d{4})", r"\3-\2-\1"),  # Dukascopy: day first, as always with dots
    (r"^(\d{4})(\d{2})(\d{2})( |$)", r"\1-\2-\3\4"),  # HistData, Lean
    (r"^(\S+) (\d{2})(\d{2})(\d{2})$", r"\1 \2:\3:\4"),  # HistData
    (r" ?(GMT|UTC)?([+-]\d{2}):?(\d{2})$", r"\2:\3"),
    (r" ?(GMT|UTC)$", "Z"),
)
_ZONED = r"(Z|[+-]\d{2}:\d{2})$"
_DATES = (19_000_101, 29_991_231)
_EPOCH_UNITS = ((1e11, "s"), (1e14, "ms"), (1e17, "us"), (1e20, "ns"))


def parse_times(values: pa.ChunkedArray, where: str, notes: list[str]) -> pa.ChunkedArray:
    """Reads a column of times.

    Args:
        values: Timestamps, dates, strings, or numbers (seconds to nanoseconds since 1970, or YYYYMMDD).
        where: The file, for errors.
        notes: Gets a sentence for what the column does not say itself.

    Returns:
        ``timestamp[us, UTC]``; nulls stay nulls.

    Raises:
        BarsError: No known format, or one with and without a zone mixed.
    """
    kind = values.type
    try:
        if pa.types.is_timestamp(kind):
            return _from_timestamps(values, notes)
        if pa.types.is_date(kind):
            return _assumed_utc(values.cast(_NAIVE), notes)
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            return _from_numbers(values, notes)
        return _from_strings(values.cast(pa.string()), notes)
    except pa.ArrowException as error:
        sample = values[0].as_py() if len(values) else None
        raise BarsError(
            f"{where}: times such as {sample!r} cannot be read ({error}).",
            hint="Write them as RFC 3339 in UTC: 2024-01-31T13:00:00Z.",
        ) from error


def _from_timestamps(values: pa.ChunkedArray, notes: list[str]) -> pa.ChunkedArray:
    if values.type.tz is None:
        return _assumed_utc(values.cast(_NAIVE, safe=False), notes)
    return values.cast(_UTC, safe=False)


def _assumed_utc(naive: pa.ChunkedArray, notes: list[str]) -> pa.ChunkedArray:
    notes.append("Times carry no zone: taken as UTC.")
    return pc.assume_timezone(naive, "UTC")


def _from_numbers(values: pa.ChunkedArray, notes: list[str]) -> pa.ChunkedArray:
    largest = pc.max(values).as_py() or 0
    if _DATES[0] <= (pc.min(values).as_py() or 0) and largest <= _DATES[1]:
        return _from_strings(values.cast(pa.int64()).cast(pa.string()), notes)
    unit = next((name for limit, name in _EPOCH_UNITS if largest < limit), "ns")
    notes.append(f"Times are numbers: read as {unit} since 1970 in UTC.")
    return values.cast(pa.int64()).cast(pa.timestamp(unit, tz="UTC")).cast(_UTC, safe=False)


def _from_strings(values: pa.ChunkedArray, notes: list[str]) -> pa.ChunkedArray:
    texts = pc.utf8_trim_whitespace(values)
    for pattern, replacement in _REWRITES:
        texts = pc.replace_substring_regex(texts, pattern, replacement)
    zoned = pc.any(pc.match_substring_regex(texts, _ZONED)).as_py()
    return texts.cast(_UTC) if zoned else _assumed_utc(texts.cast(_NAIVE), notes)
