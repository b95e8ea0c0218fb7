"""The reference trainer of ``consensus`` models: learns how far to believe each of several voices.

1. The voices are the built-in experts (``experts``) and the signals that lie beside the round (``voices``).
2. Weights are learned on ``train`` rows only; the single voice it is compared with is chosen there too, since the best
   one in hindsight is nobody's to have.
3. Equal weights and that single voice get the same calibration as the learned weights: what is compared is the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from mp_kit.contracts.training import HyperParam
from mp_kit.errors import IntegrityError, InvalidInputError
from mp_kit.trainer.card import MODEL, card_of, write_card
from mp_kit.trainer.data import feature_names, sort_files
from mp_kit.trainer.experts import EXPERTS, Expert
from mp_kit.trainer.export import INPUT, OUTPUT, TOLERANCE
from mp_kit.trainer.graphs import Graph, open_session
from mp_kit.trainer.hyper import read_hyperparams
from mp_kit.trainer.measure import Evaluation, evaluate
from mp_kit.trainer.models import one_blas_thread
from mp_kit.trainer.signal import DECISIONS, Result
from mp_kit.trainer.stacking import Blender, calibrate, descend, hedge, hedge_rate
from mp_kit.trainer.telemetry import Telemetry
from mp_kit.trainer.voices import SIGNALS, VoiceSplit, load_signals, load_voices

__all__ = ["ConsensusParams", "train_consensus"]

STACKING_RATE = 0.01
_COMPARED_ROWS = 20_000
_DEFAULTS: Mapping[str, Mapping[str, HyperParam]] = {
    "stacking": {"lr": STACKING_RATE, "epochs": 5, "batch_size": 1024, "l2": 1e-4},
    "hedge": {},
    "equal": {},
}
_ALLOWED = {
    "stacking": ("model_type", "experts", "seed", "lr", "epochs", "batch_size", "l2"),
    "hedge": ("model_type", "experts", "seed", "lr"),
    "equal": ("model_type", "experts", "seed"),
}


class ConsensusParams(BaseModel):
    """What can be tuned.

    Attributes:
        model_type: ``stacking``, ``hedge`` or ``equal``.
        experts: Names of built-in voices with commas, ``all`` or ``none``.
        seed: Of the rows' order.
        lr: AdaGrad's rate, or Hedge's; for Hedge None is the rate of its regret bound.
        epochs: Passes of ``stacking`` over the rows.
        batch_size: Rows per step of ``stacking``.
        l2: Penalty of ``stacking`` on the squares of theta.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())
    model_type: Literal["stacking", "hedge", "equal"] = "stacking"
    experts: str = "all"
    seed: int = Field(7, ge=0, lt=2**32)
    lr: float | None = Field(None, gt=0, le=10)
    epochs: int = Field(1, ge=1, le=10_000)
    batch_size: int = Field(1024, ge=1)
    l2: float = Field(0.0, ge=0, le=10)

    @classmethod
    def read(cls, given: Mapping[str, HyperParam]) -> ConsensusParams:
        """Checks what was ordered; see :func:`mp_kit.trainer.hyper.read_hyperparams`."""
        kind = str(given.get("model_type", "stacking"))
        return read_hyperparams(cls, given, defaults=_DEFAULTS.get(kind), allowed=_ALLOWED.get(kind))

    def chosen(self, columns: Sequence[str]) -> list[Expert]:
        """The experts that were ordered; of ``all``, those whose features there are.

        Raises:
            InvalidInputError: A name is no expert's.
        """
        if self.experts == "all":
            return [expert for expert in EXPERTS if set(expert.features) <= set(columns)]
        names = [] if self.experts == "none" else [name.strip() for name in self.experts.split(",")]
        known = {expert.name: expert for expert in EXPERTS}
        unknown = [name for name in names if name not in known]
        if unknown:
            raise InvalidInputError(
                f"Hyperparameter experts: there is no expert {', '.join(unknown)}.",
                hint=f"Use all, none, or some of {', '.join(known)}.",
            )
        return [expert for name, expert in known.items() if name in names]


def train_consensus(
    files: Sequence[Path],
    target: Path,
    *,
    hyperparams: Mapping[str, HyperParam],
    round_id: str,
    telemetry: Telemetry | None = None,
) -> Result:
    """Learns, evaluates and exports a consensus model.

    Args:
        files: The round's ``train-*.parquet`` and ``validation-*.parquet``, and any ``signals-*.parquet``.
        target: Folder for ``model.onnx`` and ``model_card.json``.
        hyperparams: See :class:`ConsensusParams`.
        round_id: For the card.
        telemetry: Takes what there is to tell.

    Raises:
        InvalidInputError: A role has no file, there are fewer than two voices, or a hyperparameter is not known or
            out of bounds.
    """
    params, telemetry = ConsensusParams.read(hyperparams), telemetry or Telemetry()
    roles = sort_files(files)
    signals = load_signals(roles.get(SIGNALS, []))
    experts = params.chosen(feature_names(pq.read_schema(roles["train"][0])))
    names = [*(expert.name for expert in experts), *signals.names]
    _check_names(names)
    training, validation = (load_voices(roles[role], experts, signals) for role in ("train", "validation"))
    telemetry.say(f"{len(training.direction)} training rows, {len(validation.direction)} validation rows")
    params = _with_rate(params, training)
    telemetry.say(f"{len(names)} voices: {', '.join(names)}")
    with one_blas_thread():
        blender, losses = _learn(training, params, telemetry)
        judged = _judge(blender, training, validation, names)
    difference = _export(blender, target, validation.scores[:_COMPARED_ROWS])
    used = [path for role in ("train", "validation", SIGNALS) for path in roles.get(role, [])]
    card = card_of("consensus", used, params, round_id=round_id, known=_ALLOWED[params.model_type])
    card |= {
        "features": names,
        "experts": {expert.name: {"features": list(expert.features), "source": expert.source} for expert in experts},
        "classes": blender.classes.tolist(),
        "decisions": [DECISIONS[int(each)] for each in blender.classes],
        "weights": dict(zip(names, blender.weights.tolist(), strict=True)),
        "belief": float(blender.theta.sum()),
        "loss_per_epoch": losses,
        "metrics": judged.metrics,
        "verdict": judged.verdict,
        "onnx": {"max_abs_diff": difference},
        "rows": {"train": len(training.direction), "validation": len(validation.direction)},
        "rows_left_out": {"train": training.dropped, "validation": validation.dropped},
    }
    card = write_card(card, target)
    telemetry.metric(**judged.metrics, train_rows=len(training.direction), voices=len(names))
    for sentence in judged.verdict:
        telemetry.say(sentence)
    return Result(judged.learned, card)


def _check_names(names: Sequence[str]) -> None:
    if len(names) < 2:  # noqa: PLR2004 - one voice is no consensus
        raise InvalidInputError(
            f"A consensus needs at least two voices; there is {', '.join(names) or 'none'}.",
            hint="Order more experts, or lay signals-*.parquet into the job's data folder.",
        )
    if len(set(names)) < len(names):
        raise InvalidInputError("Two voices have one name; a foreign voice must not be called as an expert is.")


def _with_rate(params: ConsensusParams, training: VoiceSplit) -> ConsensusParams:
    """The hyperparameters as they are used: Hedge's rate depends on how many voices and bars there are."""
    if params.model_type != "hedge" or params.lr is not None:
        return params
    rate = hedge_rate(training.scores.shape[1], len(np.unique(training.times)))
    return params.model_copy(update={"lr": rate})


def _rate(params: ConsensusParams) -> float:
    return STACKING_RATE if params.lr is None else params.lr


def _learn(training: VoiceSplit, params: ConsensusParams, telemetry: Telemetry) -> tuple[Blender, list[float]]:
    voices = training.scores.shape[1]
    if len(np.unique(training.direction)) < 2:  # noqa: PLR2004 - fewer than two classes
        raise InvalidInputError("All training rows have the same label: there is nothing to learn.")
    if params.model_type == "equal":
        return calibrate(training.scores, training.direction, np.full(voices, 1 / voices)), []
    if params.model_type == "hedge":
        weights = hedge(training.scores, training.direction, training.times, _rate(params))
        return calibrate(training.scores, training.direction, weights), []
    return _stack(training, params, telemetry)


def _stack(training: VoiceSplit, params: ConsensusParams, telemetry: Telemetry) -> tuple[Blender, list[float]]:
    losses: list[float] = []
    blender = None
    for epoch, loss, blender in descend(  # noqa: B007 - the last blender is kept
        training.scores,
        training.direction,
        lr=_rate(params),
        epochs=params.epochs,
        batch_size=params.batch_size,
        l2=params.l2,
        seed=params.seed,
    ):
        losses.append(loss)
        telemetry.metric(step=epoch, total_steps=params.epochs, loss=loss)
        telemetry.say(f"epoch {epoch}/{params.epochs} loss {loss:.5f}")
    if blender is None:
        raise InvalidInputError("No epoch was trained.")
    return blender, losses


class _Judged(BaseModel):
    """What the validation split says."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    learned: Evaluation
    metrics: dict[str, Any]
    verdict: list[str]


def _judge(blender: Blender, training: VoiceSplit, validation: VoiceSplit, names: Sequence[str]) -> _Judged:
    """Measures the learned weights beside equal ones and beside the voice that was best on the training rows."""
    voices = len(names)
    singles = [calibrate(training.scores, training.direction, row) for row in np.eye(voices)]
    on_train = [_measured(single, training, training).log_loss for single in singles]
    best = int(np.argmin(on_train))
    equal = calibrate(training.scores, training.direction, np.full(voices, 1 / voices))
    learned, even, single = (_measured(each, training, validation) for each in (blender, equal, singles[best]))
    metrics = learned.metrics() | {"best_expert": names[best]}
    for name, other in (("equal", even), ("best_expert", single)):
        metrics |= {
            f"validation_{name}_{key}": getattr(other, key)
            for key in ("log_loss", "hit_rate", "information_coefficient")
        }
        metrics[f"beats_{name}"] = learned.log_loss < other.log_loss
    verdict = [
        _sentence(learned.log_loss, "the class frequencies", learned.baseline_log_loss),
        _sentence(learned.log_loss, "equal weights", even.log_loss),
        _sentence(learned.log_loss, f"the best single voice, {names[best]},", single.log_loss),
    ]
    return _Judged(learned=learned, metrics=metrics, verdict=verdict)


def _sentence(ours: float, whose: str, theirs: float) -> str:
    word = "beats" if ours < theirs else "does not beat"
    return f"validation log loss {ours:.5f} {word} that of {whose} at {theirs:.5f}"


def _measured(blender: Blender, training: VoiceSplit, rows: VoiceSplit) -> Evaluation:
    prior = np.array([np.mean(training.direction == each) for each in blender.classes])
    return evaluate(
        blender.probabilities(rows.scores), blender.classes, truth=rows.direction, returns=rows.returns, prior=prior
    )


def _export(blender: Blender, folder: Path, rows: NDArray[np.float32]) -> float:
    """Writes ``model.onnx``; returns its largest difference of a probability."""
    graph = Graph()
    slope = graph.add("MatMul", INPUT, graph.constant(blender.theta[:, None]))
    logits = graph.add("Mul", slope, graph.constant(blender.classes[None, :]))
    moved = graph.add("Add", logits, graph.constant(blender.intercepts[None, :]))
    graph.add("Softmax", moved, name=OUTPUT, axis=1)
    graph.add("MatMul", INPUT, graph.constant(blender.weights[:, None]), name="score")
    outputs = {OUTPUT: [None, len(blender.classes)], "score": [None, 1]}
    document = graph.document("consensus", {INPUT: [None, len(blender.theta)]}, outputs)
    answers = open_session(document).run([OUTPUT], {INPUT: rows})[0]
    difference = float(np.max(np.abs(answers - blender.probabilities(rows))))
    if not difference <= TOLERANCE:
        raise IntegrityError(f"The ONNX export differs from the model by {difference:.2e}, above {TOLERANCE:.0e}.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL).write_bytes(document)
    return difference
