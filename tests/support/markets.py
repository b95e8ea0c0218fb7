"""Small markets and statements by hand and at random, for tests of scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from mp_kit.contracts import Timeframe
from mp_kit.scoring.outcomes import Market, Statements, join_runs

HOUR = 3_600_000_000


def make_market(closes: Mapping[str, list[float] | np.ndarray], horizon: int = 1) -> Market:
    series = {
        name: join_runs([(np.arange(len(prices), dtype=np.int64) * HOUR, np.asarray(prices, dtype=float))])
        for name, prices in closes.items()
    }
    return Market(Timeframe.H1, horizon, series)


def say(*rows: dict[str, Any]) -> Statements:
    """Statements; each is stored a minute before its bar ends unless it says otherwise."""
    frame = pd.DataFrame([
        {"symbol": "EURUSD", "late": False, "direction": 1, "confidence": 1.0, "batch": number, "row": 0}
        | {"received_at": row["event_time"] + HOUR - 60_000_000}
        | row
        for number, row in enumerate(rows)
    ])  # fmt: skip
    return statements_of(frame)


def statements_of(frame: pd.DataFrame) -> Statements:
    names = sorted(frame.symbol.unique())
    codes = frame.symbol.map({name: number for number, name in enumerate(names)}).to_numpy(np.int64)
    integers = {
        name: frame[name].to_numpy(np.int64) for name in ("event_time", "received_at", "direction", "batch", "row")
    }
    return Statements(
        names, codes, late=frame.late.to_numpy(bool), confidence=frame.confidence.to_numpy(float), **integers
    )


def made_up(
    seed: int, *, deployments: int = 4, bars: int = 400, count: int = 1_500
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Random statements with all faults in them, and random bars."""
    random = np.random.default_rng(seed)
    frames = {
        name: pd.DataFrame({
            "time": np.arange(bars, dtype=np.int64) * HOUR,
            "close": np.exp(np.cumsum(random.normal(0, 0.01, bars))),
        })
        for name in ("AAA", "BBB", "CCC")
    }  # fmt: skip
    event = random.integers(-3, bars + 3, count) * HOUR
    signals = pd.DataFrame({
        "deployment": [f"dep_{number}" for number in random.integers(0, deployments, count)],
        "symbol": random.choice(["AAA", "BBB", "CCC", "DDD"], count, p=[0.4, 0.4, 0.1, 0.1]),
        "event_time": event,
        "received_at": event + random.integers(0, 3 * HOUR, count),
        "late": random.uniform(size=count) < 0.1,
        "direction": random.integers(-1, 2, count),
        "confidence": np.round(random.uniform(0, 1, count), 2),
        "batch": random.integers(0, 50, count),
        "row": np.arange(count),
    })  # fmt: skip
    return signals, frames
