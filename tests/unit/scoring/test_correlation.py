"""Information coefficients: golden vectors by hand and the trap of overlapping horizons."""

from __future__ import annotations

import math
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mp_kit.errors import InvalidInputError
from mp_kit.scoring import correlation
from mp_kit.scoring.correlation import FEWEST_PAIRS
from mp_kit.scoring.numbers import mid_ranks, pearson, pearson_of_ranks


def test_pearson_golden():
    """(1,2,3) with (1,3,2): covariance 1 over variance 2, by hand."""
    assert 0.5 == pytest.approx(pearson(np.array([1.0, 2, 3]), np.array([1.0, 3, 2])))


def test_mid_ranks_golden():
    """Ties share the mean of their ranks."""
    assert [2.5, 1, 2.5, 4] == mid_ranks(np.array([5.0, 1, 5, 9])).tolist()


def test_spearman_golden():
    """1 - 6 sum d^2 / n(n^2-1) = 1 - 6*6/24 for d = (1,-2,1)."""
    assert -0.5 == pytest.approx(pearson_of_ranks(np.array([1.0, 2, 3]), np.array([20.0, 30.0, 10.0])))


@pytest.mark.parametrize("still", [0.0, 1.0, 0.1, 1e-300, 1e9])
def test_trap_constant_side_is_undefined(still: float):
    """A constant has no correlation, and rounding in its mean does not give it one."""
    moving = np.random.default_rng(0).normal(size=50)
    assert pearson(np.full(50, still), moving) is None
    assert correlation.ic(np.full(50, still), moving).value is None
    assert correlation.rank_ic(moving, np.full(50, still)).value is None


def test_trap_few_pairs():
    """Under 30 pairs nothing is said: a worthless signal deviates by 0.36 over 8 of them."""
    random = np.random.default_rng(3)
    found = correlation.rank_ic(random.normal(size=8), random.normal(size=8))
    assert (None, 8) == (found.value, found.n)
    assert f"8 of {FEWEST_PAIRS} pairs" in (found.reason or "")


def test_nan_is_refused_and_named():
    """A NaN among returns is a fault of the caller's, not a score."""
    with pytest.raises(InvalidInputError, match="returns: value 1 of 2 is nan"):
        correlation.ic(np.zeros(2), np.array([0.0, math.nan]))


def test_intervals_golden():
    """tanh(atanh r ± 1.96 / sqrt(n - 3)), Spearman's wider by sqrt(1.06)."""
    x = np.arange(103, dtype=float)
    y = np.where(x % 2 == 0, x, 0.0)
    for found, widening in ((correlation.ic(x, y), 1), (correlation.rank_ic(x, y), 1.06)):
        half = 1.959963984540054 * math.sqrt(widening / 100)
        assert math.tanh(math.atanh(found.value or 0) - half) == pytest.approx(found.low)
        assert math.tanh(math.atanh(found.value or 0) + half) == pytest.approx(found.high)


@given(st.lists(st.integers(0, 200), max_size=80), st.integers(1, 30))
def test_apart_takes_as_many_as_fit(entries: list[int], horizon: int):
    """No two overlap, and whatever is left out overlaps one that is in."""
    ordered = np.sort(np.array(entries, dtype=np.int64))
    taken = ordered[correlation.apart(ordered, horizon)]
    assert np.all(np.diff(taken) >= horizon)
    assert all(np.any((taken <= entry) & (entry < taken + horizon)) for entry in ordered)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), max_size=9))
def test_instants_are_as_many_as_fit(spans: list[tuple[int, int]]):
    """The most of all choices, by trying them all."""
    began, ended = (np.array([span[0] + at * span[1] for span in spans], dtype=np.int64) for at in (0, 1))
    most = 0
    for chosen in product([False, True], repeat=len(spans)):
        taken = sorted((one, one + length) for (one, length), use in zip(spans, chosen, strict=True) if use)
        if all(one[1] <= other[0] for one, other in pairwise(taken)):
            most = max(most, len(taken))
    assert most == correlation.instants(began, ended)


def test_trap_overlap_ic():
    """A persistent worthless signal against 24-bar returns: the naive test at 5 % fires at most, ours about 1 in 20."""
    random = np.random.default_rng(7)
    naive = ours = 0
    for _ in range(200):
        steps = random.normal(size=3024)
        signal = np.zeros(3000)
        for bar in range(1, 3000):
            signal[bar] = 0.98 * signal[bar - 1] + random.normal()
        ahead = np.convolve(steps, np.ones(24), "valid")[1:3001]
        places = correlation.apart(np.arange(3000), 24)
        found = correlation.rank_ic(signal[places], ahead[places])
        all_of_them = correlation.rank_ic(signal, ahead)
        ours += not (found.low or 0) <= 0 <= (found.high or 0)
        naive += not (all_of_them.low or 0) <= 0 <= (all_of_them.high or 0)
    assert naive > 80
    assert ours < 24
