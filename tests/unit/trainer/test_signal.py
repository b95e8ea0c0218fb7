"""The reference trainer of signal models: learns, measures honestly, exports exactly, refuses clearly."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mp_kit.errors import IntegrityError, InvalidInputError, TransferError
from mp_kit.trainer import data, measure
from mp_kit.trainer.environment import DataFile
from mp_kit.trainer.predict import Predictor
from mp_kit.trainer.signal import train_signal

FEATURES = ["ret_1", "vol_20", "rsi_14"]
SMALL: dict[str, Any] = {"epochs": 3, "batch_size": 128, "lr": 0.01}


def small(model_type: str, **more: Any) -> dict[str, Any]:
    """Hyperparameters for a moment's training."""
    given = {**SMALL, "model_type": model_type, **more}
    return {name: value for name, value in given.items() if model_type != "gbm" or name != "batch_size"}


def table(rows: int, seed: int, *, skill: float = 1.0, classes: tuple[int, ...] = (-1, 0, 1)) -> pa.Table:
    """Bars, features and labels; the label follows the first feature as far as ``skill`` says."""
    random = np.random.default_rng(seed)
    columns: dict[str, Any] = {"timestamp": np.arange(rows), "symbol": ["EURUSD"] * rows, "close": np.ones(rows)}
    columns |= {name: random.normal(size=rows).astype(np.float32) for name in FEATURES}
    pull = skill * columns["ret_1"] + random.normal(size=rows)
    wanted = np.where(pull > 0.5, 1, np.where(pull < -0.5, -1, 0))
    columns["label_direction"] = np.where(np.isin(wanted, classes), wanted, classes[0]).astype(np.int8)
    columns["label_return"] = pull * 1e-3
    return pa.table(columns)


def write(folder: Path, **roles: pa.Table) -> list[Path]:
    paths = []
    for role, rows in roles.items():
        paths.append(folder / f"{role}-EURUSD.parquet")
        pq.write_table(rows, paths[-1])
    return paths


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write(tmp_path_factory.mktemp("round"), train=table(3_000, 1), validation=table(800, 2))


@pytest.mark.parametrize("model_type", ["mlp", "logistic", "gbm"])
def test_each_model_learns_and_its_export_is_the_model(files: list[Path], tmp_path: Path, model_type: str):
    """Foreseeable labels are foreseen; ONNX gives sklearn's probabilities; the predictor gives ONNX's."""
    result = train_signal(files, tmp_path, hyperparams=small(model_type), round_id="rnd_1")
    predictor = Predictor.load(tmp_path)
    validation = pq.read_table(files[1])
    decisions, confidences = predictor.predict(validation)
    right = np.array(decisions) == np.array(["SELL", "HOLD", "BUY"])[validation["label_direction"].to_numpy() + 1]
    assert result.evaluation.beats_baseline
    assert result.card["onnx"]["max_abs_diff"] < 1e-5
    assert result.evaluation.accuracy == pytest.approx(right.mean(), abs=1e-12)
    assert confidences.min() > 1 / 3 - 1e-6


@pytest.mark.parametrize("model_type", ["mlp", "gbm"])
def test_two_classes_are_enough(tmp_path: Path, model_type: str):
    """A round without HOLD labels gives a model of two decisions."""
    paths = write(tmp_path, train=table(1_000, 1, classes=(-1, 1)), validation=table(300, 2, classes=(-1, 1)))
    params = small(model_type, lr=0.05, epochs=20)
    result = train_signal(paths, tmp_path, hyperparams=params, round_id="r")
    assert result.card["decisions"] == ["SELL", "BUY"]
    assert result.card["onnx"]["max_abs_diff"] < 1e-5
    assert set(Predictor.load(tmp_path).predict(table(50, 3)).decisions) == {"SELL", "BUY"}


@pytest.mark.parametrize("model_type", ["mlp", "gbm"])
def test_one_seed_one_result(files: list[Path], tmp_path: Path, model_type: str):
    """Same seed: same card, same bytes of answers. Another seed: another network."""
    folders = [tmp_path / name for name in "ab"]
    cards = [train_signal(files, folder, hyperparams=small(model_type), round_id="r").card for folder in folders]
    answers = [Predictor.load(folder).probabilities(table(200, 3)).tobytes() for folder in folders]
    assert cards[0] == cards[1]
    assert answers[0] == answers[1]


def test_seed_matters(files: list[Path], tmp_path: Path):
    """The seed is honoured, not ignored."""
    losses = [
        train_signal(files, tmp_path, hyperparams={**SMALL, "seed": seed}, round_id="r").evaluation.log_loss
        for seed in (1, 2)
    ]
    assert losses[0] != losses[1]


def test_noise_is_not_dressed_up(tmp_path: Path):
    """Labels that nothing foretells: an overfitted model is reported as worse than the baseline."""
    paths = write(tmp_path, train=table(300, 1, skill=0.0), validation=table(2_000, 2, skill=0.0))
    params = {"epochs": 200, "lr": 0.01, "batch_size": 32}
    evaluation = train_signal(paths, tmp_path, hyperparams=params, round_id="r").evaluation
    assert not evaluation.beats_baseline
    assert evaluation.log_loss > evaluation.baseline_log_loss


def test_rows_without_label_or_feature_are_left_out(tmp_path: Path):
    """Unknown labels and NaN never reach the model, and are counted."""
    rows = table(1_000, 1)
    direction = rows["label_direction"].to_numpy().copy()
    feature = rows["vol_20"].to_numpy().copy()
    direction[:5], feature[5:8] = -128, np.nan
    rows = rows.set_column(rows.column_names.index("label_direction"), "label_direction", pa.array(direction))
    rows = rows.set_column(rows.column_names.index("vol_20"), "vol_20", pa.array(feature))
    paths = write(tmp_path, train=rows, validation=table(300, 2))
    card = train_signal(paths, tmp_path, hyperparams=SMALL, round_id="r").card
    assert (card["rows"]["train"], card["rows_left_out"]["train"]) == (992, 8)


BAD_PARAMS = {
    "negative rate": ({"lr": -1}, "lr"),
    "no epochs": ({"epochs": 0}, "epochs"),
    "text": ({"batch_size": "many"}, "batch_size"),
    "unknown model": ({"model_type": "oracle"}, "model_type"),
}


@pytest.mark.parametrize("case", BAD_PARAMS)
def test_bad_hyperparameter_is_named(files: list[Path], tmp_path: Path, case: str):
    """A value out of bounds is refused by name."""
    given, name = BAD_PARAMS[case]
    with pytest.raises(InvalidInputError, match=f"Hyperparameter {name}"):
        train_signal(files, tmp_path, hyperparams=given, round_id="r")


@pytest.mark.parametrize(("model_type", "name"), [("mlp", "dropout"), ("gbm", "batch_size"), ("mlp", "window")])
def test_unknown_hyperparameter_fails_at_once(files: list[Path], tmp_path: Path, model_type: str, name: str):
    """A name that means nothing to the model is refused with the names that do."""
    with pytest.raises(InvalidInputError, match=f"Hyperparameter {name} is not known") as caught:
        train_signal(files, tmp_path, hyperparams={"model_type": model_type, name: 1}, round_id="r")
    assert "model_type, lr, epochs" in (caught.value.hint or "")
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("role", ["train", "validation"])
def test_missing_role_is_named(tmp_path: Path, role: str):
    """Without training or validation files there is no result at all."""
    paths = [path for path in write(tmp_path, train=table(50, 1), validation=table(50, 2)) if role not in path.name]
    with pytest.raises(InvalidInputError, match=f"{role}-"):
        train_signal(paths, tmp_path, hyperparams={}, round_id="r")


def test_one_class_is_nothing_to_learn(tmp_path: Path):
    """All labels equal: refused."""
    paths = write(tmp_path, train=table(50, 1, classes=(0,)), validation=table(50, 2))
    with pytest.raises(InvalidInputError, match="nothing to learn"):
        train_signal(paths, tmp_path, hyperparams={}, round_id="r")


def test_measures_by_hand():
    """Four rows whose numbers can be counted on fingers."""
    probabilities = np.array([[0.5, 0.25, 0.25], [0.2, 0.6, 0.2], [0.1, 0.1, 0.8], [0.7, 0.2, 0.1]])
    got = measure.evaluate(
        probabilities,
        np.array([-1, 0, 1]),
        truth=np.array([-1, 0, 1, 1]),
        returns=np.array([-1.0, 0.0, 2.0, 1.0]),
        prior=np.array([0.25, 0.5, 0.25]),
    )
    assert got.log_loss == pytest.approx(-np.log([0.5, 0.6, 0.8, 0.1]).mean())
    assert got.baseline_log_loss == pytest.approx(-np.log([0.25, 0.5, 0.25, 0.25]).mean())
    assert (got.accuracy, got.majority_accuracy, got.active_signals) == (0.75, 0.25, 3)
    assert got.balanced_accuracy == pytest.approx((1 + 1 + 0.5) / 3)
    assert got.hit_rate == pytest.approx(2 / 3)
    assert got.information_coefficient == pytest.approx(0.4)


def test_measures_that_are_undefined_are_none():
    """No active answer has no hit rate, a constant answer no correlation; a class without column costs dearly."""
    flat = np.tile([0.0, 1.0], (4, 1))
    truth = np.array([0, 0, 0, 1])
    got = measure.evaluate(flat, np.array([-1, 0]), truth=truth, returns=np.arange(4.0), prior=np.array([0.5, 0.5]))
    assert (got.hit_rate, got.information_coefficient) == (None, None)
    assert got.log_loss == pytest.approx(-np.log(1e-15) / 4)


def test_predictor_names_missing_columns(files: list[Path], tmp_path: Path):
    """A table without the features, or with NaN in them, is refused with the place."""
    train_signal(files, tmp_path, hyperparams=SMALL, round_id="r")
    predictor = Predictor.load(tmp_path)
    rows = table(5, 3).to_pandas()
    with pytest.raises(InvalidInputError, match="vol_20"):
        predictor.predict(rows.drop(columns=["vol_20"]))
    rows.loc[2, "rsi_14"] = np.nan
    with pytest.raises(InvalidInputError, match="rsi_14 is not finite in row 2"):
        predictor.predict(rows)


def test_predictor_reads_both_kinds_of_table_in_any_column_order(files: list[Path], tmp_path: Path):
    """Pandas and Arrow give the same answers, whatever the order of the columns."""
    train_signal(files, tmp_path, hyperparams=SMALL, round_id="r")
    predictor = Predictor.load(tmp_path)
    rows = table(50, 3)
    shuffled = rows.select(rows.column_names[::-1])
    assert np.array_equal(predictor.probabilities(rows), predictor.probabilities(shuffled.to_pandas()))


def test_predictor_refuses_another_model(files: list[Path], tmp_path: Path):
    """A model whose bytes are not the card's is not run; a folder without card is named."""
    train_signal(files, tmp_path, hyperparams=SMALL, round_id="r")
    (tmp_path / "model.onnx").write_bytes((tmp_path / "model.onnx").read_bytes() + b"\0")
    with pytest.raises(IntegrityError):
        Predictor.load(tmp_path)
    with pytest.raises(InvalidInputError, match=r"no model_card\.json"):
        Predictor.load(tmp_path / "nowhere")
    (tmp_path / "model_card.json").write_text("[]")
    with pytest.raises(InvalidInputError, match="no model card"):
        Predictor.load(tmp_path)


def test_predictor_refuses_a_card_of_another_width(files: list[Path], tmp_path: Path):
    """The card's features must be as many as the model takes."""
    train_signal(files, tmp_path, hyperparams=SMALL, round_id="r")
    card = json.loads((tmp_path / "model_card.json").read_text())
    card["features"].append("extra")
    (tmp_path / "model_card.json").write_text(json.dumps(card))
    with pytest.raises(IntegrityError, match="takes 3 features"):
        Predictor.load(tmp_path)


def fetching(tmp_path: Path, *answers: httpx.Response, sha256: str | None = None) -> list[Path]:
    replies = iter(answers)
    file = DataFile(name="train-X.parquet", url="http://s.example/x", sha256=sha256)
    return data.fetch([file], tmp_path, transport=httpx.MockTransport(lambda _: next(replies)))


def test_fetch_refuses_wrong_bytes(tmp_path: Path):
    """A wrong checksum leaves no file."""
    with pytest.raises(IntegrityError, match=r"train-X\.parquet"):
        fetching(tmp_path, httpx.Response(200, content=b"abc"), sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_fetch_says_that_a_url_has_expired(tmp_path: Path):
    """A refusal is not repeated, and has its hint."""
    with pytest.raises(InvalidInputError, match="HTTP 403") as caught:
        fetching(tmp_path, httpx.Response(403))
    assert "expired" in caught.value.hint


def test_fetch_repeats_after_a_fault(tmp_path: Path):
    """A server fault is tried again."""
    [path] = fetching(tmp_path, httpx.Response(500), httpx.Response(200, content=b"abc"))
    assert path.read_bytes() == b"abc"


def test_fetch_gives_up_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A fault that stays is the error."""
    monkeypatch.setattr(data, "_PATIENCE_SECONDS", 0.0)
    with pytest.raises(TransferError):
        fetching(tmp_path, httpx.Response(500))


def test_fetch_keeps_what_is_there(tmp_path: Path):
    """A file with the right bytes is not fetched again."""
    (tmp_path / "train-X.parquet").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert fetching(tmp_path, sha256=known) == [tmp_path / "train-X.parquet"]


ABC = DataFile(
    name="train-X.parquet",
    url="http://s.example/old",
    sha256="ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    size_bytes=3,
)


def test_fetch_renews_urls_that_are_refused(tmp_path: Path):
    """A job that waited too long for its data asks for fresh URLs by its run token."""

    def store(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/old":
            return httpx.Response(403)
        return httpx.Response(200, content=b"abc", headers={"Content-Length": "3"})

    renewed: list[list[str]] = []

    def renew(names: Sequence[str]) -> dict[str, str]:
        renewed.append(list(names))
        return dict.fromkeys(names, "http://s.example/new")

    [path] = data.fetch([ABC], tmp_path, renew=renew, transport=httpx.MockTransport(store))
    assert (path.read_bytes(), renewed) == (b"abc", [["train-X.parquet"]])


def test_fetch_of_known_files_refuses_wrong_bytes(tmp_path: Path):
    """The same promise on the client's transfer: nothing of it is kept."""
    wrong = httpx.MockTransport(lambda _: httpx.Response(200, content=b"abd", headers={"Content-Length": "3"}))
    with pytest.raises(IntegrityError, match=r"train-X\.parquet"):
        data.fetch([ABC], tmp_path, transport=wrong)
    assert list(tmp_path.iterdir()) == []
