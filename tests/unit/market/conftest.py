"""Bars for tests: made up from a seed, and the real ones where this machine has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mp_kit.market.bars import Bars, make_table

START = 1_704_067_200_000_000
"""Monday 2024-01-01T00:00:00Z in microseconds."""

MakeBars = Callable[..., Bars]


@pytest.fixture(scope="session")
def shared_fx() -> Path:
    """Real currency bars beside the checkout; skips where they are absent."""
    folder = Path(__file__).parents[3] / ".." / "shared" / "data" / "fx"
    if not folder.is_dir():
        pytest.skip("no real currency bars at ../shared/data/fx")
    return folder


@pytest.fixture(scope="session")
def make_bars() -> MakeBars:
    """A factory of valid bars: a random walk on an unbroken grid."""

    def make(
        rows: int = 900, *, seed: int = 1, symbol: str = "EURUSD", timeframe: str = "1h", start: int = START
    ) -> Bars:
        random = np.random.default_rng(seed)
        close = np.round(1.1 * np.exp(np.cumsum(random.normal(0, 1e-3, rows))), 5)
        opened = np.r_[1.1, close[:-1]]
        wick = np.round(np.abs(random.normal(0, 5e-4, (2, rows))), 5)
        step = {"1m": 60, "1h": 3600, "1d": 86_400}[timeframe] * 1_000_000
        columns = {
            "open": opened,
            "high": np.maximum(opened, close) + wick[0],
            "low": np.minimum(opened, close) - wick[1],
            "close": close,
            "volume": np.round(random.uniform(0, 100, rows)),
        }
        return Bars(symbol, timeframe, make_table(start + step * np.arange(rows), columns))

    return make
