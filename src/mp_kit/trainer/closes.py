"""A round's closes as simple returns of all symbols at the bars that all of them have.

``bars_per_year`` is counted, not assumed: training bars over the years between the first and the last of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mp_kit.errors import InvalidInputError
from mp_kit.market.bars import times_of
from mp_kit.trainer.data import symbol_of

__all__ = ["Market", "load_market"]

_YEAR_MICROSECONDS = 365.25 * 86_400 * 1e6


@dataclass(frozen=True)
class Market:
    """What an optimizer learns from.

    Attributes:
        symbols: Sorted.
        returns: Shape (bars, symbols): train, then validation; the gap between them has no return.
        start: The first bar of validation.
        bars_per_year: Of the training bars.
    """

    symbols: list[str]
    returns: NDArray[np.float64]
    start: int
    bars_per_year: float


def load_market(roles: Mapping[str, Sequence[Path]], *, lookback: int, every: int) -> Market:
    """Reads the closes of a round.

    Args:
        roles: The files of ``train`` and ``validation``.
        lookback: Bars that a decision sees.
        every: Bars between decisions.

    Raises:
        InvalidInputError: A file lacks something, or the bars in common are too few.
    """
    closes = {role: _closes(roles[role]) for role in ("train", "validation")}
    train, validation = closes["train"], closes["validation"]
    symbols = sorted(set(train.columns) & set(validation.columns))
    returns = [frame[symbols].to_numpy()[1:] / frame[symbols].to_numpy()[:-1] - 1 for frame in (train, validation)]
    start, needed = len(returns[0]), lookback + 2 * every
    if not symbols or start < needed or len(returns[1]) < every:
        raise InvalidInputError(
            f"{len(symbols)} symbols have {start} training and {len(returns[1])} validation bars in common; lookback"
            f" {lookback} and rebalance_bars {every} need {needed} and {every}.",
            hint="Order a shorter lookback, or use a round with more bars.",
        )
    years = (train.index[-1] - train.index[0]) / _YEAR_MICROSECONDS
    return Market(symbols, np.concatenate(returns), start, start / years)


def _closes(paths: Sequence[Path]) -> pd.DataFrame:
    """Closes by symbol at the instants that all symbols have."""
    columns = {}
    for path in paths:
        missing = [name for name in ("timestamp", "close") if name not in pq.read_schema(path).names]
        if missing:
            raise InvalidInputError(f"{path.name} has no column {', '.join(missing)}.")
        table = pq.read_table(path, columns=["timestamp", "close"])
        columns[symbol_of(path)] = pd.Series(table["close"].to_numpy(), index=times_of(table))
    frame = pd.DataFrame(columns).dropna().sort_index()
    if not (frame.to_numpy() > 0).all():
        raise InvalidInputError(f"{', '.join(path.name for path in paths)}: a close is not positive.")
    return frame
