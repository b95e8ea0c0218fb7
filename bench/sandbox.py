"""A month in a sandbox: real hourly bars where they lie beside the checkout, three house vendors, scored at its end.

Timed is ``box.run(days=30)``, from the first close to the leaderboard, with opening and closing told beside it. Then
each vendor's signals are listed over HTTP and scored here, as ``mp score`` does, and every number of the card compared.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

import mp_kit
from bench.results import Result
from bench.score import FX, real_bars

DAYS = float(os.environ.get("MP_BENCH_DAYS", "30"))
START = "2018-05-01"
TARGET_SECONDS = 60.0


def run() -> list[Result]:
    """Seconds of a month, and how far its scores are from those made at home."""
    with _bars() as (where, start):
        began = time.perf_counter()
        with mp_kit.sandbox(where, start=start, vendors=3) as box:
            opened = time.perf_counter() - began
            done = box.run(DAYS, progress=False)
            apart = max(_apart(box, entry) for entry in done.board)
    what = f"{done.closes:,} closes, 3 vendors, {done.signals:,} signals; opening took {opened:.1f} s more"
    return [
        Result("sandbox.month_seconds", done.seconds, "s", what, done.seconds / TARGET_SECONDS, "<= 60 s"),
        Result("sandbox.signals_per_s", done.signals / done.seconds, "1/s", "each in time, by HTTP, blended", None),
        Result("sandbox.max_abs_diff", apart, "", "`mp score` of the same signals on the same round", None, "0"),
    ]


def _apart(box: Any, entry: Any) -> float:
    """The largest difference between a card of the leaderboard and the one made here."""
    voice = next(one for one in box.house if one.deployment.deployment_id == entry.deployment_id)
    told = voice.market.signals.list(limit=100_000)
    made = voice.market.scores.score(told, entry.round_id, tries=entry.card.tries, progress=False)
    theirs, ours = _numbers(entry.card.model_dump()), _numbers(made.model_dump())
    assert theirs.keys() == ours.keys()
    return max(abs(theirs[name] - ours[name]) for name in theirs)


def _numbers(card: Any, name: str = "") -> dict[str, float]:
    if isinstance(card, dict):
        return {k: v for part, value in card.items() for k, v in _numbers(value, f"{name}.{part}").items()}
    if isinstance(card, list):
        return {k: v for part, value in enumerate(card) for k, v in _numbers(value, f"{name}.{part}").items()}
    return {name: float(card)} if isinstance(card, (int, float)) else {}


@contextmanager
def _bars() -> Iterator[tuple[str, str]]:
    if FX.is_dir():
        yield str(FX), START
        return
    with tempfile.TemporaryDirectory(prefix="mp-bench-") as folder:
        for symbol, walk in real_bars().items():
            opened = walk.close.shift(fill_value=walk.close[0])
            frame = pd.DataFrame({"timestamp": pd.to_datetime(walk.time, unit="us", utc=True), "open": opened})
            frame["high"], frame["low"] = frame.open.combine(walk.close, max), frame.open.combine(walk.close, min)
            frame.assign(close=walk.close, volume=1).to_csv(Path(folder) / f"{symbol}.csv", index=False)
        yield folder, "1978-01-01"
