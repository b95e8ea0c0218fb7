"""The reference trainer of ``signal`` models: learns the label's direction from the round's features.

1. It learns on ``train`` files only; ``validation`` rows, which the round purged, are measured once, at the end.
2. The numbers are what was measured, whether they flatter the model or not.
3. One seed on one machine gives the same metrics and the same ONNX answers, to the last bit: matrix products run in one
   thread, because their sums depend on how many share them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from mp_kit.contracts.training import HyperParam
from mp_kit.errors import InvalidInputError, MissingExtraError
from mp_kit.trainer.card import CARD, MODEL, card_of, write_card
from mp_kit.trainer.data import Windows, feature_names, load_windows, sort_files
from mp_kit.trainer.measure import Evaluation, evaluate
from mp_kit.trainer.models import ALLOWED, TORCH, Hyperparams, SignalModel, one_blas_thread, train
from mp_kit.trainer.telemetry import Telemetry

__all__ = ["CARD", "DECISIONS", "MODEL", "Result", "check_signal", "train_signal"]

DECISIONS = {-1: "SELL", 0: "HOLD", 1: "BUY"}
_COMPARED_ROWS = 20_000
_BLOCK = 50_000


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
    files: Sequence[Path],
    target: Path,
    *,
    hyperparams: Mapping[str, HyperParam],
    round_id: str,
    telemetry: Telemetry | None = None,
) -> Result:
    """Trains, evaluates and exports a signal model.

    Args:
        files: The round's ``train-*.parquet`` and ``validation-*.parquet`` files.
        target: Folder for ``model.onnx`` and ``model_card.json``.
        hyperparams: See :class:`mp_kit.trainer.models.Hyperparams`.
        round_id: For the card.
        telemetry: Takes what there is to tell.

    Raises:
        InvalidInputError: A role has no file, a file lacks a column, or a hyperparameter is not known or out of bounds.
        MissingExtraError: scikit-learn, ONNX, or torch for its models, is not installed.
    """
    params, telemetry = check_signal(hyperparams), telemetry or Telemetry()
    roles = sort_files(files)
    features = _features(roles["train"][0])
    training, validation = (load_windows(roles[role], features, params.window) for role in ("train", "validation"))
    telemetry.say(f"{training.rows} training rows, {validation.rows} validation rows, {len(features)} features")
    with one_blas_thread():
        model, losses = _fit(training, params, telemetry)
        evaluation = _evaluate(model, training, validation)
    difference = _export(model, target / MODEL, validation)
    verdict = _verdict(evaluation)
    used, libraries = roles["train"] + roles["validation"], ["torch"] if params.model_type in TORCH else []
    card = card_of("signal", used, params, round_id=round_id, known=ALLOWED[params.model_type], libraries=libraries)
    card |= {
        "features": features,
        "window_bars": params.window,
        "classes": [int(each) for each in model.classes],
        "decisions": [DECISIONS[int(each)] for each in model.classes],
        "loss_per_epoch": losses,
        "metrics": evaluation.metrics(),
        "verdict": [verdict],
        "onnx": {"max_abs_diff": difference},
        "rows": {"train": training.rows, "validation": validation.rows},
        "rows_left_out": {"train": training.dropped, "validation": validation.dropped},
    }
    card = write_card(card, target)
    counts = {"train_rows": training.rows, "features": len(features)}
    telemetry.metric(**evaluation.metrics(), **counts, onnx_max_abs_diff=difference)
    telemetry.say(verdict)
    return Result(evaluation, card)


def check_signal(given: Mapping[str, HyperParam]) -> Hyperparams:
    """Reads the hyperparameters before anything is fetched.

    Raises:
        InvalidInputError: One is not known or out of bounds.
        MissingExtraError: The model needs torch, which is not installed.
    """
    params = Hyperparams.read(given)
    if params.model_type in TORCH and find_spec("torch") is None:
        raise MissingExtraError.for_extra("torch", f"Hyperparameter model_type = {params.model_type!r}")
    return params


def _features(path: Path) -> list[str]:
    features = feature_names(pq.read_schema(path))
    if not features:
        raise InvalidInputError(f"{path.name} has no numeric column besides the bars and the labels.")
    return features


def _fit(training: Windows, params: Hyperparams, telemetry: Telemetry) -> tuple[SignalModel, list[float]]:
    telemetry.say(f"training {params.model_type}: lr {params.lr}, {params.epochs} epochs, seed {params.seed}")
    model, losses = None, []
    for epoch, loss, model in _epochs(training, params, telemetry):  # noqa: B007 - the last model is kept
        losses.append(loss)
        telemetry.metric(step=epoch, total_steps=params.epochs, loss=loss)
        telemetry.say(f"epoch {epoch}/{params.epochs} loss {loss:.5f}")
    if model is None:
        raise InvalidInputError("No epoch was trained.")
    return model, losses


def _epochs(training: Windows, params: Hyperparams, telemetry: Telemetry) -> Iterator[tuple[int, float, SignalModel]]:
    if len(np.unique(training.direction)) < 2:  # noqa: PLR2004 - fewer than two classes
        raise InvalidInputError("All training rows have the same label: there is nothing to learn.")
    if params.model_type not in TORCH:
        return train(training.take(slice(None))[:, 0], training.direction, params)
    from mp_kit.trainer.networks import device_name, train_network

    telemetry.say(f"torch computes on {device_name()}")
    return train_network(training, params)


def _evaluate(model: SignalModel, training: Windows, validation: Windows) -> Evaluation:
    classes, counts = np.unique(training.direction, return_counts=True)
    starts = range(0, validation.rows, _BLOCK)
    blocks = [model.probabilities(validation.take(slice(start, start + _BLOCK))) for start in starts]
    return evaluate(
        np.concatenate(blocks).astype(np.float64),
        classes,
        truth=validation.direction,
        returns=validation.returns,
        prior=counts / counts.sum(),
    )


def _export(model: SignalModel, path: Path, validation: Windows) -> float:
    from mp_kit.trainer.export import export_checked

    path.parent.mkdir(parents=True, exist_ok=True)
    return export_checked(model, path, validation.take(slice(0, _COMPARED_ROWS // validation.window)))


def _verdict(evaluation: Evaluation) -> str:
    word = "beats" if evaluation.beats_baseline else "does not beat"
    return (
        f"validation log loss {evaluation.log_loss:.5f} {word} that of the class frequencies,"
        f" {evaluation.baseline_log_loss:.5f}, on {evaluation.rows} rows"
    )
