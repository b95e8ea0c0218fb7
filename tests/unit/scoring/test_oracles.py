"""Our Sharpe numbers against the libraries that compute the same; where they differ, it says why."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mp_kit.scoring import performance
from mp_kit.scoring.numbers import moments

RETURNS = {
    "normal": np.random.default_rng(0).normal(2e-4, 1e-3, 2_000),
    "fat": np.random.default_rng(1).standard_t(4, 1_500) * 1e-3 + 1e-4,
    "skewed": 2e-3 - np.random.default_rng(2).exponential(1.9e-3, 700),
    "losing": np.random.default_rng(3).normal(-3e-4, 1e-3, 300),
}


@pytest.mark.parametrize("name", RETURNS)
@pytest.mark.parametrize("benchmark", [0.0, 0.02])
def test_psr_equals_skfolio(name: str, benchmark: float):
    """PSR to 1e-12."""
    measures = pytest.importorskip("skfolio.measures", reason="skfolio is not installed")
    wanted = measures.probabilistic_sharpe_ratio(RETURNS[name], benchmark)
    assert wanted == pytest.approx(performance.probabilistic_sharpe(RETURNS[name], benchmark).value, abs=1e-12)


@pytest.mark.parametrize("name", RETURNS)
def test_dsr_equals_skfolio(name: str):
    """DSR to 1e-12, when it is told the tries' own Sharpe ratios."""
    measures = pytest.importorskip("skfolio.measures", reason="skfolio is not installed")
    tries = np.random.default_rng(4).normal(0, 0.03, 25)
    wanted = measures.deflated_sharpe_ratio(RETURNS[name], tries)
    spread = float(np.std(tries, ddof=1))
    assert wanted == pytest.approx(performance.deflated_sharpe(RETURNS[name], 25, spread).value, abs=1e-12)


@pytest.mark.parametrize("tries", [1, 2, 10, 1_000])
def test_expected_best_equals_skfolio(tries: int):
    """SR0 to 1e-12."""
    measures = pytest.importorskip("skfolio.measures", reason="skfolio is not installed")
    assert measures.expected_max_sharpe_ratio(tries, 0.03) == pytest.approx(
        performance.expected_best(tries, 0.03), abs=1e-12
    )


@pytest.mark.parametrize("name", RETURNS)
def test_moments_equal_scipy(name: str):
    """Biased skewness and kurtosis, deviation with n - 1."""
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    found = moments(RETURNS[name])
    assert found is not None
    wanted = (stats.skew(RETURNS[name]), stats.kurtosis(RETURNS[name], fisher=False), RETURNS[name].std(ddof=1))
    assert wanted == pytest.approx((found.skewness, found.kurtosis, found.deviation), rel=1e-11)


@pytest.mark.parametrize("name", RETURNS)
def test_sharpe_and_drawdown_equal_quantstats(name: str):
    """The same Sharpe ratio when it is told our bars per year, and the same drawdown with another sign."""
    quantstats = pytest.importorskip("quantstats.stats", reason="quantstats is not installed: it brings yfinance along")
    pandas = pytest.importorskip("pandas")
    series = pandas.Series(RETURNS[name], pandas.date_range("2024-01-01", periods=RETURNS[name].size, freq="h"))
    assert quantstats.sharpe(series, periods=6240) == pytest.approx(performance.sharpe(RETURNS[name], 6240).value)
    assert -quantstats.max_drawdown(series) == pytest.approx(performance.max_drawdown(RETURNS[name]).value)


def test_trap_default_of_252_is_too_small_by_the_root_of_24():
    """What a peer's default makes of hourly returns, and what they are."""
    ours = performance.sharpe(RETURNS["normal"], 24 * 252).value or 0
    daily = performance.sharpe(RETURNS["normal"], 252).value or 0
    assert math.sqrt(24) == pytest.approx(ours / daily)
