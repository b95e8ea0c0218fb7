"""The features of a round, computed by the same code for publication and live.

1. Every feature at a bar uses that bar and earlier ones only, and is known when the bar closes.
2. Features are free of scale (returns, ratios to the price or to its own range, z-scores), so that one model can
   learn over many symbols.
3. A finite-window feature of the last row of any table of at least :data:`WARM_UP` bars equals the whole history's
   value to the last bit: windows are added in a fixed order by elementwise IEEE operations, never as running sums.
4. A recursive feature of that row is within its ``bound``: ``|live - whole| <= bound * max(|whole|, 1)``. All of
   them are made of exponential averages whose memory of the start fades as ``(1 - alpha) ** bars``; divisors have a
   floor of :data:`FLOOR` of the price, so that a flat market amplifies nothing.
5. Windows count bars, not hours: a weekend is no longer than a minute.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mp_kit.errors import MissingExtraError
from mp_kit.market import windows
from mp_kit.market.bars import column, times_of
from mp_kit.market.timeframes import Timeframe, seconds

__all__ = ["FEATURES", "FEATURE_NAMES", "FLOOR", "WARM_UP", "Feature", "compute"]

FLOOR = 1e-5
"""Smallest divisor of a recursive feature, as a part of the price: a tenth of a pip at a price of 1."""

WARM_UP = 640
"""Bars that a table must have before its last row counts: 26/27 and 13/14 to this power are below 1e-20."""

RECURSIVE_BOUND = 1e-9

Floats = NDArray[np.float64]

_WILDER = "Wilder, New Concepts in Technical Trading Systems, 1978"
_APPEL = "Appel, Technical Analysis: Power Tools for Active Investors, 2005"
_BOLLINGER = "Bollinger, Bollinger on Bollinger Bands, 2001"
_LANE = "Lane, Lane's Stochastics, Technical Analysis of Stocks & Commodities 2, 1984"
_VOLATILITY = "Andersen, Bollerslev, Diebold, Labys, Econometrica 71, 2003"
_CYCLIC = "cyclic encoding of the calendar"
_RETURN = "simple return"


@dataclass(frozen=True)
class Feature:
    """One column of a round.

    Attributes:
        name: Column name.
        formula: In terms of open o, high h, low l, close c, volume v; ``x[-k]`` is k bars earlier.
        window: Bars that the formula looks at directly.
        warm_up: Bars before the value is defined and within its bound.
        recursive: Whether it depends on the whole history, fading.
        bound: Largest deviation of the live value, relative to max(|value|, 1); 0 means equal to the last bit.
        source: Where the formula comes from.
    """

    name: str
    formula: str
    window: int
    warm_up: int
    recursive: bool
    bound: float
    source: str


def _finite(name: str, formula: str, window: int, source: str) -> Feature:
    return Feature(name, formula, window, window, recursive=False, bound=0.0, source=source)


def _recursive(name: str, formula: str, window: int, source: str) -> Feature:
    return Feature(name, formula, window, WARM_UP, recursive=True, bound=RECURSIVE_BOUND, source=source)


FEATURES: tuple[Feature, ...] = (
    _finite("ret_1", "c / c[-1] - 1", 2, _RETURN),
    _finite("ret_5", "c / c[-5] - 1", 6, _RETURN),
    _finite("ret_20", "c / c[-20] - 1", 21, _RETURN),
    _finite("range_1", "(h - l) / c", 1, "Parkinson, Journal of Business 53, 1980"),
    _finite("sma_20_dev", "c / SMA20(c) - 1", 20, "deviation from the moving average"),
    _finite("sma_5_20", "SMA5(c) / SMA20(c) - 1", 20, "moving-average crossover"),
    _finite("bb_z_20", "(c - SMA20(c)) / STD20(c), 0 where STD20 < 1e-8 c", 20, _BOLLINGER),
    _finite("bb_width_20", "4 STD20(c) / SMA20(c)", 20, _BOLLINGER),
    _finite("vol_20", "sqrt(mean of ret_1 squared over 20 bars)", 21, _VOLATILITY),
    _finite("vol_5_60", "vol over 5 bars / vol over 60 bars, 1 where the market stood still", 61, _VOLATILITY),
    _finite("ret_z_20", "ret_1 / vol_20, 0 where the market stood still", 21, _VOLATILITY),
    _finite("stoch_k_14", "(c - min l) / (max h - min l) over 14 bars, 0.5 where they are equal", 14, _LANE),
    _finite("stoch_d_3", "SMA3(stoch_k_14)", 16, _LANE),
    _finite("volume_z_20", "(v - SMA20(v)) / STD20(v), 0 where volume does not vary", 20, "z-score"),
    _recursive("ema_12_atr", "(c - EMA12(c)) / ATR14", 12, _APPEL),
    _recursive("macd_12_26", "(EMA12(c) - EMA26(c)) / ATR14", 26, _APPEL),
    _recursive("macd_hist_9", "(MACD - EMA9(MACD)) / ATR14", 34, _APPEL),
    _recursive("rsi_14", "(up - down) / (up + down) of Wilder averages: RSI14 / 50 - 1", 15, _WILDER),
    _recursive("atr_14", "ATR14 / c", 15, _WILDER),
    _recursive("di_14", "(+DM - -DM) / (+DM + -DM) of Wilder averages", 15, _WILDER),
    _recursive("adx_14", "Wilder average of |di_14|: ADX14 / 100", 28, _WILDER),
    _finite("day_sin", "sin(2 pi x time of day at the bar's close)", 1, _CYCLIC),
    _finite("day_cos", "cos(2 pi x time of day at the bar's close)", 1, _CYCLIC),
    _finite("week_sin", "sin(2 pi x time of week at the bar's close)", 1, _CYCLIC),
    _finite("week_cos", "cos(2 pi x time of week at the bar's close)", 1, _CYCLIC),
)
"""Every feature, in the order of the columns."""

FEATURE_NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)

_REACH = max(feature.window for feature in FEATURES if not feature.recursive)
_BLOCK = 16_384  # rows whose intermediate results stay in the processor's cache


def compute(table: pa.Table, timeframe: Timeframe, *, narrow: bool = False) -> pa.Table:
    """Appends the features to bars.

    Args:
        table: Checked bars (``quality.check``), in order of time; other columns are kept.
        timeframe: Length of a bar: the time of day is that of the bar's close.
        narrow: Round the features to float32, as files keep them; all but vol_20, which labels are made of.

    Returns:
        The table with one float64 column per feature; NaN where a window is not full yet. A recursive feature has
        values before row ``WARM_UP``, which still remember where the table begins: don't use them.

    Raises:
        MissingExtraError: TA-Lib is not installed.
        BarsError: The timeframe is unknown.
    """
    bars = {name: column(table, name) for name in ("high", "low", "close", "volume")}
    angles = _calendar(times_of(table), seconds(timeframe))
    values: dict[str, NDArray[np.floating[Any]]] = {}

    def lay(own: slice, parts: dict[str, Floats]) -> None:
        for name, part in parts.items():
            _whole(values, name, table.num_rows, narrow=narrow)[own] = part

    for own, _, block in _blocks({**bars, **_averages(bars)}, 0):  # first: averages go before the rest comes
        lay(own, _recursives(block))
    for own, before, block in _blocks(bars, _REACH):
        parts = {**_returns(block), **_levels(block), **_volatilities(block)}
        lay(own, {name: part[before:] for name, part in parts.items()})
        lay(own, angles(own))
    columns = [pa.array(values[name]) for name in FEATURE_NAMES]
    return pa.table([*table.columns, *columns], names=[*table.column_names, *FEATURE_NAMES])


def _blocks(bars: dict[str, Floats], reach: int) -> Iterator[tuple[slice, int, dict[str, Floats]]]:
    """Runs of rows, each with up to ``reach`` rows that lie before it; says how many."""
    for start in range(0, max(bars["close"].size, 1), _BLOCK):
        first, end = max(start - reach, 0), start + _BLOCK
        yield slice(start, end), start - first, {name: series[first:end] for name, series in bars.items()}


def _whole(values: dict[str, Any], name: str, rows: int, *, narrow: bool) -> NDArray[Any]:
    """The column that blocks are laid into."""
    if name not in values:
        values[name] = np.empty(rows, dtype=np.float32 if narrow and name != "vol_20" else np.float64)
    whole: NDArray[Any] = values[name]
    return whole


def _returns(bars: dict[str, Floats]) -> dict[str, Floats]:
    close = bars["close"]
    return {
        "ret_1": windows.change(close, 1),
        "ret_5": windows.change(close, 5),
        "ret_20": windows.change(close, 20),
        "range_1": (bars["high"] - bars["low"]) / close,
    }


def _levels(bars: dict[str, Floats]) -> dict[str, Floats]:
    close, volume = bars["close"], bars["volume"]
    mean, std = windows.mean_std(close, 20)
    volume_mean, volume_std = windows.mean_std(volume, 20)
    top, bottom = windows.highest(bars["high"], 14), windows.lowest(bars["low"], 14)
    stoch = windows.ratio(close - bottom, top - bottom, floor=0.0, otherwise=0.5)
    return {
        "sma_20_dev": close / mean - 1,
        "sma_5_20": windows.mean(close, 5) / mean - 1,
        "bb_z_20": windows.ratio(close - mean, std, floor=1e-8 * close, otherwise=0.0),
        "bb_width_20": 4 * std / mean,
        "stoch_k_14": stoch,
        "stoch_d_3": windows.mean(stoch, 3),
        "volume_z_20": windows.ratio(volume - volume_mean, volume_std, floor=1e-9 * volume_mean, otherwise=0.0),
    }


def _volatilities(bars: dict[str, Floats]) -> dict[str, Floats]:
    ret = windows.change(bars["close"], 1)
    vol_5, vol_20, vol_60 = (np.sqrt(windows.mean(ret * ret, window)) for window in (5, 20, 60))
    return {
        "vol_20": vol_20,
        "vol_5_60": windows.ratio(vol_5, vol_60, floor=0.0, otherwise=1.0),
        "ret_z_20": windows.ratio(ret, vol_20, floor=0.0, otherwise=0.0),
    }


def _averages(bars: dict[str, Floats]) -> dict[str, Floats]:
    """The exponential averages, which need the whole series."""
    close, moves = bars["close"], _moves(bars)
    averages = {name: _wilder(moves.pop(name)) for name in tuple(moves)}
    averages["fast"] = _ema(close, 12)
    averages["macd"] = averages["fast"] - _ema(close, 26)
    averages["macd_signal"] = _ema(averages["macd"], 9)
    direction = averages.pop("plus")
    for own, _, block in _blocks({"close": close, "plus": direction, "minus": averages.pop("minus")}, 0):
        plus, minus = block["plus"], block["minus"]
        direction[own] = (plus - minus) / np.maximum(plus + minus, FLOOR * block["close"])
    return averages | {"direction": direction, "trend": _wilder(np.abs(direction))}


def _moves(bars: dict[str, Floats]) -> dict[str, Floats]:
    """What is averaged: each bar's ways against the bar before it."""
    moves: dict[str, Floats] = {}
    for own, before, block in _blocks(bars, 1):
        plus, minus = windows.directional_moves(block["high"], block["low"])
        up, reach = windows.difference(block["close"]), windows.true_range(block["high"], block["low"], block["close"])
        parts = {"up": up, "both": np.abs(up), "atr": reach, "plus": plus, "minus": minus}
        for name, part in parts.items():
            _whole(moves, name, bars["close"].size, narrow=False)[own] = part[before:]
    return moves


def _recursives(series: dict[str, Floats]) -> dict[str, Floats]:
    close, atr, macd = series["close"], series["atr"], series["macd"]
    floor = FLOOR * close
    unit = np.maximum(atr, floor)
    return {
        "ema_12_atr": (close - series["fast"]) / unit,
        "macd_12_26": macd / unit,
        "macd_hist_9": (macd - series["macd_signal"]) / unit,
        "rsi_14": series["up"] / np.maximum(series["both"], floor),
        "atr_14": atr / close,
        "di_14": series["direction"],
        "adx_14": series["trend"],
    }


def _wilder(values: Floats) -> Floats:
    """Wilder's average of 14 is the exponential one of 27: both have alpha 1/14."""
    return _ema(values, 27)


def _ema(values: Floats, window: int) -> Floats:
    """TA-Lib's exponential average, seeded with the mean of the first full window; NaN before it."""
    if np.isnan(values[-1:]).all() and np.isnan(values).all():
        return np.full_like(values, np.nan)
    average: Floats = _talib().EMA(values, timeperiod=window)
    return average


def _talib() -> Any:
    try:
        import talib
    except ImportError as error:
        raise MissingExtraError.for_extra("train", "Computing indicators") from error
    return talib


def _calendar(times: NDArray[np.int64], length: int) -> Callable[[slice], dict[str, Floats]]:
    """Looks angles up in tables of the week's minutes: the same minute gives the same bits however long the input."""
    tables = _angles()
    # A bar counts at its close. Minute 0 of 1970 was a Thursday; weeks begin on Monday.
    ahead = (length + 3 * 86_400) * 1_000_000

    def angles(rows: slice) -> dict[str, Floats]:
        minutes = (times[rows] + ahead) // 60_000_000 % 10_080
        return {name: table[minutes] for name, table in tables.items()}

    return angles


@cache
def _angles() -> dict[str, Floats]:
    """The angles of each minute of a week; made once, for a live answer would spend most of its time on them."""
    return {
        f"{name}_{part}": np.array([function(2 * math.pi * (minute % steps) / steps) for minute in range(10_080)])
        for name, steps in (("day", 1440), ("week", 10_080))
        for part, function in (("sin", math.sin), ("cos", math.cos))
    }
