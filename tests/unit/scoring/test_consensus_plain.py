"""Blended columns against a straight pandas script, on bars of all sizes with ties, silence and late voices."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bench.consensus import difference
from bench.plain_consensus import reference, voices
from mp_kit.scoring.blending import Method, blend_bars


@pytest.fixture(scope="module")
def told() -> pd.DataFrame:
    """Seeded voices: round confidences make ties, some of them are 0."""
    random = np.random.default_rng(7)
    rows = 3_000
    signals = pd.DataFrame(
        {
            "deployment": random.integers(0, 12, rows),
            "symbol": random.choice(["EURUSD", "NZDUSD"], rows),
            "event_time": np.minimum(random.geometric(0.004, rows), 700),
            "received_at": random.integers(0, 100, rows),
            "late": random.uniform(size=rows) < 0.2,
            "direction": random.integers(-1, 2, rows),
            "confidence": random.integers(0, 5, rows) / 4,
            "batch": np.arange(rows) // 100,
            "row": np.arange(rows) % 100,
        }
    )
    made = voices(signals)
    return made.assign(skill=np.asarray([0.25, 1.0, 4.0])[made.deployment % 3])


@pytest.mark.parametrize("method", Method)
def test_equals_plain_pandas(told: pd.DataFrame, method: Method):
    """Decisions, confidences, scores, weights and every voice's part."""
    assert {1, 2, 3} <= set(told.groupby("bar").size())
    columns = [told[name].to_numpy(kind) for name, kind in (("bar", int), ("sign", int), ("confidence", float))]
    made = blend_bars(*columns, told.skill.to_numpy(float), method=method)
    assert difference(made, *reference(told, method.value)) <= 1e-12
