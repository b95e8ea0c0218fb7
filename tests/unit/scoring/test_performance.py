"""Sharpe ratio with its doubts, drawdown, turnover: golden vectors by hand, and the traps that peers fall into."""

from __future__ import annotations

import math
from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mp_kit.errors import InvalidInputError
from mp_kit.scoring import performance
from mp_kit.scoring.numbers import NORMAL, moments, total
from mp_kit.scoring.performance import FEWEST_BARS

# 32 bars, 24 of +1 and 8 of -1: mean 1/2, second moment about it 3/4.
GOLDEN = np.array([1.0, 1.0, 1.0, -1.0] * 8)
RATIO = 0.5 / math.sqrt(0.75 * 32 / 31)
SKEWNESS = -2 / math.sqrt(3)
KURTOSIS = 7 / 3
VARIANCE = 1 - SKEWNESS * RATIO + (KURTOSIS - 1) / 4 * RATIO**2


def test_moments_golden():
    """With p = 3/4: skewness (1 - 2p)/sqrt(pq), kurtosis 3 + (1 - 6pq)/pq, halved steps and all."""
    found = moments(GOLDEN)
    assert found is not None
    assert (0.5, SKEWNESS, KURTOSIS) == pytest.approx((found.mean, found.skewness, found.kurtosis), abs=1e-14)
    assert math.sqrt(0.75 * 32 / 31) == pytest.approx(found.deviation, abs=1e-15)


def test_sharpe_golden():
    """SR sqrt(B), with the interval of the moments."""
    found = performance.sharpe(GOLDEN, 6240)
    error = math.sqrt(VARIANCE / 31)
    assert RATIO * math.sqrt(6240) == pytest.approx(found.value)
    assert (RATIO - 1.959963984540054 * error) * math.sqrt(6240) == pytest.approx(found.low)
    assert (RATIO + 1.959963984540054 * error) * math.sqrt(6240) == pytest.approx(found.high)


def test_psr_golden():
    """Phi(SR sqrt(T - 1) / sqrt(1 - g3 SR + (g4 - 1)/4 SR^2))."""
    assert NORMAL.cdf(RATIO * math.sqrt(31 / VARIANCE)) == pytest.approx(
        performance.probabilistic_sharpe(GOLDEN).value, abs=1e-14
    )


def test_expected_best_golden():
    """For N = 2: Phi^-1(1/2) = 0, so that s g Phi^-1(1 - 1/2e) is left; one try needs no deflation."""
    wanted = 0.1 * 0.5772156649015329 * NORMAL.inv_cdf(1 - 1 / (2 * math.e))
    assert wanted == pytest.approx(performance.expected_best(2, 0.1), abs=1e-15)
    assert 0.0 == performance.expected_best(1, 0.1)


def test_expected_best_is_what_the_best_of_noise_shows():
    """The best of 50 worthless tries, over many draws, comes close to the formula."""
    drawn = np.random.default_rng(5).normal(size=(4_000, 50)).max(axis=1).mean()
    assert drawn == pytest.approx(performance.expected_best(50, 1.0), rel=0.02)


def test_deflated_sharpe_golden():
    """PSR at the best of N worthless tries of the same length."""
    benchmark = performance.expected_best(10, 1 / math.sqrt(31))
    assert performance.probabilistic_sharpe(GOLDEN, benchmark).value == performance.deflated_sharpe(GOLDEN, 10).value
    assert performance.probabilistic_sharpe(GOLDEN).value == performance.deflated_sharpe(GOLDEN, 1).value


@pytest.mark.parametrize("tries", [0, -1])
def test_no_try_at_all(tries: int):
    """What was shown was tried."""
    with pytest.raises(InvalidInputError, match="tries"):
        performance.deflated_sharpe(GOLDEN, tries)


def test_more_tries_never_help():
    """Overfitting to the validator has a visible price."""
    found = [performance.deflated_sharpe(GOLDEN, tries).value or 0 for tries in (1, 2, 5, 20, 100, 10_000)]
    assert all(later < earlier for earlier, later in pairwise(found))


def test_min_track_record_golden():
    """1 + variance (z / SR)^2, rounded up; PSR reaches 95 % there and not a bar before."""
    wanted = math.ceil(1 + VARIANCE * (NORMAL.inv_cdf(0.95) / RATIO) ** 2)
    assert wanted == performance.min_track_record(GOLDEN).value
    psr = [NORMAL.cdf(RATIO * math.sqrt((bars - 1) / VARIANCE)) for bars in (wanted - 1, wanted)]
    assert psr[0] < 0.95 <= psr[1]


def test_min_track_record_of_a_loser():
    """No record is long enough: undefined, not infinite."""
    found = performance.min_track_record(-GOLDEN)
    assert (None, "the Sharpe ratio is not above the benchmark") == (found.value, found.reason)


@pytest.mark.parametrize("value", [0.0, 0.001, -0.3, 1 / 3, 1e-9])
def test_trap_constant_returns(value: float):
    """A series that never moves has no Sharpe ratio: quantstats says 2.4e16, empyrical infinity."""
    still = np.full(500, value)
    for found in (
        performance.sharpe(still, 6240),
        performance.probabilistic_sharpe(still),
        performance.deflated_sharpe(still, 5),
        performance.min_track_record(still),
    ):
        assert (None, None, "the returns never change") == (found.value, found.low, found.reason)


def test_trap_hourly_annualisation():
    """Hourly bars are annualised by what a year of this market has of them, never by 252."""
    week = np.concatenate([np.arange(120) + 168 * number for number in range(520)])
    per_year = performance.bars_per_year([week * 3_600_000_000])
    assert 24 * 5 * 365.25 / 7 == pytest.approx(per_year, rel=1e-3)
    ours = performance.sharpe(GOLDEN, per_year or 0).value or 0
    assert math.sqrt(24.85) == pytest.approx(ours / (RATIO * math.sqrt(252)), rel=1e-2)


def test_bars_per_year_leaves_gaps_between_runs_out():
    """A purged gap is no slow market; a single bar has no rate."""
    run, day = np.arange(1000, dtype=np.int64) * 86_400_000_000, 86_400_000_000
    assert 365.25 == pytest.approx(performance.bars_per_year([run, run + 5_000 * day]))
    assert performance.bars_per_year([run[:1]]) is None
    shifted = run + 500 * day  # another symbol's, half of them at the same instants: the same days once
    assert 365.25 == pytest.approx(performance.bars_per_year([shifted, run, run]))
    assert performance.bars_per_year([]) is None


@pytest.mark.parametrize("per_year", [0, -1, math.nan])
def test_year_without_bars(per_year: float):
    """B is an argument, and a sane one."""
    with pytest.raises(InvalidInputError, match="year"):
        performance.sharpe(GOLDEN, per_year)


DRAWDOWNS = {
    "first bar": ([-0.1, 0.02], 0.1),
    "first bar alone": ([-0.1], 0.1),
    "only up": ([0.1, 0.2], 0.0),
    "peak to valley": ([1.0, -0.5, 0.1, -0.5], 0.725),
    "recovered": ([-0.5, 3.0], 0.5),
    "ruin": ([-1.0, 0.5], 1.0),
}


@pytest.mark.parametrize("name", DRAWDOWNS)
def test_trap_first_bar_drawdown(name: str):
    """The start is a peak too: a first-bar loss of 10 % is 10 %, where ffn says 0."""
    returns, wanted = DRAWDOWNS[name]
    assert wanted == pytest.approx(performance.max_drawdown(np.array(returns)).value, abs=1e-15)


def test_not_enough_bars():
    """Under 30 bars nothing is said; drawdown and total return are facts and stand."""
    few = GOLDEN[: FEWEST_BARS - 1]
    for found in (performance.sharpe(few, 252), performance.deflated_sharpe(few, 3), performance.min_track_record(few)):
        assert (None, f"not enough data: 29 of {FEWEST_BARS} bars") == (found.value, found.reason)
    assert performance.total_return(few).value is not None
    assert "0 of" in (performance.deflated_sharpe(few[:0], 3).reason or "")
    assert performance.max_drawdown(few[:0]).value is None


def test_turnover_and_total_return_golden():
    """Means and products by hand."""
    assert 0.5 == performance.turnover(np.array([1.0, 0.5, 0.0])).value
    assert 0.21 == pytest.approx(performance.total_return(np.array([0.1, 0.1])).value)


@given(st.lists(st.floats(-0.5, 0.5), min_size=FEWEST_BARS, max_size=60), st.randoms())
def test_scores_do_not_depend_on_order(returns: list[float], random: Random):
    """Sums are exact: shuffled bars give the same Sharpe ratio to the last bit."""
    shuffled = returns.copy()
    random.shuffle(shuffled)
    assert total(np.array(returns)) == total(np.array(shuffled))
    assert performance.sharpe(np.array(returns), 6240) == performance.sharpe(np.array(shuffled), 6240)


@given(st.lists(st.floats(-0.9, 1e6), max_size=60))
def test_nothing_is_ever_infinite(returns: list[float]):
    """Whatever the returns: a finite number, or None with a reason."""
    given_returns = np.array(returns)
    for found in (
        performance.sharpe(given_returns, 6240),
        performance.probabilistic_sharpe(given_returns),
        performance.deflated_sharpe(given_returns, 7),
        performance.min_track_record(given_returns),
    ):
        assert (found.value is None) == (found.reason is not None)
        assert found.value is None or math.isfinite(found.value)
