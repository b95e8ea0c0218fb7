"""Made-up bars and a small round out of them, the same on every machine: for tests, never for a decision."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from mp_kit.market.bars import Bars, make_table
from mp_kit.market.build import RoundSpec, build_symbol, plan_round
from mp_kit.market.quality import check

__all__ = ["sample_bars", "sample_round"]

_HOUR = 3_600_000_000
_START = 1_700_000_000_000_000 // _HOUR * _HOUR
_SIZE = 5e-4  # of an hour's move


def sample_bars(rows: int = 700, *, symbol: int = 0) -> pa.Table:
    """Hourly bars with the columns of a round's: a seeded random walk around 1.1.

    Args:
        rows: How many.
        symbol: Another number gives another market.
    """
    random = np.random.default_rng(symbol)
    close = 1.1 * np.exp(np.cumsum(random.normal(0, _SIZE, rows)))
    opened = np.r_[1.1, close[:-1]]
    wick = np.abs(random.normal(0, _SIZE / 2, (2, rows)))
    columns = {
        "open": opened,
        "high": np.maximum(opened, close) * (1 + wick[0]),
        "low": np.minimum(opened, close) * (1 - wick[1]),
        "close": close,
        "volume": np.round(random.uniform(10, 100, rows)),
    }
    return make_table(_START + _HOUR * np.arange(rows), columns)


def sample_round(folder: Path, symbols: Sequence[str] = ("EURUSD", "EURJPY"), rows: int = 3_000) -> list[Path]:
    """Builds a round as the marketplace does; returns its train and validation files.

    Args:
        folder: Where to write.
        symbols: Each gets a market of its own.
        rows: Bars of each.
    """
    spec = RoundSpec()
    bars = [Bars(name, "1h", sample_bars(rows, symbol=number)) for number, name in enumerate(symbols)]
    cuts = plan_round({one.symbol: one.times() for one in bars}, spec)
    folder.mkdir(parents=True, exist_ok=True)
    for one in bars:
        build_symbol(check(one, spec.policy), cuts, spec, folder)
    return sorted(path for path in folder.iterdir() if path.name.startswith(("train-", "validation-")))
