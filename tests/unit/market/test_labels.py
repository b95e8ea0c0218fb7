"""Labels: what they say, and that they say nothing where they cannot know."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mp_kit.errors import InvalidInputError
from mp_kit.market.bars import Bars, column
from mp_kit.market.labels import UNKNOWN, direction, forward_return


@pytest.mark.parametrize("horizon", [0, -1])
def test_labels_need_a_horizon(horizon: int):
    """Less than one bar ahead is no label."""
    prices = np.ones(5)
    with pytest.raises(InvalidInputError, match="at least one bar"):
        forward_return(prices, horizon)
    with pytest.raises(InvalidInputError, match="at least one bar"):
        direction(prices, prices, prices, horizon, volatility=prices)


def test_forward_return():
    """The log of the later close over this one; unknown at the end."""
    result = forward_return(np.array([1.0, 2.0, 4.0, 2.0]), 2)
    np.testing.assert_allclose(result, [np.log(4), 0.0, np.nan, np.nan], atol=1e-15)


@pytest.mark.parametrize("horizon", [3, 4])
def test_labels_of_a_short_series(horizon: int):
    """A series no longer than the horizon knows nothing."""
    prices = np.ones(3)
    assert np.isnan(forward_return(prices, horizon)).all()
    assert direction(prices, prices, prices, horizon, volatility=prices).tolist() == [UNKNOWN] * 3


@pytest.mark.parametrize(
    ("highs", "lows", "label"),
    [
        ([1.005, 1.02], [0.999, 0.999], 1),
        ([1.001, 1.001], [0.995, 0.97], -1),
        ([1.001, 1.001], [0.999, 0.999], 0),
        ([1.02, 1.001], [0.999, 0.97], 1),
        ([1.001, 1.02], [0.97, 0.999], -1),
        ([1.02, 1.001], [0.97, 0.999], 0),
    ],
)
def test_direction_first_touch(highs: list[float], lows: list[float], label: int):
    """The first barrier counts; both in one bar, or none, is HOLD."""
    high, low, close = np.array([1.0, *highs]), np.array([1.0, *lows]), np.ones(3)
    volatility = np.full(3, 0.01 / np.sqrt(2))
    assert [label, UNKNOWN, UNKNOWN] == direction(high, low, close, 2, volatility=volatility).tolist()


def test_direction_unknown_volatility():
    """Without a width there is no barrier and no HOLD either."""
    prices = np.ones(4)
    labels = direction(prices, prices, prices, 1, volatility=np.array([np.nan, 0.1, 0.1, 0.1]))
    assert labels.tolist() == [UNKNOWN, 0, 0, UNKNOWN]


def test_direction_against_a_walk(make_bars: Callable[..., Bars]):
    """The vectorised labels equal those of a loop over each bar's future."""
    bars = make_bars(300)
    high, low, close = (column(bars.table, name) for name in ("high", "low", "close"))
    volatility = np.full(300, 1e-3)

    def walk(t: int) -> int:
        upper, lower = close[t] * np.exp(2e-3), close[t] / np.exp(2e-3)
        for ahead in range(t + 1, t + 5):
            up, down = high[ahead] >= upper, low[ahead] <= lower
            if up or down:
                return int(up) - int(down)
        return 0

    expected = [walk(t) for t in range(296)]
    labels = direction(high, low, close, 4, volatility=volatility, width=1.0)
    assert expected == labels[:296].tolist()
    assert {-1, 0, 1} == set(expected)


def test_labels_see_their_window_only(make_bars: Callable[..., Bars]):
    """A bar behind the horizon changes nothing, the last bar within it does."""
    close = column(make_bars(30).table, "close")
    later = close.copy()
    later[16] *= 2
    before, after = forward_return(close, 5), forward_return(later, 5)
    assert np.flatnonzero(~np.isclose(before, after, rtol=0, atol=0, equal_nan=True)).tolist() == [11, 16]
