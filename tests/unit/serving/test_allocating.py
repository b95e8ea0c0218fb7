"""An optimizer's requests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mp_kit.contracts.common import Task
from mp_kit.contracts.inference import OptimizerInferRequest
from mp_kit.errors import InvalidInputError
from mp_kit.serving.allocating import allocate
from mp_kit.serving.reference import LOOKBACK, SYMBOLS, write_reference
from mp_kit.testing import sample_bars
from mp_kit.trainer.predict import Predictor

CLOSES = {name: sample_bars(LOOKBACK + 1, symbol=number)["close"].to_pylist() for number, name in enumerate(SYMBOLS)}


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("model")
    write_reference(Task.OPTIMIZER, folder)
    return Predictor.load(folder)


def ask(predictor: Predictor, **fields: Any) -> dict[str, Any]:
    return allocate(OptimizerInferRequest.model_validate({"timeframe": "1h", **fields}), predictor)


def weights(answer: dict[str, Any]) -> list[float]:
    return [part["weight"] for part in answer["allocations"]]


def test_graph_keeps_the_bounds(predictor: Predictor):
    """Below max_weight each, below 1 together."""
    found = ask(predictor, assets=list(SYMBOLS), closes=CLOSES, max_weight=0.2)
    assert max(weights(found)) <= 0.2
    assert 0 < sum(weights(found)) <= 1


def test_asset_that_is_not_asked_stays_in_cash(predictor: Predictor):
    """And its portfolio's return is not told as this one's."""
    all_of_them = ask(predictor, assets=list(SYMBOLS), closes=CLOSES)
    two = ask(predictor, assets=list(SYMBOLS[:2]), closes=CLOSES)
    assert weights(all_of_them)[:2] == weights(two)
    assert ("expected_return" in all_of_them, "expected_return" in two) == (True, False)


def test_moments_are_the_graphs_own_optimum(predictor: Predictor):
    """Less variance, more weight; the figures are annual."""
    found = ask(predictor, assets=["A", "B"], covariance=[[1e-6, 0], [0, 4e-6]])
    assert weights(found)[0] > weights(found)[1] > 0
    w, per_year = np.array(weights(found)), float(predictor.card["bars_per_year"])
    volatility = float(np.sqrt(w @ np.diag([1e-6, 4e-6]) @ w * per_year))
    assert volatility == pytest.approx(found["expected_volatility"])


def test_asset_with_a_worse_return_gets_less(predictor: Predictor):
    """Expected returns overrule the prior."""
    assets, covariance = ["A", "B"], [[1e-6, 0], [0, 1e-6]]
    found = ask(predictor, assets=assets, covariance=covariance, expected_returns={"A": 1e-6, "B": -1e-6})
    assert weights(found)[0] > weights(found)[1] == 0


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"assets": ["EURUSD", "EURUSD"], "closes": CLOSES}, "twice"),
        ({"assets": ["EURUSD", "XAUUSD"], "closes": CLOSES}, "XAUUSD"),
        ({"assets": ["EURUSD"], "closes": {"EURUSD": CLOSES["EURUSD"]}}, "EURJPY"),
        ({"assets": ["EURUSD"], "closes": {**CLOSES, "EURUSD": [1.0]}}, "as many bars"),
        ({"assets": ["EURUSD"], "closes": {name: row[:50] for name, row in CLOSES.items()}}, "121 rows"),
        ({"assets": ["EURUSD"]}, "nothing to decide by"),
        ({"assets": ["A", "B"], "covariance": [[1.0]]}, "2 rows of 2"),
        ({"assets": ["A", "B"], "covariance": [[1.0, 0.5], [0.1, 1.0]]}, "symmetric"),
        ({"assets": ["A"], "covariance": [[-1.0]]}, "negative"),
        ({"assets": ["A", "B"], "covariance": [[1.0, 0], [0, 1.0]], "expected_returns": {"A": 0.1}}, "B is missing"),
    ],
    ids=["twice", "unknown", "missing", "ragged", "short", "nothing", "square", "symmetric", "negative", "returns"],
)
def test_contradictions_are_refused(fields: dict[str, Any], word: str, predictor: Predictor):
    """With what is wrong."""
    with pytest.raises(InvalidInputError, match=word):
        ask(predictor, **fields)
