"""Hit rate, calibration: golden vectors by hand, unhappy paths, properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mp_kit.errors import InvalidInputError
from mp_kit.scoring import accuracy


@pytest.mark.parametrize("hits", [-1, 11])
def test_wilson_of_impossible_counts(hits: int):
    """More hits than trials are refused."""
    with pytest.raises(InvalidInputError, match="of 10 trials"):
        accuracy.wilson(hits, 10)


def test_wilson_golden():
    """8 of 10 with z = 2: (0.8 + 0.2 ± 2 sqrt(0.016 + 0.01)) / 1.4, by hand."""
    low, high = accuracy.wilson(8, 10, z=2) or (0, 0)
    assert (1 - 2 * 0.026**0.5) / 1.4 == pytest.approx(low, abs=1e-15)
    assert (1 + 2 * 0.026**0.5) / 1.4 == pytest.approx(high, abs=1e-15)


def test_wilson_textbook():
    """The textbook's 0 of 10 has 0 below and 27.8 % above."""
    low, high = accuracy.wilson(0, 10) or (1, 0)
    assert (0.0, 0.2775) == (low, pytest.approx(high, abs=5e-5))


@given(st.integers(0, 10_000), st.integers(1, 10_000))
def test_wilson_holds_its_share(hits: int, n: int):
    """The interval lies within 0 to 1 and holds the share; swapping hits and misses mirrors it."""
    hits = min(hits, n)
    low, high = accuracy.wilson(hits, n) or (1, 0)
    assert 0 <= low <= hits / n <= high <= 1
    other = accuracy.wilson(n - hits, n) or (1, 0)
    assert (1 - high, 1 - low) == pytest.approx(other, abs=1e-12)


def test_hit_rate_golden():
    """BUY into a rise and SELL into a fall are right; a price that stood still makes nobody right; HOLD is no call."""
    found = accuracy.hit_rate(np.array([1, -1, 1, -1, 0]), np.array([0.1, -0.1, -0.1, 0.0, 0.5]))
    assert (0.5, 4) == (found.value, found.n)


def test_hit_rate_without_calls():
    """Undefined, not 0."""
    found = accuracy.hit_rate(np.zeros(5, np.int64), np.ones(5))
    assert (None, None, "no BUY or SELL was scored") == (found.value, found.low, found.reason)


def test_trap_overlap_hit_rate_interval():
    """Calls that share their outcome are not independent: 240 calls of 10 outcomes have the interval of 10."""
    directions, returns = np.ones(240, np.int64), np.repeat([1.0, -1.0], 120)
    apart, naive = accuracy.hit_rate(directions, returns, 10), accuracy.hit_rate(directions, returns)
    assert apart.value == naive.value == 0.5
    assert (apart.low, apart.high) == accuracy.wilson(5, 10)
    assert (naive.low or 0) > (apart.low or 0) + 0.15


def test_coverage_golden():
    """Three of four say something."""
    assert 0.75 == accuracy.coverage(np.array([1, 0, -1, 1])).value


def test_brier_golden():
    """(0.9-1)^2, (0.6-0)^2, (0.5-1)^2: 0.62 over 3."""
    found = accuracy.brier(np.array([0.9, 0.6, 0.5]), np.array([True, False, True]))
    assert 0.62 / 3 == pytest.approx(found.value, abs=1e-15)
    assert (None, None) == (found.low, found.high)


def test_log_loss_golden():
    """-(ln 0.8 + ln 0.5) / 2; certainty that was wrong stays finite; without calls it is undefined."""
    assert -(np.log(0.8) + np.log(0.5)) / 2 == pytest.approx(
        accuracy.log_loss(np.array([0.8, 0.5]), np.array([True, False]))
    )
    assert 34.5 < (accuracy.log_loss(np.array([1.0]), np.array([False])) or 0) < 34.6
    assert accuracy.log_loss(np.zeros(0), np.zeros(0, np.bool_)) is None


def test_reliability_golden():
    """Edges belong to the bin above, 1.0 to the last; empty bins are left out."""
    found = accuracy.reliability(np.array([0.5, 0.55, 1.0, 0.95]), np.array([True, False, True, True]))
    assert [(0.5, 0.6, 2), (0.9, 1.0, 2)] == [(one.low, one.high, one.calls) for one in found]
    assert [0.525, 0.975] == [pytest.approx(one.confidence) for one in found]
    assert [0.5, 1.0] == [one.hit_rate.value for one in found]


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_reliability_loses_no_call(calls: list[tuple[float, bool]]):
    """Every call is in one bin, and its confidence within the bin's edges."""
    confidence, right = (np.array(column) for column in zip(*calls, strict=True))
    found = accuracy.reliability(confidence, right)
    assert len(calls) == sum(one.calls for one in found)
    assert all(one.low - 1e-12 <= one.confidence <= one.high + 1e-12 for one in found)


def test_calibrated_model_has_its_confidence_as_hit_rate():
    """Ten thousand honest calls: each bin's interval at 95 % holds its confidence, in nearly all bins."""
    random = np.random.default_rng(1)
    confidence = random.uniform(0, 1, 10_000)
    bins = accuracy.reliability(confidence, random.uniform(0, 1, 10_000) < confidence)
    inside = [(one.hit_rate.low or 0) <= one.confidence <= (one.hit_rate.high or 0) for one in bins]
    assert sum(inside) >= len(bins) - 2
