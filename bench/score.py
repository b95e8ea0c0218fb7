"""A million signals of fifty deployments scored and compared with a straight pandas script.

The bars are the real hourly ones where they lie beside the checkout, else a random walk of the same size. Each
deployment speaks about half of the hours of both symbols, a few in a hundred late, stored late in their bar, or twice.
Ours is timed from columns to cards with all intervals, the contribution to the others among them; the script computes
plain values only.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.plain_scores import reference
from bench.results import Result, best_of, seconds_of
from mp_kit.contracts import Timeframe
from mp_kit.scoring.card import card_of
from mp_kit.scoring.contribution import standings
from mp_kit.scoring.outcomes import Market, Statements, join, join_runs

ROWS = int(os.environ.get("MP_BENCH_SIGNALS", "1000000"))
DEPLOYMENTS = 50
SYMBOLS = ("EURUSD", "NZDUSD")
HOUR = 3_600_000_000
HORIZON, COST = 5, 2e-5
FX = Path(__file__).parents[2] / "shared" / "data" / "fx" / "1h"
MEASURES = ("hit_rate", "profit_per_signal", "brier", "avg_confidence", "ic", "rank_ic", "sharpe", "total_return",
            "max_drawdown", "turnover")  # fmt: skip
MEMORY = """
import sys
from bench import score
from bench.results import peak_kib
market, told = score.columns(*score.load(sys.argv[1]))
before = peak_kib()
score.work(market, told)
print(before, peak_kib())
"""


def run() -> list[Result]:
    """Seconds, the largest difference, and the peak of memory."""
    frames = real_bars()
    signals = made_up(frames)
    market, told = columns(signals, frames)
    cards: dict[str, dict[str, float | None]] = {}
    plain: list[pd.DataFrame] = []
    seconds = best_of(
        2,
        {
            "ours": lambda: seconds_of(lambda: cards.update(work(market, told))),
            "pandas": lambda: seconds_of(lambda: plain.append(reference(signals, frames, HOUR, HORIZON, COST))),
        },
    )
    apart = max(
        abs(float(row[name]) - float(cards[str(who)][name] or 0))
        for who, row in plain[0].iterrows()
        for name in row.index
    )
    loaded, peak = _memory(frames, signals)
    size = f"{len(signals):,} signals, {DEPLOYMENTS} deployments, {sum(map(len, frames.values())):,} bars"
    return [
        Result("score.seconds", seconds["ours"], "s", f"pandas, {seconds['pandas']:.1f} s without intervals; {size}",
               seconds["pandas"] / seconds["ours"], ""),
        Result("score.max_abs_diff", apart, "", "the same numbers by pandas", None, "<= 1e-12"),
        Result("score.peak_gib", peak / 2**20, "GiB", f"{loaded / 2**20:.2f} GiB with the columns", peak / loaded),
    ]  # fmt: skip


def made_up(frames: dict[str, pd.DataFrame], rows: int = ROWS) -> pd.DataFrame:
    """Seeded statements about those bars."""
    random = np.random.default_rng(1)
    symbol = random.choice(SYMBOLS, rows)
    place = random.integers(0, len(frames[SYMBOLS[0]]), rows)
    event = np.zeros(rows, np.int64)
    for name in SYMBOLS:
        opens, mine = frames[name].time.to_numpy(), symbol == name
        event[mine] = opens[np.minimum(place[mine], len(opens) - 1)]
    return pd.DataFrame({
        "deployment": np.char.add("dep_", random.integers(10, 10 + DEPLOYMENTS, rows).astype(str)),
        "symbol": symbol,
        "event_time": event,
        "received_at": event + random.integers(HOUR // 2, HOUR + HOUR // 30, rows),
        "late": random.uniform(size=rows) < 0.03,
        "direction": random.integers(-1, 2, rows),
        "confidence": random.integers(1, 1_000, rows) / 1_000,
        "batch": np.arange(rows) // 1_000,
        "row": np.arange(rows) % 1_000,
    })  # fmt: skip


def columns(signals: pd.DataFrame, frames: dict[str, pd.DataFrame]) -> tuple[Market, dict[str, Statements]]:
    """The same for ``mp_kit.scoring``."""
    series = {name: join_runs([(frame.time.to_numpy(), frame.close.to_numpy())]) for name, frame in frames.items()}
    told = {}
    for name, group in signals.groupby("deployment"):
        plain = {column: group[column].to_numpy(np.int64) for column in
                 ("event_time", "received_at", "direction", "batch", "row")}  # fmt: skip
        told[str(name)] = Statements(
            SYMBOLS,
            (group.symbol == SYMBOLS[1]).to_numpy(np.int64),
            late=group.late.to_numpy(bool),
            confidence=group.confidence.to_numpy(float),
            **plain,
        )
    return Market(Timeframe.H1, HORIZON, series), told


def work(market: Market, told: dict[str, Statements]) -> dict[str, dict[str, float | None]]:
    """What is timed: joining, cards, contributions."""
    met = {name: join(market, one) for name, one in told.items()}
    cards = {name: card_of(market, one, cost=COST, tries=20) for name, one in met.items()}
    standing = standings(met, HORIZON)
    return {
        name: {measure: getattr(card, measure).value for measure in MEASURES}
        | {"scored": float(card.basis.scored), "contribution": standing[name].contribution.value}
        for name, card in cards.items()
    }


def load(folder: str) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """What :func:`run` laid aside for a process of its own."""
    frames = {name: pd.read_parquet(Path(folder) / f"{name}.parquet") for name in SYMBOLS}
    return pd.read_parquet(Path(folder) / "signals.parquet"), frames


def real_bars() -> dict[str, pd.DataFrame]:
    return {name: _real(FX / f"{name}.csv.gz") if FX.is_dir() else _walk(seed) for seed, name in enumerate(SYMBOLS)}


def _real(path: Path) -> pd.DataFrame:
    with gzip.open(path) as file:
        frame = pd.read_csv(file, usecols=["timestamp", "close"], parse_dates=["timestamp"])
    times = frame.timestamp.dt.tz_convert(None).astype("datetime64[us]").astype(np.int64)
    return pd.DataFrame({"time": times, "close": frame.close})


def _walk(seed: int) -> pd.DataFrame:
    steps = np.random.default_rng(seed).normal(0, 1e-3, 74_439)
    return pd.DataFrame({"time": np.arange(steps.size) * HOUR, "close": np.exp(np.cumsum(steps))})


def _memory(frames: dict[str, pd.DataFrame], signals: pd.DataFrame) -> tuple[float, float]:
    """Peak in KiB of a process of its own, before and after scoring."""
    with tempfile.TemporaryDirectory(prefix="mp-bench-") as folder:
        signals.to_parquet(Path(folder) / "signals.parquet")
        for name, frame in frames.items():
            frame.to_parquet(Path(folder) / f"{name}.parquet")
        command: list[Any] = [sys.executable, "-c", MEMORY, folder]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    before, after = (float(value) for value in json.loads(f"[{printed.replace(' ', ',')}]"))
    return before, after
