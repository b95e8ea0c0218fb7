"""The classifiers that the reference trainer offers, each trained epoch by epoch under one seed.

``mlp`` is a network with two hidden layers, ``logistic`` the same without any (softmax regression), ``gbm`` boosted
trees, where an epoch is one round of boosting. All are scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mp_kit.contracts.training import HyperParam
from mp_kit.errors import InvalidInputError

__all__ = ["Hyperparams", "TrainedModel", "one_blas_thread", "train"]

HIDDEN = {"mlp": (64, 32), "logistic": ()}
"""Sizes of the hidden layers."""

DEFAULTS: Mapping[str, Mapping[str, HyperParam]] = {
    "mlp": {"lr": 1e-3, "epochs": 12},
    "logistic": {"lr": 1e-3, "epochs": 12},
    "gbm": {"lr": 0.1, "epochs": 40},
}
"""Learning rate and epochs where none are ordered."""

WEIGHT_DECAY = 1e-4
LEAVES = 15
LEAF_ROWS = 100


class Hyperparams(BaseModel):
    """What can be tuned, with the defaults.

    Attributes:
        model_type: ``mlp``, ``logistic`` or ``gbm``.
        lr: Learning rate: of Adam, or of boosting.
        epochs: Passes over the training rows, or rounds of boosting.
        batch_size: Rows per step; ``gbm`` has no batches.
        seed: Of everything random.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, protected_namespaces=())
    model_type: Literal["mlp", "logistic", "gbm"] = "mlp"
    lr: float = Field(gt=0, le=1)
    epochs: int = Field(ge=1, le=10_000)
    batch_size: int = Field(512, ge=1)
    seed: int = Field(7, ge=0, lt=2**32)

    @classmethod
    def read(cls, given: Mapping[str, HyperParam]) -> tuple[Hyperparams, list[str]]:
        """Checks what was ordered, and fills in what was not.

        Args:
            given: By name; ``lr`` and ``epochs`` have a default for each ``model_type``.

        Returns:
            The hyperparameters, and the names that this trainer does not know.

        Raises:
            InvalidInputError: A value is out of its bounds; the message names it.
        """
        try:
            known = cls.model_validate({**DEFAULTS.get(str(given.get("model_type", "mlp")), DEFAULTS["mlp"]), **given})
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            raise InvalidInputError(f"Hyperparameter {name} = {first['input']!r}: {first['msg']}.") from None
        return known, sorted(set(given) - set(cls.model_fields))


@dataclass
class TrainedModel:
    """A classifier on its way.

    Attributes:
        pipeline: Scaler and classifier, or the classifier alone for trees.
        losses: Training loss after each epoch so far.
    """

    pipeline: Any
    losses: list[float] = field(default_factory=list)


def one_blas_thread() -> AbstractContextManager[Any]:
    """Inside it matrix products do not depend on the number of cores; at these sizes they are no slower."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    limits: AbstractContextManager[Any] = threadpool_limits(1, user_api="blas")
    return limits


def train(
    features: NDArray[np.float32], direction: NDArray[np.int64], params: Hyperparams
) -> Iterator[tuple[int, float, TrainedModel]]:
    """Trains a classifier; yields after each epoch (for trees: after each fifth of them).

    Args:
        features: Shape (n, k).
        direction: Shape (n,).
        params: What to train, and how long.

    Yields:
        The epoch from 1, the training loss in nats, and the model as it is then.

    Raises:
        InvalidInputError: The rows hold only one class.
    """
    if len(np.unique(direction)) < 2:  # noqa: PLR2004 - fewer than two classes
        raise InvalidInputError("All training rows have the same label: there is nothing to learn.")
    return _boost(features, direction, params) if params.model_type == "gbm" else _descend(features, direction, params)


def _descend(
    features: NDArray[np.float32], direction: NDArray[np.int64], params: Hyperparams
) -> Iterator[tuple[int, float, TrainedModel]]:
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    scaled = scaler.fit_transform(features)
    network = MLPClassifier(
        hidden_layer_sizes=HIDDEN[params.model_type],
        learning_rate_init=params.lr,
        batch_size=min(params.batch_size, len(direction)),
        alpha=WEIGHT_DECAY,
        random_state=params.seed,
    )
    model = TrainedModel(make_pipeline(scaler, network))
    classes = np.unique(direction)
    for epoch in range(1, params.epochs + 1):
        network.partial_fit(scaled, direction, classes=classes)
        model.losses.append(float(network.loss_))
        yield epoch, model.losses[-1], model


def _boost(
    features: NDArray[np.float32], direction: NDArray[np.int64], params: Hyperparams
) -> Iterator[tuple[int, float, TrainedModel]]:
    from sklearn.ensemble import HistGradientBoostingClassifier

    from mp_kit.trainer.measure import log_loss

    trees = HistGradientBoostingClassifier(
        learning_rate=params.lr,
        max_leaf_nodes=LEAVES,
        min_samples_leaf=LEAF_ROWS,
        early_stopping=False,
        warm_start=True,
        random_state=params.seed,
    )
    model = TrainedModel(trees)
    stride = -(-params.epochs // 5)
    for start in range(0, params.epochs, stride):
        epoch = min(start + stride, params.epochs)
        trees.set_params(max_iter=epoch).fit(features, direction)
        model.losses.append(log_loss(trees.predict_proba(features), trees.classes_, direction))
        yield epoch, model.losses[-1], model
