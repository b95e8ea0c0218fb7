"""Information coefficients: whether larger positions met larger returns.

Pairs whose horizons overlap repeat each other's outcome: with a persistent signal a test at 5 % then fires at more
than half of all worthless models. Only pairs that are a horizon apart are correlated here. Symbols that move together
repeat each other as well: with eight euro pairs every third worthless model would be found significant. What is called
independent here are instants that do not overlap (:func:`instants`), however many symbols were told of at each.
"""

from __future__ import annotations

import math

import numpy as np

from mp_kit.contracts.scores import Measured
from mp_kit.scoring.numbers import Z95, Floats, Ints, finite, pearson, pearson_of_ranks

__all__ = ["FEWEST_PAIRS", "apart", "ic", "instants", "rank_ic"]

FEWEST_PAIRS = 30
"""A worthless signal's correlation over 8 pairs deviates by 0.36, over 28 by 0.19."""

_FIELLER = 1.06


def ic(positions: Floats, returns: Floats, independent: int | None = None) -> Measured:
    """Pearson's correlation of position and return, with Fisher's interval ``tanh(atanh r ± z / sqrt(n - 3))``.

    Source: Fisher, Metron 1 (1921); Grinold, The fundamental law of active management (1989).

    Args:
        positions: Direction times confidence, -1 to 1, shape (n,): pairs that are a horizon apart.
        returns: Of their horizons, shape (n,).
        independent: Of them, see :func:`instants`: the ``n`` of the interval; all of them by default.
    """
    found = pearson(finite(positions, "positions"), finite(returns, "returns"))
    return _measured(_count(positions, returns, independent), found, 1.0)


def rank_ic(positions: Floats, returns: Floats, independent: int | None = None) -> Measured:
    """Spearman's correlation, interval ``tanh(atanh r ± z sqrt(1.06 / (n - 3)))``; arguments as above.

    Source: Fieller, Hartley and Pearson, Tests for rank correlation coefficients, Biometrika 44 (1957).
    """
    found = pearson_of_ranks(finite(positions, "positions"), finite(returns, "returns"))
    return _measured(_count(positions, returns, independent), found, _FIELLER)


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


def instants(began: Ints, ended: Ints) -> int:
    """How many of these spans fit one after the other: the independent observations, whatever their symbols.

    All symbols of an instant count once, because nothing is known of how they hang together; in the worst case they
    say the same thing. Taking the one that ends first is the most that fit (interval scheduling).

    Args:
        began: Instants at which they were entered, shape (n,).
        ended: Instants at which they ended, later, shape (n,).
    """
    count, free = 0, -math.inf
    order = np.lexsort((began, ended))
    for start, end in zip(began[order].tolist(), ended[order].tolist(), strict=True):
        if start >= free:
            count, free = count + 1, end
    return count


def _count(positions: Floats, returns: Floats, independent: int | None) -> int:
    n = min(positions.size, returns.size)
    return n if independent is None else min(independent, n)


def _measured(n: int, value: float | None, widening: float) -> Measured:
    if n < FEWEST_PAIRS:
        return Measured(n=n, reason=f"not enough data: {n} of {FEWEST_PAIRS} pairs that do not overlap")
    if value is None:
        return Measured(n=n, reason="positions or returns never change")
    if abs(value) >= 1:
        return Measured(value=value, low=value, high=value, n=n)
    half = Z95 * math.sqrt(widening / (n - 3))
    low, high = (math.tanh(math.atanh(value) + side * half) for side in (-1, 1))
    return Measured(value=value, low=low, high=high, n=n)
