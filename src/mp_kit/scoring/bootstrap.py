"""Intervals where no closed form is at hand: the circular block bootstrap, always with the same draws.

Source: Politis and Romano, A circular block-resampling procedure for stationary data (1992). Blocks keep neighbours
together, so that what overlaps or trends is not taken for independent.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from mp_kit.errors import InvalidInputError
from mp_kit.scoring.numbers import Floats, Ints

__all__ = ["FEWEST_BLOCKS", "RESAMPLES", "block_length", "interval_of_mean", "resampled_means"]

RESAMPLES = 500
FEWEST_BLOCKS = 5
"""With fewer blocks an interval would be a guess."""

_SEED = 20_250_101


def block_length(n: int, least: int = 1) -> int:
    """Length of a block: ``n^(1/3)``, and not below ``least``. Source: Künsch, Annals of Statistics 17 (1989)."""
    return max(1, least, math.ceil(math.cbrt(n)))


def interval_of_mean(values: Floats, block: int = 1, share: float = 0.95) -> tuple[float | None, float | None]:
    """Percentile interval of a mean.

    Args:
        values: In order of time, shape (n,).
        block: Neighbours that depend on each other; blocks are at least so long.
        share: 0.95 for a 95 % interval.

    Returns:
        Lower and upper end; None twice with fewer than five blocks.
    """
    length = block_length(values.size, block)
    if values.size < FEWEST_BLOCKS * length:
        return None, None
    found = np.sort(resampled_means(values, length))
    edge = (1 - share) / 2
    low = found[math.floor(edge * (found.size - 1))]
    high = found[math.ceil((1 - edge) * (found.size - 1))]
    return float(low), float(high)


def resampled_means(values: Floats, length: int) -> Floats:
    """Means of the resamples, shape (500,); equal for equal input.

    Args:
        values: Shape (n,).
        length: Of a block, 1 to n.

    Raises:
        InvalidInputError: A block is longer than the series, or empty.
    """
    if not 1 <= length <= values.size:
        raise InvalidInputError(f"Blocks of {length} cannot be drawn from {values.size} values.")
    around = np.concatenate([[0.0], np.cumsum(np.concatenate([values, values[: length - 1]]))])
    sums = around[length:] - around[:-length]
    starts = _starts(values.size, math.ceil(values.size / length))
    # Accumulated one after the other: a reduction's order is the processor's choice.
    drawn = np.add.accumulate(sums[starts], axis=1)[:, -1]
    return np.asarray(drawn / (starts.shape[1] * length), dtype=np.float64)


@lru_cache(maxsize=4)
def _starts(n: int, blocks: int) -> Ints:
    return np.random.Generator(np.random.PCG64(_SEED)).integers(0, n, size=(RESAMPLES, blocks))
