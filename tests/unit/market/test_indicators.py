"""Indicators: live equals whole history, no look-ahead, and a second implementation of each formula."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from mp_kit.errors import MissingExtraError
from mp_kit.market.bars import Bars, column, make_table
from mp_kit.market.indicators import FEATURE_NAMES, FEATURES, WARM_UP, compute
from mp_kit.market.sources import open_source

HOUR = 3_600_000_000


def deviations(whole: pa.Table, bars: pa.Table, end: int, timeframe: str, history: int = WARM_UP) -> dict[str, float]:
    """Each feature's |live - whole| relative to max(|whole|, 1) at row ``end - 1``."""
    live = compute(bars.slice(end - history, history), timeframe)
    result = {}
    for name in FEATURE_NAMES:
        now, then = column(live, name)[-1], column(whole, name)[end - 1]
        assert np.isfinite(then), name
        result[name] = abs(now - then) / max(abs(then), 1.0)
    return result


def assert_live_equals_whole(bars: Bars, ends: list[int], history: int = WARM_UP) -> None:
    """Every feature keeps the bound that it states."""
    whole = compute(bars.table, bars.timeframe)
    for end in ends:
        found = deviations(whole, bars.table, end, bars.timeframe, history)
        beyond = {one.name: found[one.name] for one in FEATURES if found[one.name] > one.bound}
        assert beyond == {}


@st.composite
def _markets(draw: st.DrawFn) -> Bars:
    """Random walks with calm, wild and dead stretches, at any price level, with jumps."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pieces = draw(st.lists(st.sampled_from([0.0, 1e-5, 1e-3, 3e-2]), min_size=2, max_size=6))
    rows = draw(st.integers(WARM_UP + 1, WARM_UP + 900))
    scale = np.repeat(pieces, math.ceil(rows / len(pieces)))[:rows]
    steps = random.normal(0, 1, rows) * scale
    steps[random.integers(0, rows, 3)] += draw(st.sampled_from([0.0, 0.5, -0.5]))
    close = draw(st.sampled_from([1e-4, 1.1, 150.0, 60_000.0])) * np.exp(np.cumsum(steps))
    opened = np.r_[close[0], close[:-1]]
    wick = np.abs(random.normal(0, 1, (2, rows))) * scale * close
    columns = {
        "open": opened,
        "high": np.maximum(opened, close) + wick[0],
        "low": np.maximum(np.minimum(opened, close) - wick[1], np.minimum(opened, close) / 2),
        "close": close,
        "volume": np.round(random.exponential(100, rows)) * draw(st.sampled_from([0.0, 1.0])),
    }
    return Bars("X", "1h", make_table(HOUR * np.arange(rows), columns))


@settings(max_examples=60, deadline=None)
@given(_markets())
def test_live_equals_whole_in_any_market(bars: Bars):
    """The last row of the warm-up window: finite windows to the last bit, recursive ones within their bound."""
    assert_live_equals_whole(bars, [bars.rows])


@pytest.mark.parametrize("folder", ["1h", "1d"])
def test_live_equals_whole_on_real_bars(shared_fx: Path, folder: str):
    """The same on real bars, at rows all over the history."""
    source = open_source(str(shared_fx / folder))
    for symbol in source.symbols():
        bars = source.load(symbol).bars
        ends = np.random.default_rng(3).integers(WARM_UP + 1, bars.rows, 15)
        assert_live_equals_whole(bars, [*ends.tolist(), bars.rows])


def test_live_needs_its_warm_up(make_bars: Callable[..., Bars]):
    """The bound is no triviality: with a tenth of the warm-up a recursive feature breaks it."""
    bars = make_bars(2000)
    whole = compute(bars.table, "1h")
    found = deviations(whole, bars.table, 2000, "1h", history=WARM_UP // 10)
    assert max(found.values()) > 1e-9


@pytest.mark.parametrize("cut", [700, 701, 850])
def test_no_feature_looks_ahead(make_bars: Callable[..., Bars], cut: int):
    """Bars that come later change nothing of what was computed before."""
    bars = make_bars(900)
    whole, part = compute(bars.table, "1h"), compute(bars.table.slice(0, cut), "1h")
    for name in FEATURE_NAMES:
        np.testing.assert_array_equal(column(whole, name)[:cut], column(part, name))


@pytest.mark.parametrize("factor", [2.0, 0.25])
def test_features_are_free_of_scale(make_bars: Callable[..., Bars], factor: float):
    """Prices in other units (by a power of two, exactly) give the same features."""
    table = make_bars(900).table
    scaled = {name: column(table, name) * (1 if name == "volume" else factor) for name in table.column_names[1:]}
    other = make_table(make_bars(900).times(), scaled)
    for name in FEATURE_NAMES:
        np.testing.assert_allclose(
            column(compute(other, "1h"), name), column(compute(table, "1h"), name), rtol=1e-12, atol=1e-12
        )


def test_features_are_defined_after_their_warm_up(make_bars: Callable[..., Bars]):
    """No NaN behind the stated warm-up, none of them infinite."""
    table = compute(make_bars(900).table, "1h")
    for feature in FEATURES:
        assert np.isfinite(column(table, feature.name)[feature.warm_up - 1 :]).all(), feature.name
        if not feature.recursive and feature.window > 1:
            assert np.isnan(column(table, feature.name)[feature.window - 2]), feature.name


def test_features_of_a_dead_market():
    """A price that never moves gives finite values throughout."""
    flat = {**dict.fromkeys(("open", "high", "low", "close"), np.full(800, 1.1)), "volume": np.zeros(800)}
    table = compute(make_table(HOUR * np.arange(800), flat), "1h")
    assert all(np.isfinite(column(table, name)[WARM_UP:]).all() for name in FEATURE_NAMES)


@pytest.mark.parametrize("rows", [0, 1, 20])
def test_compute_short_tables(make_bars: Callable[..., Bars], rows: int):
    """Fewer bars than a window give NaN, not a crash."""
    table = compute(make_bars(40).table.slice(0, rows), "1h")
    assert rows == table.num_rows
    assert np.isnan(column(table, "adx_14")).all()


def test_compute_without_talib(make_bars: Callable[..., Bars], monkeypatch: pytest.MonkeyPatch):
    """The extra that is missing is named with its install line."""
    monkeypatch.setitem(sys.modules, "talib", None)
    with pytest.raises(MissingExtraError) as caught:
        compute(make_bars(50).table, "1h")
    assert caught.value.hint == "pip install 'mp-kit[train]'"


def test_names_are_unique_and_documented():
    """Each column says what it is."""
    assert len(set(FEATURE_NAMES)) == len(FEATURES)
    assert all(one.formula and one.source and one.window >= 1 and one.warm_up <= WARM_UP for one in FEATURES)


def test_calendar_at_the_bars_close():
    """The hour that closes on Monday at 00:00 is the start of both circles."""
    columns = {**dict.fromkeys(("open", "high", "low", "close"), np.ones(1)), "volume": np.zeros(1)}
    sunday_23 = 1_704_067_200_000_000 - HOUR
    row = compute(make_table(np.array([sunday_23]), columns), "1h").to_pylist()[0]
    assert (row["day_sin"], row["day_cos"], row["week_sin"], row["week_cos"]) == (0.0, 1.0, 0.0, 1.0)


def test_against_talib(make_bars: Callable[..., Bars]):
    """TA-Lib's own indicators, once its seeds have faded."""
    table = make_bars(3000).table
    ours = compute(table, "1h")
    high, low, close = (column(table, name) for name in ("high", "low", "close"))
    upper, middle, lower = talib.BBANDS(close, 20, 2, 2)
    fast, _ = talib.STOCHF(high, low, close, 14, 3)
    macd, _, hist = talib.MACD(close)
    atr = talib.ATR(high, low, close, 14)
    plus, minus = talib.PLUS_DM(high, low, 14), talib.MINUS_DM(high, low, 14)
    expected = {
        "ret_5": talib.ROCP(close, 5),
        "sma_20_dev": close / talib.SMA(close, 20) - 1,
        "bb_width_20": (upper - lower) / middle,
        "stoch_k_14": fast / 100,
        "ema_12_atr": (close - talib.EMA(close, 12)) / atr,
        "macd_12_26": macd / atr,
        "macd_hist_9": hist / atr,
        "rsi_14": talib.RSI(close, 14) / 50 - 1,
        "atr_14": atr / close,
        "di_14": (plus - minus) / (plus + minus),
        "adx_14": talib.ADX(high, low, close, 14) / 100,
    }
    for name, values in expected.items():
        np.testing.assert_allclose(column(ours, name)[1500:], values[1500:], rtol=1e-7, atol=1e-9, err_msg=name)


def test_against_plain_python(make_bars: Callable[..., Bars]):
    """Formulas written out once more, one bar at a time."""
    table = make_bars(900).table
    ours = compute(table, "1h")
    high, low, close, volume = (column(table, name).tolist() for name in ("high", "low", "close", "volume"))
    for t in (100, 640, 899):
        window = close[t - 19 : t + 1]
        mean = math.fsum(window) / 20
        std = math.sqrt(math.fsum((value - mean) ** 2 for value in window) / 20)
        returns = [close[i] / close[i - 1] - 1 for i in range(t - 59, t + 1)]

        def vol(bars: int, returns: list[float] = returns) -> float:
            return math.sqrt(math.fsum(value**2 for value in returns[-bars:]) / bars)

        stoch = [
            (close[i] - min(low[i - 13 : i + 1])) / (max(high[i - 13 : i + 1]) - min(low[i - 13 : i + 1]))
            for i in (t - 2, t - 1, t)
        ]
        volumes = np.array(volume[t - 19 : t + 1])
        expected = {
            "ret_1": returns[-1],
            "ret_20": close[t] / close[t - 20] - 1,
            "range_1": (high[t] - low[t]) / close[t],
            "sma_5_20": math.fsum(close[t - 4 : t + 1]) / 5 / mean - 1,
            "bb_z_20": (close[t] - mean) / std,
            "vol_20": vol(20),
            "vol_5_60": vol(5) / vol(60),
            "ret_z_20": returns[-1] / vol(20),
            "stoch_d_3": sum(stoch) / 3,
            "volume_z_20": (volume[t] - volumes.mean()) / volumes.std(),
            "day_sin": math.sin(2 * math.pi * ((t + 1) % 24) / 24),
            "day_cos": math.cos(2 * math.pi * ((t + 1) % 24) / 24),
            "week_sin": math.sin(2 * math.pi * ((t + 1) % 168) / 168),
            "week_cos": math.cos(2 * math.pi * ((t + 1) % 168) / 168),
        }
        for name, value in expected.items():
            assert column(ours, name)[t] == pytest.approx(value, rel=1e-9, abs=1e-12), name
