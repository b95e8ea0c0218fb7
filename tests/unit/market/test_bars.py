"""Bars and resampling."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from mp_kit.contracts.common import Timeframe
from mp_kit.errors import BarsError
from mp_kit.market.bars import BAR_SCHEMA, Bars, column, instant, make_table, resample
from mp_kit.market.timeframes import seconds, sniff_timeframe

HOUR = 3_600_000_000


def test_bars_wrong_columns():
    """Another shape is refused with what it is."""
    with pytest.raises(BarsError, match=r"this one has close int64"):
        Bars("EURUSD", "1h", pa.table({"close": [1]}))


def test_bars_unknown_timeframe(make_bars: Callable[..., Bars]):
    """A timeframe that the wire does not have is refused."""
    with pytest.raises(BarsError, match="'1w' is unknown"):
        Bars("EURUSD", "1w", make_bars(5).table)


@pytest.mark.parametrize("symbol", ["", "^GSPC", "../up", "X" * 33])
def test_bars_impossible_symbol(make_bars: Callable[..., Bars], symbol: str):
    """A name that the wire cannot carry is refused before anything is built from it."""
    with pytest.raises(BarsError, match="is no symbol"):
        Bars(symbol, "1h", make_bars(5).table)


def test_seconds_takes_the_enum_of_the_wire():
    """The contracts' enum is a string that works here too."""
    assert seconds(Timeframe.H4) == 14_400


@pytest.mark.parametrize("timeframe", ["1m", "15m"])
def test_resample_down(make_bars: Callable[..., Bars], timeframe: str):
    """Shorter bars would be invented."""
    with pytest.raises(BarsError, match="cannot become"):
        resample(make_bars(10), timeframe)


def test_resample_unordered(make_bars: Callable[..., Bars]):
    """Bars out of order are refused, not silently mixed."""
    bars = make_bars(10)
    shuffled = bars.table.take([3, 1, 2])
    with pytest.raises(BarsError, match="in order"):
        resample(Bars("EURUSD", "1h", shuffled), "4h")


def test_resample_values():
    """First open, highest high, lowest low, last close, summed volume; a partial bucket is built from what it has."""
    values = {
        "open": np.array([1.0, 2.0, 3.0, 4.0, 5.0]),
        "high": np.array([1.5, 9.0, 3.5, 4.5, 5.5]),
        "low": np.array([0.9, 1.9, 0.1, 3.9, 4.9]),
        "close": np.array([1.1, 2.1, 3.1, 4.1, 5.1]),
        "volume": np.array([1.0, 2.0, 3.0, 4.0, 5.0]),
    }
    bars = Bars("EURUSD", "1h", make_table(HOUR * np.array([4, 5, 6, 7, 10]), values))
    expected = make_table(
        HOUR * np.array([4, 8]),
        {
            "open": np.array([1.0, 5.0]),
            "high": np.array([9.0, 5.5]),
            "low": np.array([0.1, 4.9]),
            "close": np.array([4.1, 5.1]),
            "volume": np.array([10.0, 5.0]),
        },
    )
    assert expected == resample(bars, "4h").table


def test_resample_twice_equals_once(make_bars: Callable[..., Bars]):
    """Hourly to daily is the same through four-hourly."""
    bars = make_bars(500)
    direct, stepwise = resample(bars, "1d").table, resample(resample(bars, "4h"), "1d").table
    for name in BAR_SCHEMA.names[1:5]:
        np.testing.assert_array_equal(column(direct, name), column(stepwise, name))


def test_resample_empty(make_bars: Callable[..., Bars]):
    """No bars give no bars."""
    empty = Bars("EURUSD", "1h", make_bars(5).table.slice(0, 0))
    assert resample(empty, "1d").rows == 0


def test_sniff_timeframe_odd_spacing():
    """A spacing that is no timeframe is named."""
    with pytest.raises(BarsError, match="1800 s apart"):
        sniff_timeframe(1_800_000_000 * np.arange(10), "x.csv")


def test_sniff_timeframe_too_few():
    """Two bars could be anything."""
    with pytest.raises(BarsError, match="2 bars are too few"):
        sniff_timeframe(HOUR * np.arange(2), "x.csv")


def test_sniff_timeframe_through_gaps():
    """The median spacing does not mind weekends."""
    assert sniff_timeframe(HOUR * np.r_[np.arange(50), 100 + np.arange(50)], "x.csv") == "1h"


def test_instant_is_rfc3339():
    """As on the wire, with Z."""
    assert instant(1_704_067_200_000_000) == "2024-01-01T00:00:00Z"
