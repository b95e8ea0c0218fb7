"""What a model learns to say: the return ahead and the barrier that is touched first.

1. A label at bar t speaks of bars t+1 … t+horizon and of nothing later.
2. Where those bars are not all there, the label is unknown: NaN for a return, :data:`UNKNOWN` for a direction. An
   unknown label is never published as a HOLD.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mp_kit.errors import InvalidInputError

__all__ = ["LABEL_COLUMNS", "UNKNOWN", "direction", "forward_return"]

LABEL_COLUMNS = ("label_return", "label_direction")

UNKNOWN = np.int8(-128)
"""The direction of a row whose future or volatility is not known."""

_BUY, _SELL, _HOLD = np.int8(1), np.int8(-1), np.int8(0)

Floats = NDArray[np.float64]


def forward_return(close: Floats, horizon: int) -> Floats:
    """Log return from each close to the close ``horizon`` bars later.

    Args:
        close: Positive prices, shape (n,).
        horizon: Bars ahead, at least 1.

    Returns:
        ``log(close[t + horizon] / close[t])``, shape (n,); NaN for the last ``horizon`` rows.

    Raises:
        InvalidInputError: The horizon is less than one bar.
    """
    _require(horizon)
    result = np.full_like(close, np.nan)
    result[:-horizon] = np.log(close[horizon:] / close[:-horizon])
    return result


def direction(
    high: Floats, low: Floats, close: Floats, horizon: int, *, volatility: Floats, width: float = 1.0
) -> NDArray[np.int8]:
    """Which barrier the price touches first: the triple-barrier label.

    The barriers of a bar lie at ``close * exp(± width * volatility * sqrt(horizon))``: what the market of the last
    days would move in that time. BUY (1) if a later high reaches the upper one first, SELL (-1) if a later low
    reaches the lower one first, HOLD (0) if neither does within ``horizon`` bars (the vertical barrier), or both in
    the same bar, since the bar does not tell which came first. Source: López de Prado, Advances in Financial
    Machine Learning, 2018, section 3.4.

    Args:
        high: Shape (n,), as all the arrays.
        low: Lows of the bars.
        close: Closes of the bars.
        horizon: Bars until the vertical barrier, at least 1.
        volatility: Standard deviation of one bar's return, known at the bar's close (``vol_20``).
        width: Distance of the barriers in standard deviations over the horizon.

    Returns:
        int8 of shape (n,): 1, -1, 0, or :data:`UNKNOWN` in the last ``horizon`` rows and where volatility is NaN.

    Raises:
        InvalidInputError: The horizon is less than one bar.
    """
    _require(horizon)
    rows = max(close.size - horizon, 0)
    band = np.exp(width * volatility[:rows] * np.sqrt(horizon))
    upper, lower = close[:rows] * band, close[:rows] / band
    label = np.full(rows, _HOLD)
    open_yet = np.ones(rows, dtype=np.bool_)
    for ahead in range(1, horizon + 1):
        up = open_yet & (high[ahead : ahead + rows] >= upper)
        down = open_yet & (low[ahead : ahead + rows] <= lower)
        label[up & ~down] = _BUY
        label[down & ~up] = _SELL
        open_yet &= ~(up | down)
    result = np.full(close.size, UNKNOWN)
    result[:rows] = np.where(np.isnan(volatility[:rows]), UNKNOWN, label)
    return result


def _require(horizon: int) -> None:
    if horizon < 1:
        raise InvalidInputError(f"A label needs a horizon of at least one bar, not {horizon}.")
