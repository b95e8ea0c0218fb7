"""Bars of one symbol: the table every later step works on.

1. A bar's timestamp is its open, in UTC.
2. The table has exactly the columns of :data:`BAR_SCHEMA`; nothing is said here about its order or quality
   (``quality.check`` does that).
3. Resampling only ever makes bars longer: shorter ones would be invented.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from mp_kit.contracts.common import Symbol
from mp_kit.errors import BarsError
from mp_kit.market.timeframes import Timeframe, seconds

__all__ = ["BAR_SCHEMA", "PRICES", "Bars", "column", "instant", "make_table", "resample", "times_of"]

PRICES = ("open", "high", "low", "close")

BAR_SCHEMA: pa.Schema = pa.schema(
    [("timestamp", pa.timestamp("us", tz="UTC")), *((name, pa.float64()) for name in (*PRICES, "volume"))]
)

_SYMBOL: TypeAdapter[str] = TypeAdapter(Symbol)


@dataclass(frozen=True)
class Bars:
    """OHLCV bars of one symbol.

    Attributes:
        symbol: For example ``EURUSD``.
        timeframe: Length of a bar: 1m 5m 15m 1h 4h 1d.
        table: Columns and types of :data:`BAR_SCHEMA`.
    """

    symbol: str
    timeframe: Timeframe
    table: pa.Table

    def __post_init__(self) -> None:
        """Refuses a symbol that the wire cannot carry and a table of another shape."""
        seconds(self.timeframe)
        try:
            _SYMBOL.validate_python(self.symbol)
        except ValidationError as error:
            raise BarsError(
                f"{self.symbol!r} is no symbol: {error.errors()[0]['msg']}.",
                hint="Rename the file or the symbol column's values, for example to EURUSD.",
            ) from error
        if not self.table.schema.equals(BAR_SCHEMA, check_metadata=False):
            seen = ", ".join(f"{field.name} {field.type}" for field in self.table.schema)
            raise BarsError(
                f"{self.symbol}: a bar table has the columns {', '.join(BAR_SCHEMA.names)}; this one has {seen}."
            )

    @property
    def rows(self) -> int:
        """How many bars."""
        rows: int = self.table.num_rows
        return rows

    def times(self) -> NDArray[np.int64]:
        """Bar opens, microseconds since 1970 in UTC, in table order."""
        return times_of(self.table)


def column(table: pa.Table, name: str) -> NDArray[np.float64]:
    """A column as one contiguous float64 array, nulls as NaN."""
    values: NDArray[np.float64] = np.ascontiguousarray(
        table.column(name).to_numpy(zero_copy_only=False), dtype=np.float64
    )
    return values


def times_of(table: pa.Table) -> NDArray[np.int64]:
    """The ``timestamp`` column in microseconds since 1970, where possible a view; a null is the smallest int64."""
    values = table.column("timestamp").to_numpy(zero_copy_only=False)
    times: NDArray[np.int64] = np.ascontiguousarray(values.astype("datetime64[us]", copy=False)).view(np.int64)
    return times


def instant(microseconds: int) -> str:
    """RFC 3339 in UTC with ``Z``, as on the wire."""
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=int(microseconds))
    return moment.isoformat().replace("+00:00", "Z")


def make_table(times: NDArray[np.int64], columns: dict[str, NDArray[np.float64]]) -> pa.Table:
    """Puts arrays together as a bar table.

    Args:
        times: Bar opens in microseconds since 1970, UTC.
        columns: ``open high low close volume``, each as long as ``times``.

    Returns:
        A table of :data:`BAR_SCHEMA`.
    """
    stamps = pa.array(times, type=pa.int64()).cast(BAR_SCHEMA.field("timestamp").type)
    values = [pa.array(columns[name], type=pa.float64()) for name in BAR_SCHEMA.names[1:]]
    return pa.table([stamps, *values], schema=BAR_SCHEMA)


def resample(bars: Bars, timeframe: Timeframe) -> Bars:
    """Makes longer bars: first open, highest high, lowest low, last close, summed volume.

    Buckets lie on the UTC grid of the new timeframe. A bucket that only part of the bars fall into (at the edges
    of the data, of a weekend, of a gap) is built from those: that a bar is missing is ``quality.check``'s to say.

    Args:
        bars: In order of time, without duplicates.
        timeframe: The same or a longer one that is a whole multiple.

    Returns:
        The same symbol's bars in the new timeframe.

    Raises:
        BarsError: A shorter timeframe was asked for, or the bars are not in order.
    """
    old, new = seconds(bars.timeframe), seconds(timeframe)
    if new < old or new % old:
        raise BarsError(
            f"{bars.symbol}: {bars.timeframe} bars cannot become {timeframe} bars.",
            hint="Resampling only goes up, to a whole multiple.",
        )
    if new == old or not bars.rows:
        return Bars(bars.symbol, timeframe, bars.table)
    times = bars.times()
    if np.any(np.diff(times) <= 0):
        raise BarsError(
            f"{bars.symbol}: bars must be in order and unique before they are resampled.",
            hint="Open the source without a timeframe and set the round's: it resamples after the check.",
        )
    buckets = times - times % (new * 1_000_000)
    starts = np.flatnonzero(np.r_[True, np.diff(buckets) > 0])
    ends = np.r_[starts[1:], times.size] - 1
    columns = {
        "open": column(bars.table, "open")[starts],
        "high": np.maximum.reduceat(column(bars.table, "high"), starts),
        "low": np.minimum.reduceat(column(bars.table, "low"), starts),
        "close": column(bars.table, "close")[ends],
        "volume": np.add.reduceat(column(bars.table, "volume"), starts),
    }
    return Bars(bars.symbol, timeframe, make_table(buckets[starts], columns))
