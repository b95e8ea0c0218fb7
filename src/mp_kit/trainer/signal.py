"""The reference trainer of ``signal`` models: learns the label's direction from the round's features.

1. It learns on ``train`` files only; ``validation`` rows, which the round purged, are measured once, at the end.
2. The numbers are what was measured, whether they flatter the model or not.
3. One seed on one machine gives the same metrics and the same ONNX answers, to the last bit: matrix products run in one
   thread, because their sums depend on how many share them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from mp_kit.contracts.training import HyperParam
from mp_kit.errors import InvalidInputError
from mp_kit.trainer import report
from mp_kit.trainer.data import Split, feature_names, load_split, role_of
from mp_kit.trainer.measure import Evaluation, evaluate
from mp_kit.trainer.models import Hyperparams, TrainedModel, one_blas_thread, train
from mp_kit.version import __version__

__all__ = ["CARD", "DECISIONS", "MODEL", "Result", "train_signal"]

MODEL = "model.onnx"
CARD = "model_card.json"
DECISIONS = {-1: "SELL", 0: "HOLD", 1: "BUY"}
_COMPARED_ROWS = 20_000


@dataclass(frozen=True)
class Result:
    """What came of a training.

    Attributes:
        evaluation: Measured on the validation rows.
        card: The model card as written.
    """

    evaluation: Evaluation
    card: dict[str, Any]


def train_signal(
    files: Sequence[Path], target: Path, *, hyperparams: Mapping[str, HyperParam], round_id: str
) -> Result:
    """Trains, evaluates and exports a signal model.

    Args:
        files: The round's ``train-*.parquet`` and ``validation-*.parquet`` files.
        target: Folder for ``model.onnx`` and ``model_card.json``.
        hyperparams: See :class:`mp_kit.trainer.models.Hyperparams`; unknown names are said and ignored.
        round_id: For the card.

    Raises:
        InvalidInputError: A role has no file, a file lacks a column, or a hyperparameter is out of bounds.
        MissingExtraError: scikit-learn or ONNX is not installed.
    """
    files = sorted(files, key=lambda path: path.name)  # the order of arrival must not decide the result
    params, ignored = Hyperparams.read(hyperparams)
    if ignored:
        _say(f"hyperparameters that this trainer does not know, ignored: {', '.join(ignored)}")
    training, validation, features = _load(files)
    with one_blas_thread():
        model = _fit(training, params)
        evaluation = _evaluate(model, training, validation)
    difference = _export(model, target / MODEL, validation)
    card = _card(files, params, round_id, features, model)
    card |= {
        "metrics": evaluation.metrics(),
        "onnx": {"file": MODEL, "sha256": _sha256(target / MODEL), "max_abs_diff_to_sklearn": difference},
        "rows": {"train": training.rows, "validation": validation.rows},
        "rows_left_out": {"train": training.dropped, "validation": validation.dropped},
        "ignored_hyperparams": ignored,
    }
    (target / CARD).write_text(json.dumps(card, indent=2, sort_keys=True, allow_nan=False))
    counts = {"train_rows": training.rows, "features": len(features)}
    report.metric(**evaluation.metrics(), **counts, onnx_max_abs_diff=difference)
    _say(_verdict(evaluation))
    return Result(evaluation, card)


def _load(files: Sequence[Path]) -> tuple[Split, Split, list[str]]:
    roles = {role: [path for path in files if role_of(path.name) == role] for role in ("train", "validation")}
    for role, paths in roles.items():
        if not paths:
            raise InvalidInputError(
                f"The round gave no file named {role}-*.parquet, so there is nothing to {role} on.",
                hint="Use a round that has training and validation files.",
            )
    features = feature_names(pq.read_schema(roles["train"][0]))
    if not features:
        raise InvalidInputError(f"{roles['train'][0].name} has no numeric column besides the bars and the labels.")
    training, validation = load_split(roles["train"], features), load_split(roles["validation"], features)
    _say(f"{training.rows} training rows, {validation.rows} validation rows, {len(features)} features")
    return training, validation, features


def _fit(training: Split, params: Hyperparams) -> TrainedModel:
    _say(f"training {params.model_type}: lr {params.lr}, {params.epochs} epochs, seed {params.seed}")
    model = None
    for epoch, loss, model in train(training.features, training.direction, params):  # noqa: B007 - the last model is kept
        report.metric(step=epoch, total_steps=params.epochs, loss=loss)
        _say(f"epoch {epoch}/{params.epochs} loss {loss:.5f}")
    if model is None:
        raise InvalidInputError("No epoch was trained.")
    return model


def _evaluate(model: TrainedModel, training: Split, validation: Split) -> Evaluation:
    classes, counts = np.unique(training.direction, return_counts=True)
    return evaluate(
        np.asarray(model.pipeline.predict_proba(validation.features), dtype=np.float64),
        classes,
        truth=validation.direction,
        returns=validation.returns,
        prior=counts / counts.sum(),
    )


def _export(model: TrainedModel, path: Path, validation: Split) -> float:
    from mp_kit.trainer.export import export_checked

    path.parent.mkdir(parents=True, exist_ok=True)
    return export_checked(model.pipeline, path, validation.features[:_COMPARED_ROWS])


def _card(
    files: Sequence[Path], params: Hyperparams, round_id: str, features: list[str], model: TrainedModel
) -> dict[str, Any]:
    classes = [int(each) for each in model.pipeline.classes_]
    return {
        "card_version": 1,
        "task": "signal",
        "round_id": round_id,
        "code_version": __version__,
        "libraries": _libraries(),
        "hyperparams": params.model_dump(),
        "seed": params.seed,
        "features": features,
        "classes": classes,
        "decisions": [DECISIONS[each] for each in classes],
        "data": {path.name: _sha256(path) for path in sorted(files)},
        "loss_per_epoch": model.losses,
    }


def _libraries() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("numpy", "scikit-learn", "onnx", "onnxruntime", "skl2onnx")}


def _verdict(evaluation: Evaluation) -> str:
    word = "beats" if evaluation.beats_baseline else "does not beat"
    return (
        f"validation log loss {evaluation.log_loss:.5f} {word} that of the class frequencies,"
        f" {evaluation.baseline_log_loss:.5f}, on {evaluation.rows} rows"
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a job's stdout is its log
