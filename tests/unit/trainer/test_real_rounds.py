"""The reference trainers on real currency bars: twice the same seed, and a verdict that is what was measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from trainer_rounds import build_from

from mp_kit.market.sources import open_source
from mp_kit.trainer.consensus import train_consensus
from mp_kit.trainer.optimizer import train_optimizer
from mp_kit.trainer.predict import Predictor
from mp_kit.trainer.signal import train_signal

pytestmark = pytest.mark.slow

TRAINERS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "signal": (train_signal, {"model_type": "mlp", "epochs": 1}),
    "consensus": (train_consensus, {"epochs": 1}),
    "optimizer": (train_optimizer, {"rebalance_bars": 240, "return_shrinkage": 0.5}),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A round of hourly bars."""
    folder = Path(__file__).parents[3] / ".." / "shared" / "data" / "fx"
    if not folder.is_dir():
        pytest.skip("no real currency bars at ../shared/data/fx")
    return build_from(open_source(str(folder / "1h")), tmp_path_factory.mktemp("round"))


def answers(folder: Path, files: list[Path]) -> bytes:
    """What the exported model says about the end of the validation split, to the last bit."""
    predictor = Predictor.load(folder)
    tables = {path.stem.partition("-")[2]: pq.read_table(path) for path in files if path.name.startswith("validation")}
    if predictor.task == "optimizer":
        closes = pd.DataFrame({name: tables[name]["close"].to_numpy()[-300:] for name in predictor.features})
        return np.array(list(predictor.allocate(closes).weights.values())).tobytes()
    return predictor.probabilities(tables["EURUSD"].slice(0, 1_000)).tobytes()


@pytest.mark.parametrize("task", TRAINERS)
def test_one_seed_one_result(files: list[Path], tmp_path: Path, task: str):
    """Two runs with one seed: identical metrics, identical answers, identical cards."""
    trainer, params = TRAINERS[task]
    cards = [trainer(files, tmp_path / name, hyperparams=params, round_id="r").card for name in "ab"]
    assert cards[0]["metrics"] == cards[1]["metrics"]
    assert cards[0] == cards[1]
    assert answers(tmp_path / "a", files) == answers(tmp_path / "b", files)


def test_signal_trainer_beats_the_class_frequencies_or_says_so(
    files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """The sentence, the flag and the log losses on the purged validation split agree."""
    metrics = train_signal(files, tmp_path, hyperparams={"model_type": "logistic", "epochs": 2}, round_id="r").card[
        "metrics"
    ]
    better = metrics["validation_log_loss"] < metrics["validation_baseline_log_loss"]
    assert metrics["validation_beats_baseline"] is better
    assert (" does not beat that of the class frequencies" in capsys.readouterr().out) is not better
