"""Live bars as features."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mp_kit.contracts.inference import InferRequest
from mp_kit.errors import InvalidInputError
from mp_kit.market.indicators import FEATURE_NAMES, FEATURES, compute
from mp_kit.serving.live import bars_needed, live_features, read_bars
from mp_kit.serving.window import Windows
from mp_kit.testing import sample_bars


def request(**fields: Any) -> InferRequest:
    return InferRequest.model_validate({"symbol": "EURUSD", "timeframe": "1h", **fields})


def test_features_are_the_rounds_own(bars: Windows):
    """The last row is what the round's code computes over the same bars, to the last bit."""
    whole = compute(bars.tables["EURUSD"].slice(20), "1h")
    live = live_features(request(ohlcv=bars.rows("EURUSD", 640)), FEATURE_NAMES)
    assert 1 == live.num_rows
    assert {name: whole[name][-1].as_py() for name in FEATURE_NAMES} == {
        name: live[name][0].as_py() for name in FEATURE_NAMES
    }


def test_window_of_rows():
    """A model that looks back gets so many rows, all of them within each feature's bound."""
    window, long = 64, sample_bars(3_000)
    bars = Windows("long", "1h", {"EURUSD": long})
    live = live_features(request(ohlcv=bars.rows("EURUSD", 640)), FEATURE_NAMES, window)
    whole = compute(long, "1h").slice(len(long) - window)
    for feature in FEATURES:
        ours, theirs = live[feature.name].to_numpy(), whole[feature.name].to_numpy()
        assert (np.abs(ours - theirs) <= feature.bound * np.maximum(np.abs(theirs), 1)).all(), feature.name


@pytest.mark.parametrize(
    ("features", "window", "needed"),
    [(["ret_1"], 1, 2), (["rsi_14"], 1, 640), (["ret_1", "rsi_14"], 64, 640), (["rsi_14"], 70, 646), ([], 3, 3)],
)
def test_bars_needed(features: list[str], window: int, needed: int):
    """As many as the slowest feature asks for."""
    assert needed == bars_needed(features, window)


def test_one_bar_too_few_is_refused(bars: Windows):
    """With both numbers."""
    with pytest.raises(InvalidInputError, match="need 640 bars; there are 639"):
        live_features(request(ohlcv=bars.rows("EURUSD", 639)), ["rsi_14"])


def test_given_features_are_taken():
    """Without any bar."""
    table = live_features(request(features={"a": 1.0, "b": 2.0, "c": 3.0}), ["b", "a"])
    assert [{"b": 2.0, "a": 1.0}] == table.to_pylist()


def test_missing_features_without_bars_are_refused():
    """Names them, and what to send."""
    with pytest.raises(InvalidInputError, match="rsi_14"):
        live_features(request(features={"ret_1": 0.0}), ["ret_1", "rsi_14"])


BAR = [1_700_000_000.0, 1.1, 1.2, 1.0, 1.15, 10.0]


@pytest.mark.parametrize(
    ("column", "value", "word"),
    [
        (0, 1_700_000_000_000.0, "unix seconds"),
        (0, -1.0, "unix seconds"),
        (1, 0.0, "above 0"),
        (2, 1.0, "enclose"),
        (3, 1.18, "enclose"),
        (4, -1.0, "above 0"),
        (5, -1.0, "negative"),
    ],
)
def test_bar_that_contradicts_itself_is_refused(column: int, value: float, word: str):
    """With its row."""
    second = [BAR[0] + 3600, *BAR[1:]]
    second[column] = value
    with pytest.raises(InvalidInputError, match=word) as caught:
        read_bars([BAR, second])
    assert ["ohlcv", 1] == caught.value.details[0]["loc"]


@pytest.mark.parametrize("step", [0.0, -3600.0])
def test_bars_out_of_order_are_refused(step: float):
    """Twice the same, or backwards."""
    with pytest.raises(InvalidInputError, match="order"):
        read_bars([BAR, [BAR[0] + step, *BAR[1:]]])
