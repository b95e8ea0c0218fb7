"""Bars of a quiet random walk, as a source for rounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

HOURS = 2_000


def write_bars(folder: Path, symbol: str) -> Path:
    """One symbol's hours as CSV; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    close = 1.1 * np.exp(np.cumsum(np.random.default_rng(5).normal(0, 1e-3, HOURS)))
    opened = np.r_[1.1, close[:-1]]
    rows = ["timestamp,open,high,low,close,volume"]
    for i in range(HOURS):
        high, low = max(opened[i], close[i]) * 1.0005, min(opened[i], close[i]) * 0.9995
        when = np.datetime64("2024-01-01T00:00:00") + np.timedelta64(i, "h")
        rows.append(f"{when}Z,{opened[i]:.6f},{high:.6f},{low:.6f},{close[i]:.6f},{100 + i % 7}")
    (folder / f"{symbol}.csv").write_text("\n".join(rows))
    return folder
