"""Small real rounds for the reference trainers: random walks, built as the marketplace builds them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mp_kit.market.bars import Bars, make_table
from mp_kit.market.build import RoundSpec, build_symbol, plan_round, prepare
from mp_kit.market.quality import check
from mp_kit.market.sources import Source

HOUR = 3_600_000_000
START = 1_600_000_000_000_000 // HOUR * HOUR


def walk(symbol: str, rows: int, seed: int, *, drift: float = 0.0, volatility: float = 1e-3) -> Bars:
    """Hourly bars of a random walk."""
    random = np.random.default_rng(seed)
    close = 1.1 * np.exp(np.cumsum(random.normal(drift, volatility, rows)))
    opened = np.r_[1.1, close[:-1]]
    wick = np.abs(random.normal(0, volatility / 2, (2, rows)))
    columns = {
        "open": opened,
        "high": np.maximum(opened, close) + wick[0],
        "low": np.minimum(opened, close) - wick[1],
        "close": close,
        "volume": np.round(random.uniform(1, 100, rows)),
    }
    return Bars(symbol, "1h", make_table(START + HOUR * np.arange(rows), columns))


def build(folder: Path, bars: Sequence[Bars]) -> list[Path]:
    """Builds a round; returns its train and validation files."""
    spec = RoundSpec()
    cuts = plan_round({one.symbol: one.times() for one in bars}, spec)
    for one in bars:
        build_symbol(check(one, spec.policy), cuts, spec, folder)
    return trainable(folder)


def build_from(source: Source, folder: Path) -> list[Path]:
    """Builds a round of a whole source."""
    spec = RoundSpec()
    checked = {symbol: prepare(source, symbol, spec) for symbol in source.symbols()}
    cuts = plan_round({symbol: one.bars.times() for symbol, one in checked.items()}, spec)
    for one in checked.values():
        build_symbol(one, cuts, spec, folder)
    return trainable(folder)


def trainable(folder: Path) -> list[Path]:
    """The files that a trainer gets."""
    return sorted(path for path in folder.iterdir() if path.name.startswith(("train-", "validation-")))
