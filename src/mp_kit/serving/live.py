"""Live bars as the model's features, by the very code that made the round's.

1. Bars are checked before anything is computed; what is wrong is told with the row's number.
2. There must be as many bars as the slowest of the model's features needs to be within its bound (640 where one is
   recursive): fewer would give numbers that no training has seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from mp_kit.contracts.inference import InferRequest
from mp_kit.errors import InvalidInputError
from mp_kit.market.bars import make_table
from mp_kit.market.indicators import FEATURES, compute

__all__ = ["bars_needed", "live_features", "read_bars"]

WITHIN = 64
"""Rows of a window that the warm-up of a recursive feature covers."""

_FAR_FUTURE = 4_102_444_800  # 2100-01-01: beyond it are milliseconds that were taken for seconds
_COLUMNS = ("open", "high", "low", "close", "volume")


def bars_needed(features: Sequence[str], window: int = 1) -> int:
    """How many bars give ``window`` rows of these features.

    Rows just before the newest are far within a recursive feature's bound, too: after 576 bars what is left of the
    start is (13/14)**576, below 1e-18, where 1e-9 is allowed. A window of up to :data:`WITHIN` rows costs no more.
    """
    used = [feature for feature in FEATURES if feature.name in features]
    recursive = [feature.warm_up + max(window - WITHIN, 0) for feature in used if feature.recursive]
    finite = [feature.warm_up + window - 1 for feature in used if not feature.recursive]
    return max([*recursive, *finite, window])


def live_features(request: InferRequest, features: Sequence[str], window: int = 1) -> pa.Table:
    """The model's features at the request's newest bars.

    Args:
        request: Brings bars, or the features by name where the model looks at one row.
        features: The names that the model wants.
        window: Rows that the model looks at.

    Returns:
        A table of ``window`` rows, the newest last, with (at least) the features as columns.

    Raises:
        InvalidInputError: Neither is there, too few bars, or bars that contradict themselves.
    """
    given = request.features or {}
    if window == 1 and all(name in given for name in features):
        return pa.table({name: [given[name]] for name in features})
    if request.ohlcv is None:
        missing = [name for name in features if name not in given]
        raise InvalidInputError(
            f"There are no bars, and of the model's features {', '.join(missing[:10]) or 'only one row'} is missing.",
            hint=f"Send ohlcv with at least {bars_needed(features, window)} bars, oldest first.",
        )
    needed = bars_needed(features, window)
    if len(request.ohlcv) < needed:
        raise InvalidInputError(
            f"The model's features need {needed} bars; there are {len(request.ohlcv)}.",
            hint="Send the window that the round's `features` file holds, brought up to date.",
        )
    table = compute(read_bars(request.ohlcv), request.timeframe.value)
    return table.slice(table.num_rows - window)


def read_bars(ohlcv: Sequence[Sequence[float]]) -> pa.Table:
    """Bars of the wire as a bar table.

    Args:
        ohlcv: Rows of ``[t, open, high, low, close, volume]``, t in unix seconds of the bar's open.

    Raises:
        InvalidInputError: A bar contradicts itself or stands in the wrong place; ``details`` name the first.
    """
    rows = np.array(ohlcv, dtype=np.float64).reshape(-1, 6)
    times, opened, high, low, close, volume = rows.T
    _refuse((times < 0) | (times >= _FAR_FUTURE), "t must be the bar's open in unix seconds")
    _refuse(np.diff(times, prepend=-1.0) <= 0, "bars must be in order of time, each once")
    _refuse(rows[:, 1:5].min(axis=1) <= 0, "prices must be above 0")
    _refuse(volume < 0, "volume must not be negative")
    _refuse((high < np.maximum(opened, close)) | (low > np.minimum(opened, close)), "high and low must enclose the bar")
    return make_table((times * 1e6).astype(np.int64), dict(zip(_COLUMNS, rows.T[1:], strict=True)))


def _refuse(bad: Any, rule: str) -> None:
    found = np.flatnonzero(bad)
    if found.size:
        place = int(found[0])
        raise InvalidInputError(
            f"ohlcv[{place}]: {rule} ({found.size} such bars).", details=[{"loc": ["ohlcv", place], "msg": rule}]
        )
