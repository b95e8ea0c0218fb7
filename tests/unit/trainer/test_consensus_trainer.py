"""The reference trainer of consensus models: weights are learned, compared with simpler ones, exported exactly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from trainer_rounds import build, walk

from mp_kit.errors import InvalidInputError
from mp_kit.market.indicators import FEATURE_NAMES
from mp_kit.trainer import stacking
from mp_kit.trainer.consensus import train_consensus
from mp_kit.trainer.experts import EXPERTS, score
from mp_kit.trainer.predict import Predictor

FEATURES = ["ret_5", "ret_20", "vol_20", "bb_z_20", "rsi_14"]
SMALL: dict[str, Any] = {"epochs": 3, "batch_size": 128, "lr": 0.1}


def table(rows: int, seed: int, *, skill: float = 1.0) -> pa.Table:
    """Rows whose label follows the 20-bar return, as momentum says, as far as ``skill`` goes."""
    random = np.random.default_rng(seed)
    columns: dict[str, Any] = {"timestamp": pa.array(np.arange(rows) * 60_000_000, pa.timestamp("us", tz="UTC"))}
    columns |= {name: random.normal(size=rows).astype(np.float32) for name in FEATURES}
    columns["vol_20"] = np.full(rows, 0.25, dtype=np.float32)
    pull = skill * columns["ret_20"] + random.normal(size=rows)
    columns["label_direction"] = np.where(pull > 0.5, 1, np.where(pull < -0.5, -1, 0)).astype(np.int8)
    columns["label_return"] = pull * 1e-3
    return pa.table(columns)


def write(folder: Path, **roles: pa.Table) -> list[Path]:
    folder.mkdir(exist_ok=True)
    for role, rows in roles.items():
        pq.write_table(rows, folder / f"{role}-EURUSD.parquet")
    return [folder / f"{role}-EURUSD.parquet" for role in roles]


def foreign(rows: pa.Table, right: np.ndarray, **more: Any) -> pa.Table:
    """Signals that say the label where ``right`` says so, else its opposite."""
    sign = rows["label_direction"].to_numpy() * np.where(right, 1, -1)
    decisions = np.array(["SELL", "HOLD", "BUY"])[sign + 1]
    columns = {"symbol": ["EURUSD"] * len(right), "event_time": rows["timestamp"], "decision": decisions}
    return pa.table({**columns, "confidence": np.full(len(right), 0.9), **more})


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write(tmp_path_factory.mktemp("round"), train=table(3_000, 1), validation=table(1_000, 2))


@pytest.mark.parametrize("model_type", ["stacking", "hedge"])
def test_the_voice_that_knows_gets_the_weight(files: list[Path], tmp_path: Path, model_type: str):
    """Momentum foretells the labels: it outweighs every other voice, and the blend beats the class frequencies."""
    params = SMALL if model_type == "stacking" else {"model_type": "hedge"}
    result = train_consensus(files, tmp_path, hyperparams=params, round_id="r")
    weights, metrics, used = result.card["weights"], result.card["metrics"], result.card["hyperparams"]
    assert ({"epochs", "batch_size", "l2"} & set(used) == set()) is (model_type == "hedge")
    assert used["lr"] > 0
    assert max(weights, key=weights.__getitem__) == "momentum"
    assert sum(weights.values()) == pytest.approx(1)
    assert min(weights.values()) >= 0
    assert (metrics["best_expert"], metrics["beats_equal"]) == ("momentum", True)
    assert metrics["validation_beats_baseline"]


def test_noise_is_not_dressed_up(tmp_path: Path):
    """Voices that know nothing: the sentence says that the blend does not beat the class frequencies."""
    files = write(tmp_path / "round", train=table(300, 1, skill=0), validation=table(3_000, 2, skill=0))
    params = {"epochs": 200, "lr": 0.5, "batch_size": 16, "l2": 0}
    card = train_consensus(files, tmp_path, hyperparams=params, round_id="r").card
    assert card["metrics"]["validation_log_loss"] > card["metrics"]["validation_baseline_log_loss"]
    assert "does not beat" in card["verdict"][0]


def test_export_is_the_model(files: list[Path], tmp_path: Path):
    """The graph's answers are the blender's; features and voices as columns give the same."""
    result = train_consensus(files, tmp_path, hyperparams=SMALL, round_id="r")
    predictor = Predictor.load(tmp_path)
    rows = pq.read_table(files[1])
    used = [expert for expert in EXPERTS if expert.name in result.card["experts"]]
    said = score(used, {name: rows[name].to_numpy().astype(np.float64) for name in FEATURES})
    voices = pd.DataFrame(said, columns=[expert.name for expert in used])
    decisions, confidences = predictor.predict(rows)
    right = np.array(decisions) == np.array(["SELL", "HOLD", "BUY"])[rows["label_direction"].to_numpy() + 1]
    assert result.card["onnx"]["max_abs_diff"] < 1e-5
    assert result.evaluation.accuracy == pytest.approx(right.mean(), abs=1e-12)
    assert np.array_equal(predictor.probabilities(rows), predictor.probabilities(voices))
    assert confidences.min() > 1 / 3 - 1e-6


def test_foreign_signals_are_voices(files: list[Path], tmp_path: Path):
    """A better foreign voice outweighs the experts; what is silent counts as HOLD."""
    tables = [pq.read_table(path) for path in files]
    right = np.random.default_rng(5).random(4_000) < 0.95
    round_files = write(tmp_path / "round", train=tables[0], validation=shifted(tables[1]))
    oracle = pa.concat_tables([foreign(tables[0], right[:3_000]), foreign(shifted(tables[1]), right[3_000:])])
    pq.write_table(oracle, tmp_path / "signals-oracle.parquet")
    card = train_consensus(
        [*round_files, tmp_path / "signals-oracle.parquet"], tmp_path, hyperparams=SMALL, round_id="r"
    ).card
    predictor = Predictor.load(tmp_path)
    silent = pd.DataFrame({name: [0.0, 0.0] for name in predictor.features}).assign(oracle=[0.9, None])
    assert card["weights"]["oracle"] > 0.5
    assert "signals-oracle.parquet" in card["data"]
    assert predictor.predict(silent).decisions[0] == "BUY"


def shifted(rows: pa.Table) -> pa.Table:
    """The same rows, a year later."""
    times = rows["timestamp"].to_pandas() + pd.Timedelta(days=365)
    return rows.set_column(0, "timestamp", pa.array(times))


BAD_SIGNALS = {
    "no decision": ({"drop": "decision"}, "no column decision"),
    "confidence": ({"confidence": np.full(50, 1.5)}, "confidences from 0 to 1"),
    "decision": ({"decision": ["MAYBE"] * 50}, "BUY, SELL or HOLD"),
    "twice": ({"event_time": pa.array([0] * 50, pa.timestamp("us", tz="UTC"))}, "two signals about one bar"),
    "an expert's name": ({"model_id": ["momentum"] * 50}, "Two voices have one name"),
}


@pytest.mark.parametrize("case", BAD_SIGNALS)
def test_bad_signals_are_named(files: list[Path], tmp_path: Path, case: str):
    """A file of signals that cannot be meant stops the training with its reason."""
    change, sentence = BAD_SIGNALS[case]
    signals = foreign(pq.read_table(files[0]).slice(0, 50), np.ones(50, dtype=bool))
    for name, values in change.items():
        if name == "drop":
            signals = signals.drop_columns([values])
        elif name in signals.column_names:
            signals = signals.set_column(signals.column_names.index(name), name, pa.array(values))
        else:
            signals = signals.append_column(name, pa.array(values))
    pq.write_table(signals, tmp_path / "signals-x.parquet")
    with pytest.raises(InvalidInputError, match=sentence):
        train_consensus([*files, tmp_path / "signals-x.parquet"], tmp_path, hyperparams=SMALL, round_id="r")


BAD_PARAMS = {
    "unknown": ({"dropout": 0.1}, "Hyperparameter dropout is not known"),
    "of another model": ({"model_type": "hedge", "epochs": 2}, "Hyperparameter epochs is not known"),
    "no expert": ({"experts": "momentum,oracle"}, "no expert oracle"),
    "too few": ({"experts": "momentum"}, "at least two voices"),
    "model": ({"model_type": "vote"}, "Hyperparameter model_type"),
    "rate": ({"lr": 0}, "Hyperparameter lr"),
}


@pytest.mark.parametrize("case", BAD_PARAMS)
def test_bad_hyperparameters_are_named(files: list[Path], tmp_path: Path, case: str):
    """Nothing is trained on an order that cannot be meant."""
    params, sentence = BAD_PARAMS[case]
    with pytest.raises(InvalidInputError, match=sentence):
        train_consensus(files, tmp_path, hyperparams=params, round_id="r")
    assert [] == list(tmp_path.iterdir())


def test_one_seed_one_result(files: list[Path], tmp_path: Path):
    """Same seed: same card and answers to the last bit; another seed: another order of rows."""
    cards = [
        train_consensus(files, tmp_path / name, hyperparams={**SMALL, "seed": seed}, round_id="r").card
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    answers = [Predictor.load(tmp_path / name).probabilities(table(50, 3)).tobytes() for name in "ab"]
    assert cards[0] == cards[1]
    assert answers[0] == answers[1]
    assert cards[0]["weights"] != cards[2]["weights"]


def test_gradient_is_the_slope():
    """The analytic gradient against finite differences."""
    random = np.random.default_rng(1)
    scores, direction = random.uniform(-1, 1, (50, 3)).astype(np.float32), random.integers(-1, 2, 50)
    classes, state = np.array([-1, 0, 1]), random.uniform(0, 1, 6)

    def loss(point: np.ndarray) -> float:
        blender = stacking.Blender(classes, point[:3], point[3:])
        return stacking._loss(blender.probabilities(scores), direction + 1)

    slopes = [(loss(state + step) - loss(state - step)) / 2e-6 for step in np.eye(6) * 1e-6]
    got = stacking._gradient(stacking.Blender(classes, state[:3], state[3:]), scores, direction + 1)
    assert got == pytest.approx(slopes, abs=1e-7)


def test_hedge_by_hand():
    """Two bars, two voices: the right one loses nothing, the wrong one 1 a bar."""
    scores = np.array([[1, -1], [1, -1]], dtype=np.float32)
    weights = stacking.hedge(scores, np.array([1, 1]), np.array([0, 1]), np.log(2))
    assert weights == pytest.approx([0.8, 0.2])


def test_experts_say_what_their_rules_say():
    """Direction, silence and bounds of each rule on made-up bars; what is not finite silences."""
    quiet = dict.fromkeys(FEATURE_NAMES, 0.0) | {"vol_20": 0.01, "stoch_k_14": 0.5, "vol_5_60": 1.0}
    cases = {
        "momentum": ({"ret_20": 0.05}, 1),
        "reversal": ({"ret_5": 0.02}, -1),
        "crossover": ({"sma_5_20": -0.01}, -1),
        "bands": ({"bb_z_20": 2.0}, -1),
        "breakout": ({"stoch_k_14": 0.95}, 1),
        "macd": ({"macd_hist_9": 0.3}, 1),
        "rsi": ({"rsi_14": -0.5}, 1),
        "trend": ({"di_14": -0.4, "adx_14": 0.3}, -1),
        "calm_momentum": ({"ret_20": 0.05}, 1),
    }
    assert set(cases) == {expert.name for expert in EXPERTS}
    for at, expert in enumerate(EXPERTS):
        change, sign = cases[expert.name]
        worlds = [quiet, quiet | change, quiet | dict.fromkeys(change, np.nan)]
        columns = {name: np.array([world[name] for world in worlds]) for name in FEATURE_NAMES}
        said = score(EXPERTS, columns)[:, at]
        assert [0, sign, 0] == np.sign(said).tolist(), expert.name
        assert np.abs(said).max() <= 1
    loud = quiet | {"ret_20": 0.05, "vol_5_60": 2.5}
    assert score(EXPERTS, {name: np.array([value]) for name, value in loud.items()})[0, -1] == 0


def test_a_real_round_has_all_experts(tmp_path: Path):
    """A round as the marketplace builds it feeds every built-in voice."""
    files = build(tmp_path / "round", [walk("EURUSD", 1_500, 1)])
    card = train_consensus(files, tmp_path, hyperparams={}, round_id="r").card
    assert [expert.name for expert in EXPERTS] == card["features"]
    assert card == json.loads((tmp_path / "model_card.json").read_text())


def test_predictor_names_missing_voices(files: list[Path], tmp_path: Path):
    """Neither a voice nor its features: refused by name."""
    train_consensus(files, tmp_path, hyperparams={**SMALL, "experts": "momentum,rsi"}, round_id="r")
    with pytest.raises(InvalidInputError, match="lacks 1 of the model's features: momentum"):
        Predictor.load(tmp_path).predict(pd.DataFrame({"rsi": [0.5]}))
    with pytest.raises(InvalidInputError, match=r"use Predictor\.predict"):
        Predictor.load(tmp_path).allocate(pd.DataFrame({"rsi": [0.5]}))
