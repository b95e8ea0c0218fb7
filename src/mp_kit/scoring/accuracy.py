"""How often calls are right, and whether their confidence says so.

A call is a BUY or SELL: ``d`` is +1 or -1, ``r`` the return of its horizon. It is right if ``d r > 0``: a price that
did not move makes nobody right. Confidence ``c`` is read as the probability that the call is right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mp_kit.contracts.scores import Measured, ReliabilityBin
from mp_kit.errors import InvalidInputError
from mp_kit.scoring.bootstrap import interval_of_mean
from mp_kit.scoring.numbers import Z95, Booleans, Floats, Ints, mean, total

__all__ = ["BINS", "brier", "coverage", "hit_rate", "log_loss", "reliability", "wilson"]

BINS: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Edges of the reliability bins; the last bin holds 1.0 too."""

_TINY = 1e-15


def wilson(hits: float, n: float, z: float = Z95) -> tuple[float, float] | None:
    """Wilson's score interval of a proportion.

    ``(p + z^2/2n ± z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)``. Source: Wilson, Probable inference, the law of
    succession, and statistical inference, JASA 22 (1927).

    Args:
        hits: Successes, 0 to n; may be a share times an effective n.
        n: Independent trials.
        z: Standard errors to each side; 1.96 makes it 95 %.

    Returns:
        Lower and upper end, within 0 to 1; None without trials.

    Raises:
        InvalidInputError: More hits than trials, or fewer than none.
    """
    if not 0 <= hits <= n:
        raise InvalidInputError(f"{hits} hits of {n} trials cannot be.")
    if n == 0:
        return None
    share, spread = hits / n, z * z / n
    half = z * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    low, high = ((share + spread / 2 + side * half) / (1 + spread) for side in (-1, 1))
    return (0.0 if hits == 0 else max(0.0, low)), (1.0 if hits == n else min(1.0, high))


def hit_rate(directions: Ints, returns: Floats, independent: int | None = None) -> Measured:
    """Share of right calls: ``sum 1[d r > 0] / sum 1[d != 0]`` with Wilson's interval.

    Calls whose horizons overlap share their outcome: the interval is that of ``independent`` trials with the same
    share, else zero skill would be found significant most of the time.

    Args:
        directions: +1, 0, -1, shape (n,).
        returns: Shape (n,).
        independent: Instants of calls whose horizons do not overlap, all symbols of one counted once
            (``correlation.instants``); all calls by default.
    """
    calls = directions != 0
    count = int(np.count_nonzero(calls))
    if not count:
        return Measured(reason="no BUY or SELL was scored")
    share = int(np.count_nonzero(directions * returns > 0)) / count
    effective = count if independent is None else min(independent, count)
    found = wilson(share * effective, effective)
    low, high = found if found is not None else (None, None)
    return Measured(value=share, low=low, high=high, n=effective)


def coverage(directions: Ints, independent: int | None = None) -> Measured:
    """Share of BUY and SELL among all signals, ``mean(d != 0)``, with Wilson's interval; arguments as above."""
    if not directions.size:
        return Measured(reason="no signal was scored")
    share = int(np.count_nonzero(directions)) / directions.size
    effective = directions.size if independent is None else min(independent, directions.size)
    found = wilson(share * effective, effective)
    low, high = found if found is not None else (None, None)
    return Measured(value=share, low=low, high=high, n=effective)


def brier(confidence: Floats, right: Booleans, *, block: int = 1) -> Measured:
    """Mean of ``(c - 1[right])^2``: 0 is perfect, 0.25 what a constant 0.5 gets.

    Source: Brier, Verification of forecasts expressed in terms of probability, Monthly Weather Review 78 (1950). The
    interval is a block bootstrap's.

    Args:
        confidence: Of the calls, 0 to 1, shape (n,), in order of time.
        right: Which of them were right, shape (n,).
        block: Calls whose horizons overlap.
    """
    if not confidence.size:
        return Measured(reason="no BUY or SELL was scored")
    missed = confidence - right
    squares = missed * missed
    low, high = interval_of_mean(squares, block)
    return Measured(value=mean(squares), low=low, high=high, n=confidence.size)


def log_loss(confidence: Floats, right: Booleans) -> float | None:
    """Mean of ``-ln p`` of what happened, in nats; p is kept within 1e-15 of 0 and 1. None without calls."""
    if not confidence.size:
        return None
    happened = np.clip(np.where(right, confidence, 1 - confidence), _TINY, 1 - _TINY)
    return total(-np.log(happened)) / confidence.size


def reliability(
    confidence: Floats, right: Booleans, *, block: int = 1, edges: Sequence[float] = BINS
) -> list[ReliabilityBin]:
    """Hit rate by confidence: a calibrated model's bins lie on the diagonal.

    Source: Murphy and Winkler, Reliability of subjective probability forecasts, Applied Statistics 26 (1977).

    Args:
        confidence: Of the calls, 0 to 1, shape (n,).
        right: Which of them were right, shape (n,).
        block: Calls whose horizons overlap: each bin's interval is that of so many times fewer trials.
        edges: Ascending, from 0 to 1.

    Returns:
        The bins that have calls.
    """
    places = np.clip(np.searchsorted(np.asarray(edges), confidence, side="right") - 1, 0, len(edges) - 2)
    bins = []
    for place in np.unique(places).tolist():
        inside = places == place
        calls = int(np.count_nonzero(inside))
        share = int(np.count_nonzero(right[inside])) / calls
        effective = max(1, calls // block)
        low, high = wilson(share * effective, effective) or (None, None)
        told = mean(confidence[inside]) or 0.0
        rate = Measured(value=share, low=low, high=high, n=effective)
        bins.append(
            ReliabilityBin(low=edges[place], high=edges[place + 1], calls=calls, confidence=told, hit_rate=rate)
        )
    return bins
