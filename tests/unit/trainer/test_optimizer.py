"""The reference trainer of optimizer models: constraints hold, the graph is the optimizer, the verdict is measured."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from trainer_rounds import build, walk

from mp_kit.errors import InvalidInputError
from mp_kit.trainer import portfolio
from mp_kit.trainer.measure import evaluate_portfolio
from mp_kit.trainer.optimizer import train_optimizer
from mp_kit.trainer.predict import Predictor

SMALL: dict[str, Any] = {"lookback": 40, "rebalance_bars": 20}
RULES = portfolio.Rules(
    max_weight=0.5,
    risk_aversion=5.0,
    turnover_penalty=1.0,
    volatility_target=0.0,
    prior_sharpe=0.3,
    bars_per_year=252.0,
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three symbols; the second goes up steadily."""
    bars = [walk(name, 1_500, seed, drift=drift) for name, seed, drift in (("A", 1, 0), ("B", 2, 2e-4), ("C", 3, 0))]
    return build(tmp_path_factory.mktemp("round"), bars)


@given(
    values=arrays(np.float64, (3, 4), elements=st.floats(-3, 3)),
    cap=st.sampled_from([0.1, 0.3, 0.5, 1.0]),
)
def test_projection_is_the_nearest_allowed_point(values: np.ndarray, cap: float):
    """It is allowed, and the line to it from outside makes no acute angle with any way on inside."""
    nearest = portfolio.project(values, cap)
    assert nearest.min() >= 0
    assert nearest.max() <= cap
    assert nearest.sum(axis=1).max() <= 1 + 1e-9
    corners = np.vstack([np.zeros(4), np.eye(4) * cap, np.full(4, min(cap, 0.25))])
    inward = corners[None] - nearest[:, None]
    assert ((values - nearest)[:, None] * inward).sum(axis=2).max() <= 1e-9


def test_covariance_is_ledoit_and_wolfs():
    """The same shrunk matrix as scikit-learn's."""
    from sklearn.covariance import ledoit_wolf

    returns = np.random.default_rng(1).normal(0, [0.01, 0.02, 0.005], (60, 3))
    means, covariance = portfolio.ledoit_wolf(returns)
    assert covariance == pytest.approx(ledoit_wolf(returns)[0])
    assert means == pytest.approx(returns.mean(axis=0))


@pytest.mark.parametrize("seed", range(5))
def test_solution_is_that_of_a_general_solver(seed: int):
    """SLSQP finds nothing better."""
    from scipy.optimize import minimize

    random = np.random.default_rng(seed)
    root = random.normal(0, 0.01, (4, 4))
    covariance, expected = root @ root.T + 1e-5 * np.eye(4), random.normal(3e-4, 3e-4, 4)
    held = np.array([0.2, 0.0, 0.1, 0.0])
    scale = np.trace(covariance) / 4

    def loss(weights: np.ndarray) -> float:
        risk = RULES.risk_aversion / 2 * weights @ covariance @ weights / scale
        return float(risk + RULES.turnover_penalty / 2 * ((weights - held) ** 2).sum() - expected @ weights / scale)

    room = {"type": "ineq", "fun": lambda weights: 1 - weights.sum()}
    best = minimize(loss, held, method="SLSQP", bounds=[(0, 0.5)] * 4, constraints=[room], options={"ftol": 1e-14})
    ours = portfolio.solve(expected[None], covariance, held[None], RULES)[0]
    assert loss(ours) <= best.fun + 1e-8
    assert ours == pytest.approx(best.x, abs=1e-3)


def test_walk_by_hand():
    """Half in one symbol that doubles and then halves: drift, turnover and costs counted on fingers."""
    returns = np.array([[0.0], [1.0], [-0.5]])
    got = portfolio.walk_forward(
        returns, start=1, lookback=1, every=1, rows=1, decide=lambda *_: np.array([[0.5]]), cost=0.1
    )
    # bought 0.5; worth 1 of 1.5 then; back to 0.5 costs a trade of 1/6
    assert got.turnover == pytest.approx([0.5 + 1 / 6])
    assert got.returns[0] == pytest.approx([0.5 - 0.05, -0.25 - 0.1 / 6])
    assert got.invested == pytest.approx([0.5])


def test_decisions_see_no_future():
    """What comes after a decision changes nothing in it."""
    seen: list[np.ndarray] = []

    def note(window: np.ndarray, held: np.ndarray) -> np.ndarray:
        seen.append(window.copy())
        return held

    returns = np.arange(20.0)[:, None] / 1e3
    portfolio.walk_forward(returns, start=10, lookback=5, every=4, rows=1, decide=note, cost=0)
    assert [(5, 9), (9, 13), (13, 17)] == [(round(w[0, 0] * 1e3), round(w[-1, 0] * 1e3)) for w in seen]


def test_portfolio_measures_by_hand():
    """Up a half, down a third: back at the start, a drawdown of a third; no return has no Sharpe ratio."""
    row = np.array([0.5, -1 / 3])
    walk_ = portfolio.Walk(np.array([row, [0.0, 0.0]]), np.array([1.0, 0.0]), np.array([1.0, 0.0]))
    got = evaluate_portfolio(walk_, 0, 2.0)
    assert (got.annual_return, got.max_drawdown) == pytest.approx((0.0, 1 / 3))
    assert got.sharpe == pytest.approx(row.mean() / row.std(ddof=1) * np.sqrt(2))
    assert evaluate_portfolio(walk_, 1, 2.0).sharpe is None


def test_model_allocates_within_its_constraints(files: list[Path], tmp_path: Path):
    """The exported graph keeps every bound, and the wire takes what it says."""
    params = {**SMALL, "max_weight": 0.4, "volatility_target": 0.01, "return_shrinkage": 0.25}
    result = train_optimizer(files, tmp_path, hyperparams=params, round_id="r")
    predictor = Predictor.load(tmp_path)
    closes = pd.DataFrame({name: pq.read_table(files[at])["close"].to_numpy() for at, name in enumerate("ABC")})
    held = {"A": 0.0, "B": 0.0, "C": 0.4}
    got = predictor.allocate(closes.iloc[:60], held)
    written = got.to_write(model_version="1", timeframe="1h", timestamp=datetime(2026, 1, 1, tzinfo=UTC))
    assert result.card["onnx"]["max_abs_diff"] < 1e-6
    assert 0 < sum(got.weights.values()) <= 1
    assert max(got.weights.values()) <= 0.4 + 1e-6
    assert got.expected_volatility <= 0.01 * (1 + 1e-5)
    assert {"A", "B", "C"} == {one.symbol for one in written.allocations}
    assert result.card["return_shrinkage"] == 0.25


def test_turnover_penalty_keeps_what_is_held(files: list[Path], tmp_path: Path):
    """A prohibitive price of change leaves the weights; without one they move."""
    closes = pd.DataFrame({name: pq.read_table(files[at])["close"].to_numpy() for at, name in enumerate("ABC")})
    held = {"A": 0.3, "B": 0.0, "C": 0.3}
    moved = []
    for penalty in (0, 1_000):
        params = {**SMALL, "turnover_penalty": penalty, "volatility_target": 0, "return_shrinkage": 1}
        train_optimizer(files, tmp_path, hyperparams=params, round_id="r")
        got = Predictor.load(tmp_path).allocate(pa.Table.from_pandas(closes.iloc[:60]), held)
        moved.append(sum(abs(got.weights[name] - held[name]) for name in held))
    assert moved[1] < 0.05 < moved[0]


def test_one_run_is_another(files: list[Path], tmp_path: Path):
    """Same card, same graph, same answers; the shrinkage is learned on the training bars."""
    folders = [tmp_path / name for name in "ab"]
    cards = [train_optimizer(files, folder, hyperparams=SMALL, round_id="r").card for folder in folders]
    tried = cards[0]["train_sharpe_by_shrinkage"]
    assert cards[0] == cards[1]
    assert tried[str(cards[0]["return_shrinkage"])] == max(tried.values())


def test_verdict_is_what_was_measured(files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The sentence, the flag and the numbers agree, for better or worse."""
    metrics = train_optimizer(files, tmp_path, hyperparams=SMALL, round_id="r").card["metrics"]
    better = metrics["validation_sharpe"] > metrics["validation_equal_weight_sharpe"]
    assert metrics["beats_equal_weight"] is better
    assert ("does not beat that of equal weight" in capsys.readouterr().out) is not better
    assert metrics["validation_invested"] <= 1


BAD = {
    "unknown": ({"epochs": 3}, "Hyperparameter epochs is not known"),
    "weight": ({"max_weight": 1.5}, "Hyperparameter max_weight"),
    "text": ({"lookback": "long"}, "Hyperparameter lookback"),
    "too long": ({"lookback": 5_000}, "5048"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_orders_are_named(files: list[Path], tmp_path: Path, case: str):
    """Nothing is trained on an order that cannot be meant."""
    params, sentence = BAD[case]
    with pytest.raises(InvalidInputError, match=sentence):
        train_optimizer(files, tmp_path, hyperparams=params, round_id="r")
    assert [] == list(tmp_path.iterdir())


def test_allocator_names_what_it_lacks(files: list[Path], tmp_path: Path):
    """Missing symbols, too few rows, a close of zero, the wrong question."""
    train_optimizer(files, tmp_path, hyperparams={**SMALL, "return_shrinkage": 1}, round_id="r")
    predictor = Predictor.load(tmp_path)
    closes = pd.DataFrame(np.ones((41, 3)), columns=list("ABC"))
    with pytest.raises(InvalidInputError, match="lacks 1 of the model's features: C"):
        predictor.allocate(closes[["A", "B"]])
    with pytest.raises(InvalidInputError, match="needs 41 rows"):
        predictor.allocate(closes.iloc[1:])
    with pytest.raises(InvalidInputError, match="closes above 0"):
        predictor.allocate(closes.mul((closes.index != 3).astype(float), axis=0))
    with pytest.raises(InvalidInputError, match=r"use Predictor\.allocate"):
        predictor.predict(closes)
    assert predictor.allocate(closes).expected_volatility == pytest.approx(0, abs=1e-6)


def test_files_without_a_common_bar_are_refused(tmp_path: Path):
    """Two symbols that never trade together have no portfolio."""
    for at, name in enumerate("AB"):
        for role in ("train", "validation"):
            times = pa.array(np.arange(100) + at * 1_000_000, pa.timestamp("us", tz="UTC"))
            pq.write_table(pa.table({"timestamp": times, "close": np.ones(100)}), tmp_path / f"{role}-{name}.parquet")
    with pytest.raises(InvalidInputError, match="bars in common"):
        train_optimizer(sorted(tmp_path.iterdir()), tmp_path / "out", hyperparams=SMALL, round_id="r")


def test_card_says_where_it_comes_from(files: list[Path], tmp_path: Path):
    """Hashes, version, seed, window: what it takes to make the same model again."""
    card = train_optimizer(files, tmp_path, hyperparams={**SMALL, "return_shrinkage": 1}, round_id="r").card
    assert card == json.loads((tmp_path / "model_card.json").read_text())
    assert {path.name for path in files} == set(card["data"])
    assert (64, 7, ["A", "B", "C"]) == (len(card["data_sha256"]), card["seed"], card["features"])
    assert card["window"]["train"][1] < card["window"]["validation"][0]
