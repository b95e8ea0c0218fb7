"""The torch models of the signal trainer. They skip where torch, which is an extra of its own, is not installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mp_kit.errors import InvalidInputError, MissingExtraError
from mp_kit.trainer import data
from mp_kit.trainer import signal as trainer
from mp_kit.trainer.predict import Predictor

HAS_TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="torch is not installed (extra torch)")

FEATURES = ["ret_1", "vol_20"]
SMALL: dict[str, Any] = {"epochs": 4, "batch_size": 64, "lr": 0.02, "hidden": 8}


def table(rows: int, seed: int) -> pa.Table:
    """Rows whose label follows the feature of two rows before and of its own."""
    random = np.random.default_rng(seed)
    columns: dict[str, Any] = {name: (3 + 2 * random.normal(size=rows)).astype(np.float32) for name in FEATURES}
    pull = np.roll(columns["ret_1"], 2) + columns["ret_1"] - 6 + random.normal(size=rows)
    columns["label_direction"] = np.where(pull > 1, 1, np.where(pull < -1, -1, 0)).astype(np.int8)
    columns["label_return"] = pull * 1e-3
    return pa.table(columns)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("round")
    parts = {"train-A": table(1_500, 1), "train-B": table(700, 2), "validation-A": table(500, 3)}
    for name, rows in parts.items():
        pq.write_table(rows, folder / f"{name}.parquet")
    return sorted(folder.iterdir())


def hyperparams(model_type: str) -> dict[str, Any]:
    return {**SMALL, "model_type": model_type} | ({"window": 4} if model_type == "gru" else {})


@needs_torch
@pytest.mark.parametrize("model_type", ["torch_mlp", "gru"])
def test_network_learns_and_its_export_is_the_network(files: list[Path], tmp_path: Path, model_type: str):
    """Foreseeable labels are foreseen; the graph written by hand gives torch's probabilities."""
    result = trainer.train_signal(files, tmp_path, hyperparams=hyperparams(model_type), round_id="r")
    window = result.card["window_bars"]
    rows = pq.read_table(files[2])
    decisions, _ = Predictor.load(tmp_path).predict(rows)
    truth = np.array(["SELL", "HOLD", "BUY"])[rows["label_direction"].to_numpy() + 1][window - 1 :]
    assert result.evaluation.beats_baseline
    assert result.card["onnx"]["max_abs_diff"] < 1e-5
    assert result.evaluation.accuracy == pytest.approx(np.mean(np.array(decisions) == truth), abs=1e-12)
    assert result.card["rows_left_out"] == {"train": 2 * (window - 1), "validation": window - 1}
    assert "torch" in result.card["libraries"]


@needs_torch
def test_the_window_is_read(files: list[Path], tmp_path: Path):
    """Half of the label lies two bars back: a GRU sees it, a network over one bar cannot."""
    losses = {
        kind: trainer.train_signal(
            files, tmp_path, hyperparams={**hyperparams(kind), "epochs": 12}, round_id="r"
        ).evaluation.log_loss
        for kind in ("torch_mlp", "gru")
    }
    assert losses["gru"] < losses["torch_mlp"] - 0.05


@needs_torch
@pytest.mark.parametrize("model_type", ["torch_mlp", "gru"])
def test_one_seed_one_result(files: list[Path], tmp_path: Path, model_type: str):
    """Same seed: same card and answers to the last bit; another seed: another network."""
    cards = [
        trainer.train_signal(
            files, tmp_path / name, hyperparams={**hyperparams(model_type), "seed": seed}, round_id="r"
        ).card
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    answers = [Predictor.load(tmp_path / name).probabilities(table(50, 4)).tobytes() for name in "ab"]
    assert cards[0] == cards[1]
    assert answers[0] == answers[1]
    assert cards[0]["metrics"] != cards[2]["metrics"]


@needs_torch
def test_predictor_wants_a_whole_window(files: list[Path], tmp_path: Path):
    """Fewer rows than the window are no input."""
    trainer.train_signal(files, tmp_path, hyperparams={**hyperparams("gru"), "epochs": 1}, round_id="r")
    with pytest.raises(InvalidInputError, match="windows of 4 rows; there are 3"):
        Predictor.load(tmp_path).predict(table(3, 1))


@pytest.mark.skipif(HAS_TORCH, reason="torch is installed")
@pytest.mark.parametrize("model_type", ["torch_mlp", "gru"])
def test_without_torch_the_extra_is_named(files: list[Path], tmp_path: Path, model_type: str):
    """The install line is in the error, and nothing was trained."""
    with pytest.raises(MissingExtraError, match=model_type) as caught:
        trainer.train_signal(files, tmp_path, hyperparams={"model_type": model_type}, round_id="r")
    assert caught.value.hint == "pip install 'mp-kit[torch]'"
    assert [] == list(tmp_path.iterdir())


def test_windows_stay_in_their_file_and_are_whole(tmp_path: Path):
    """No window reaches into another symbol's rows, over a hole in the features, or has no label."""
    paths = []
    for name, start in (("A", 0), ("B", 10)):
        values = np.arange(start, start + 6, dtype=np.float32)
        columns: dict[str, Any] = {
            "x": values,
            "label_direction": np.ones(6, dtype=np.int8),
            "label_return": np.ones(6),
        }
        if name == "B":
            columns["x"][1] = np.nan
            columns["label_direction"][5] = -128
        paths.append(tmp_path / f"train-{name}.parquet")
        pq.write_table(pa.table(columns), paths[-1])
    got = data.load_windows(paths, ["x"], 3)
    assert [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5], [12, 13, 14]] == got.take(slice(None))[:, :, 0].tolist()
    assert (5, 7) == (got.rows, got.dropped)
