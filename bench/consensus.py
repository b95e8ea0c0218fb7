"""A million signals of fifty deployments blended by every method and compared with a straight pandas script.

The signals are those of ``bench/score.py``, about the real hourly bars where they lie beside the checkout. Ours is
timed from columns of voices to every bar's blend and every voice's leave-one-out part, by all three methods; so is the
script.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from bench.plain_consensus import reference, voices
from bench.results import Result, best_of, seconds_of
from bench.score import DEPLOYMENTS, made_up, real_bars
from mp_kit.scoring.blending import BlendedBars, Method, blend_bars
from mp_kit.scoring.skill import Record, skills_of

MEMORY = """
import sys
import pandas as pd
from bench import consensus
from bench.results import peak_kib
told = pd.read_parquet(sys.argv[1])
before = peak_kib()
consensus.work(told)
print(before, peak_kib())
"""


def run() -> list[Result]:
    """Seconds, the largest difference, and the peak of memory."""
    signals = made_up(real_bars())
    told = voices(signals)
    told["skill"] = told.deployment.map(_skills(told))
    ours: dict[Method, BlendedBars] = {}
    plain: dict[str, tuple[pd.DataFrame, pd.DataFrame]] = {}
    seconds = best_of(
        2,
        {
            "ours": lambda: seconds_of(lambda: ours.update(work(told))),
            "pandas": lambda: seconds_of(lambda: plain.update({one.value: reference(told, one) for one in Method})),
        },
    )
    apart = max(difference(ours[method], *plain[method.value]) for method in Method)
    loaded, peak = _memory(told)
    size = f"{len(signals):,} signals, {DEPLOYMENTS} deployments, {told.bar.max() + 1:,} bars, {len(Method)} methods"
    against = f"pandas, {seconds['pandas']:.1f} s; {size}"
    return [
        Result("consensus.seconds", seconds["ours"], "s", against, seconds["pandas"] / seconds["ours"], ""),
        Result("consensus.max_abs_diff", apart, "", "the same numbers by pandas", None, "<= 1e-12"),
        Result("consensus.peak_gib", peak / 2**20, "GiB", f"{loaded / 2**20:.2f} GiB with the columns", peak / loaded),
    ]


def work(told: pd.DataFrame) -> dict[Method, BlendedBars]:
    """What is timed."""
    bar, sign = told.bar.to_numpy(np.int64), told.sign.to_numpy(np.int64)
    confidence, skill = told.confidence.to_numpy(float), told.skill.to_numpy(float)
    return {method: blend_bars(bar, sign, confidence, skill, method=method) for method in Method}


def difference(ours: BlendedBars, bars: pd.DataFrame, parts: pd.DataFrame) -> float:
    """The largest between the two, decisions among them."""
    pairs = [
        (ours.decision, bars.decision),
        (ours.confidence, bars.confidence),
        (ours.score, bars.score),
        (ours.weight, parts.weight),
        (ours.value, parts.value),
        (ours.swing, parts.swing),
        (ours.without, parts.without),
    ]
    return max(float(np.abs(one - other.to_numpy(float)).max()) for one, other in pairs)


def _skills(told: pd.DataFrame) -> dict[str, float]:
    random = np.random.default_rng(2)
    names = sorted(told.deployment.unique())
    return skills_of({name: Record(random.uniform(0.45, 0.55), int(random.integers(0, 5_000))) for name in names})


def _memory(told: pd.DataFrame) -> tuple[float, float]:
    """Peak in KiB of a process of its own, before and after blending."""
    with tempfile.TemporaryDirectory(prefix="mp-bench-") as folder:
        path = Path(folder) / "told.parquet"
        told[["bar", "sign", "confidence", "skill"]].to_parquet(path)
        command = [sys.executable, "-c", MEMORY, str(path)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    before, after = (float(value) for value in printed.split())
    return before, after
