"""Allocations under constraints: moments, the optimum, and what it would have earned. Pure numbers, no files.

The allocation maximises ``mu'w - g/2 w'Sw - k v/2 |w - p|^2`` over ``0 <= w_i <= cap, sum w <= 1`` (what is left is
cash), with ``p`` what is held, ``v`` the mean variance and the penalty ``k`` on turnover (quadratic costs: Garleanu,
Pedersen, Journal of Finance 68, 2013). ``S`` is shrunk as Ledoit and Wolf, Journal of Multivariate Analysis 88, 2004.
``mu`` is shrunk from the window's means towards one Sharpe ratio for all (``f`` = 1 leaves nothing of the means).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ITERATIONS",
    "TINY",
    "Rules",
    "Walk",
    "decide",
    "equal_weight",
    "inverse_volatility",
    "ledoit_wolf",
    "project",
    "solve",
    "walk_forward",
]

Floats = NDArray[np.float64]

ITERATIONS = 200
TINY = 1e-18
_FAR = 1e9

Decide = Callable[[Floats, Floats], Floats]
"""From a window of returns (lookback, n) and what is held (b, n) to weights (b, n)."""


@dataclass(frozen=True)
class Rules:
    """What bounds and shapes an allocation.

    Attributes:
        max_weight: Largest weight of a symbol.
        risk_aversion: ``g``.
        turnover_penalty: ``k``, in multiples of the mean variance.
        volatility_target: Annual volatility above which everything is scaled down; 0 is none.
        prior_sharpe: The annual Sharpe ratio that means are shrunk to.
        bars_per_year: Turns bars into years.
    """

    max_weight: float
    risk_aversion: float
    turnover_penalty: float
    volatility_target: float
    prior_sharpe: float
    bars_per_year: float


def ledoit_wolf(returns: Floats) -> tuple[Floats, Floats]:
    """The means (n,) and the shrunk covariance (n, n) of returns (t, n)."""
    bars, n = returns.shape
    means = returns.mean(axis=0)
    centred = returns - means
    sample = centred.T @ centred / bars
    scale = np.trace(sample) / n
    square = (sample**2).sum()
    distance = square - n * scale**2
    noise = (((centred**2).sum(axis=1) ** 2).sum() / bars - square) / bars
    shrinkage = np.clip(noise / max(distance, TINY), 0.0, 1.0)
    return means, (1 - shrinkage) * sample + shrinkage * scale * np.eye(n)


def project(values: Floats, cap: float) -> Floats:
    """The nearest weights with ``0 <= w <= cap`` and ``sum w <= 1``, row by row.

    The answer is ``clip(v - t, 0, cap)``. The sum falls with ``t`` in straight pieces whose ends are known, so that
    the right ``t >= 0`` is found without a search.

    Args:
        values: Shape (b, n).
        cap: Above 0.
    """
    ends = np.maximum(np.concatenate([np.zeros_like(values[:, :1]), values, values - cap], axis=1), 0.0)
    sums = np.clip(values[:, None, :] - ends[:, :, None], 0.0, cap).sum(axis=2)
    above, below = sums >= 1, sums <= 1
    low, high = np.where(above, ends, 0.0).max(axis=1), np.where(below, ends, _FAR).min(axis=1)
    most, least = np.where(above, sums, _FAR).min(axis=1), np.where(below, sums, 0.0).max(axis=1)
    part = (most - 1) / np.maximum(most - least, TINY)
    nearest: Floats = np.clip(values - (low + part * (high - low))[:, None], 0.0, cap)
    return nearest


def solve(expected: Floats, covariance: Floats, held: Floats, rules: Rules) -> Floats:
    """The optimum by projected gradients with momentum (Beck, Teboulle, SIAM Journal on Imaging Sciences 2, 2009).

    Args:
        expected: Shape (b, n): returns per bar.
        covariance: Shape (n, n).
        held: Shape (b, n).
        rules: The constraints.

    Returns:
        Shape (b, n), after :data:`ITERATIONS` steps; before the volatility target.
    """
    scale = np.trace(covariance) / len(covariance) + TINY
    hessian = rules.risk_aversion * covariance / scale + rules.turnover_penalty * np.eye(len(covariance))
    slope = expected / scale + rules.turnover_penalty * held
    step = 1 / np.abs(hessian).sum(axis=1).max()
    weights = moved = held
    for number in range(ITERATIONS):
        new = project(moved - step * (moved @ hessian - slope), rules.max_weight)
        moved = new + number / (number + 3) * (new - weights)
        weights = new
    return weights


def decide(window: Floats, held: Floats, shrinkage: Floats, rules: Rules) -> Floats:
    """From recent returns to weights: what the exported graph computes too.

    Args:
        window: Shape (lookback, n).
        held: Shape (b, n).
        shrinkage: Shape (b,): ``f`` for each row of ``held``.
        rules: The constraints.
    """
    means, covariance = ledoit_wolf(window)
    prior = rules.prior_sharpe / np.sqrt(rules.bars_per_year) * np.sqrt(np.diag(covariance))
    expected = (1 - shrinkage)[:, None] * means + shrinkage[:, None] * prior
    weights: Floats = solve(expected, covariance, held, rules)
    if not rules.volatility_target:
        return weights
    volatility = np.sqrt(((weights @ covariance) * weights).sum(axis=1) * rules.bars_per_year)
    scaled: Floats = weights * np.minimum(1.0, rules.volatility_target / np.maximum(volatility, TINY))[:, None]
    return scaled


def equal_weight(cap: float) -> Decide:
    """The same weight for all (DeMiguel, Garlappi, Uppal, Review of Financial Studies 22, 2009)."""
    return lambda window, _: np.full((1, window.shape[1]), min(cap, 1 / window.shape[1]))


def inverse_volatility(cap: float) -> Decide:
    """Weights in proportion to 1 / volatility, capped."""

    def weights(window: Floats, _: Floats) -> Floats:
        inverse = 1 / np.maximum(window.std(axis=0), TINY)
        shares: Floats = np.minimum(inverse / inverse.sum(), cap)[None, :]
        return shares

    return weights


@dataclass(frozen=True)
class Walk:
    """What allocations would have earned, bar by bar.

    Attributes:
        returns: Shape (b, bars), after costs.
        turnover: Shape (b,), the sum of all ``|change of weight|``, the first purchase among them.
        invested: Shape (b,), mean sum of weights right after rebalancing.
    """

    returns: Floats
    turnover: Floats
    invested: Floats


def walk_forward(
    returns: Floats, *, start: int, lookback: int, every: int, rows: int, decide: Decide, cost: float
) -> Walk:
    """Decides every ``every`` bars by the ``lookback`` bars before, and lets the weights drift in between.

    Args:
        returns: Simple returns, shape (bars, n).
        start: The first bar that earns; at least ``lookback``.
        lookback: Bars that a decision sees; none of them is later than the decision.
        every: Bars between decisions.
        rows: How many portfolios ``decide`` steers at once.
        decide: The rule.
        cost: Part of the traded value that trading costs.
    """
    held = np.zeros((rows, returns.shape[1]))
    earned, turnover, invested = [], np.zeros(rows), []
    for at in range(start, len(returns), every):
        weights = decide(returns[at - lookback : at], held)
        traded = np.abs(weights - held).sum(axis=1)
        growth = np.cumprod(1 + returns[at : at + every], axis=0)
        values = 1 - weights.sum(axis=1)[:, None] + weights @ growth.T
        before = np.concatenate([np.ones((rows, 1)), values[:, :-1]], axis=1)
        block = values / before - 1
        block[:, 0] -= cost * traded
        held = weights * growth[-1] / values[:, -1:]
        turnover += traded
        invested.append(weights.sum(axis=1))
        earned.append(block)
    return Walk(np.concatenate(earned, axis=1), turnover, np.mean(invested, axis=0))
