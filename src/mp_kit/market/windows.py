"""Finite windows over a series whose value depends on the window alone, to the last bit.

Running sums carry the rounding of everything before the window, and numpy may add the rows of a strided view in an
order that depends on how many there are. Here a window is added value by value, oldest first, over whole arrays:
``window`` elementwise operations, each correctly rounded, the same for every row and every length of input.

All functions take and give float64 arrays of shape (n,), NaN where the window is not full.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "change",
    "difference",
    "directional_moves",
    "highest",
    "lowest",
    "mean",
    "mean_std",
    "ratio",
    "true_range",
]

Floats = NDArray[np.float64]


def change(values: Floats, bars: int) -> Floats:
    """``values / values[-bars] - 1``."""
    result = np.full_like(values, np.nan)
    result[bars:] = values[bars:] / values[:-bars] - 1
    return result


def difference(values: Floats) -> Floats:
    """``values - values[-1]``."""
    result = np.full_like(values, np.nan)
    result[1:] = values[1:] - values[:-1]
    return result


def mean(values: Floats, window: int) -> Floats:
    """The mean of the last ``window`` values."""
    result = np.full_like(values, np.nan)
    rows = values.size - window + 1
    if rows > 0:
        total = values[:rows].copy()
        for offset in range(1, window):
            total += values[offset : offset + rows]
        result[window - 1 :] = total / window
    return result


def mean_std(values: Floats, window: int) -> tuple[Floats, Floats]:
    """Mean and population standard deviation, in two passes so that nothing cancels."""
    average = mean(values, window)
    std = np.full_like(values, np.nan)
    rows = values.size - window + 1
    if rows > 0:
        centre = average[window - 1 :]
        total = np.zeros(rows, dtype=np.float64)
        for offset in range(window):
            distance = values[offset : offset + rows] - centre
            distance *= distance
            total += distance
        std[window - 1 :] = np.sqrt(total / window)
    return average, std


def highest(values: Floats, window: int) -> Floats:
    """The largest of the last ``window`` values."""
    result = np.full_like(values, np.nan)
    rows = values.size - window + 1
    if rows > 0:
        best = values[:rows].copy()
        for offset in range(1, window):
            np.maximum(best, values[offset : offset + rows], out=best)
        result[window - 1 :] = best
    return result


def lowest(values: Floats, window: int) -> Floats:
    """The smallest of the last ``window`` values."""
    return -highest(-values, window)


def ratio(top: Floats, bottom: Floats, *, floor: Floats | float, otherwise: float) -> Floats:
    """``top / bottom``, or ``otherwise`` where ``bottom`` is not above ``floor``; NaN stays NaN."""
    flat = bottom <= floor
    result = top / np.where(flat, 1.0, bottom)
    result[flat] = otherwise
    return result


def true_range(high: Floats, low: Floats, close: Floats) -> Floats:
    """The range of a bar including the gap from the close before it (Wilder 1978, p. 21)."""
    result = np.full_like(close, np.nan)
    before = close[:-1]
    result[1:] = np.maximum(high[1:], before) - np.minimum(low[1:], before)
    return result


def directional_moves(high: Floats, low: Floats) -> tuple[Floats, Floats]:
    """How far a bar reaches above (plus) or below (minus) the one before: only the larger counts (Wilder 1978)."""
    up, down = difference(high), -difference(low)
    plus, minus = np.full_like(up, np.nan), np.full_like(up, np.nan)
    plus[1:] = np.where((up[1:] > down[1:]) & (up[1:] > 0), up[1:], 0.0)
    minus[1:] = np.where((down[1:] > up[1:]) & (down[1:] > 0), down[1:], 0.0)
    return plus, minus
