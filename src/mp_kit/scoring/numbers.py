"""Sums, moments, ranks and the normal distribution that all scores are made of.

1. Sums are exactly rounded (``math.fsum``): they depend neither on the order of the rows nor on the width of a
   processor's vector unit, so that a laptop and a server get the same number to the last bit.
2. Powers are products and roots are IEEE's; the normal distribution is the standard library's.
3. Undefined is None.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from mp_kit.errors import InvalidInputError

__all__ = [
    "FLAT",
    "NORMAL",
    "Z95",
    "Booleans",
    "Floats",
    "Ints",
    "Moments",
    "finite",
    "mean",
    "mid_ranks",
    "moments",
    "pearson",
    "pearson_of_ranks",
    "total",
    "union",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Booleans = NDArray[np.bool_]

NORMAL = NormalDist()
Z95 = NORMAL.inv_cdf(0.975)
"""Half-width of a two-sided 95 % interval in standard errors."""

FLAT = 1e-12
"""A series whose deviation is below this share of its largest value stands still: what is left is rounding."""

_FEWEST = 2


@dataclass(frozen=True)
class Moments:
    """A sample's size, mean, standard deviation and shape.

    Attributes:
        n: Observations.
        mean: Their mean.
        deviation: Standard deviation with n - 1.
        skewness: Third standardised moment, biased (divided by n): 0 for a normal sample.
        kurtosis: Fourth standardised moment, biased, not in excess: 3 for a normal sample.
    """

    n: int
    mean: float
    deviation: float
    skewness: float
    kurtosis: float


def finite(values: Floats, what: str) -> Floats:
    """Values as float64, all of them finite.

    Raises:
        InvalidInputError: One is NaN or infinite; its place is named.
    """
    given: Floats = np.asarray(values, dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(given))
    if bad.size:
        raise InvalidInputError(
            f"{what}: value {bad[0]} of {given.size} is {given.flat[bad[0]]}.", hint="Leave such rows out."
        )
    return given


def total(values: Floats) -> float:
    """The sum, exactly rounded."""
    return math.fsum(values.tolist())


def union(columns: Sequence[Ints]) -> Ints:
    """All values of ascending columns; mostly they are the same, and a merge sort is a pass then."""
    if not columns or all(np.array_equal(columns[0], other) for other in columns[1:]):
        return columns[0] if columns else np.zeros(0, np.int64)
    ordered = np.sort(np.concatenate(columns), kind="stable")
    return ordered[np.r_[True, ordered[1:] > ordered[:-1]]]


def mean(values: Floats) -> float | None:
    """The mean; None without values."""
    return total(values) / values.size if values.size else None


def moments(values: Floats) -> Moments | None:
    """Moments of a sample; None for fewer than two values, and where they stand still or are too small to square."""
    if values.size < _FEWEST:
        return None
    middle = total(values) / values.size
    apart = values - middle
    squares = apart * apart
    second = total(squares) / values.size
    if math.sqrt(second) <= FLAT * float(np.max(np.abs(values))) or second * second == 0:
        return None
    third = total(squares * apart) / values.size
    fourth = total(squares * squares) / values.size
    deviation = math.sqrt(second * values.size / (values.size - 1))
    return Moments(values.size, middle, deviation, third / (second * math.sqrt(second)), fourth / (second * second))


def pearson(left: Floats, right: Floats) -> float | None:
    """Pearson's correlation, from -1 to 1; None where a side stands still or there are fewer than two pairs."""
    if left.size < _FEWEST or left.size != right.size:
        return None
    one, other = (values - total(values) / values.size for values in (left, right))
    spread = math.sqrt(total(one * one)) * math.sqrt(total(other * other))
    still = any(
        math.sqrt(total(apart * apart) / apart.size) <= FLAT * float(np.max(np.abs(values)))
        for apart, values in ((one, left), (other, right))
    )
    if still or spread == 0:
        return None
    return min(1.0, max(-1.0, total(one * other) / spread))


def mid_ranks(values: Floats) -> Floats:
    """Ranks from 1, the mean rank where values are equal."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2.0)[inverse], dtype=np.float64)


def pearson_of_ranks(left: Floats, right: Floats) -> float | None:
    """Spearman's rho with mid-ranks for ties; None where it is undefined."""
    return pearson(mid_ranks(left), mid_ranks(right))
