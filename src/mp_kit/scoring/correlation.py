"""Information coefficients: whether larger positions met larger returns.

Pairs whose horizons overlap repeat each other's outcome: with a persistent signal a test at 5 % then fires at more
than half of all worthless models. Only pairs that are a horizon apart are correlated here.
"""

from __future__ import annotations

import math

import numpy as np

from mp_kit.contracts.scores import Measured
from mp_kit.scoring.numbers import Z95, Floats, Ints, finite, pearson, pearson_of_ranks

__all__ = ["FEWEST_PAIRS", "apart", "ic", "rank_ic"]

FEWEST_PAIRS = 30
"""A worthless signal's correlation over 8 pairs deviates by 0.36, over 28 by 0.19."""

_FIELLER = 1.06


def ic(positions: Floats, returns: Floats) -> Measured:
    """Pearson's correlation of position and return, with Fisher's interval ``tanh(atanh r ± z / sqrt(n - 3))``.

    Source: Fisher, Metron 1 (1921); Grinold, The fundamental law of active management (1989).

    Args:
        positions: Direction times confidence, -1 to 1, shape (n,): pairs that are a horizon apart.
        returns: Of their horizons, shape (n,).
    """
    return _measured(positions, returns, pearson(finite(positions, "positions"), finite(returns, "returns")), 1.0)


def rank_ic(positions: Floats, returns: Floats) -> Measured:
    """Spearman's correlation, interval ``tanh(atanh r ± z sqrt(1.06 / (n - 3)))``.

    Source: Fieller, Hartley and Pearson, Tests for rank correlation coefficients, Biometrika 44 (1957).
    """
    found = pearson_of_ranks(finite(positions, "positions"), finite(returns, "returns"))
    return _measured(positions, returns, found, _FIELLER)


def apart(entries: Ints, horizon: int) -> Ints:
    """Which signals of one symbol to take so that their horizons do not overlap: the first, then greedily the next.

    Args:
        entries: Bar numbers at which they were entered, ascending, shape (n,).
        horizon: Bars that each is held.

    Returns:
        Places in ``entries``.
    """
    if horizon == 1:
        return np.flatnonzero(np.r_[True, entries[1:] > entries[:-1]]) if entries.size else np.zeros(0, np.int64)
    chosen, free = [], -1
    for place, entry in enumerate(entries.tolist()):
        if entry >= free:
            chosen.append(place)
            free = entry + horizon
    return np.asarray(chosen, dtype=np.int64)


def _measured(positions: Floats, returns: Floats, value: float | None, widening: float) -> Measured:
    n = min(positions.size, returns.size)
    if n < FEWEST_PAIRS:
        return Measured(n=n, reason=f"not enough data: {n} of {FEWEST_PAIRS} pairs that do not overlap")
    if value is None:
        return Measured(n=n, reason="positions or returns never change")
    if abs(value) >= 1:
        return Measured(value=value, low=value, high=value, n=n)
    half = Z95 * math.sqrt(widening / (n - 3))
    low, high = (math.tanh(math.atanh(value) + side * half) for side in (-1, 1))
    return Measured(value=value, low=low, high=high, n=n)
