"""The classifiers that the reference trainer offers, each trained epoch by epoch under one seed.

``mlp`` is a network with two hidden layers, ``logistic`` the same without any (softmax regression), ``gbm`` boosted
trees, where an epoch is one round of boosting: these are scikit-learn's. ``torch_mlp`` and ``gru`` are torch's, in
:mod:`mp_kit.trainer.networks`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from mp_kit.contracts.training import HyperParam
from mp_kit.trainer.hyper import read_hyperparams

__all__ = ["ALLOWED", "TORCH", "Hyperparams", "SignalModel", "TrainedModel", "one_blas_thread", "train"]

HIDDEN = {"mlp": (64, 32), "logistic": ()}
"""Sizes of the hidden layers."""

DEFAULTS: Mapping[str, Mapping[str, HyperParam]] = {
    "mlp": {"lr": 1e-3, "epochs": 12},
    "logistic": {"lr": 1e-3, "epochs": 12},
    "gbm": {"lr": 0.1, "epochs": 40},
    "torch_mlp": {"lr": 1e-3, "epochs": 12, "hidden": 64},
    "gru": {"lr": 1e-3, "epochs": 12, "hidden": 32, "window": 16},
}
"""What differs between the models where nothing is ordered."""

_COMMON = ("model_type", "lr", "epochs", "seed")
ALLOWED: Mapping[str, tuple[str, ...]] = {
    "mlp": (*_COMMON, "batch_size"),
    "logistic": (*_COMMON, "batch_size"),
    "gbm": _COMMON,
    "torch_mlp": (*_COMMON, "batch_size", "hidden"),
    "gru": (*_COMMON, "batch_size", "hidden", "window"),
}
"""The hyperparameters that mean something to each model."""

TORCH = ("torch_mlp", "gru")
"""The models that need torch."""

WEIGHT_DECAY = 1e-4
LEAVES = 15
LEAF_ROWS = 100


class Hyperparams(BaseModel):
    """What can be tuned, with the defaults.

    Attributes:
        model_type: ``mlp``, ``logistic`` or ``gbm`` of scikit-learn, ``torch_mlp`` or ``gru`` of torch.
        lr: Learning rate: of Adam, or of boosting.
        epochs: Passes over the training rows, or rounds of boosting.
        batch_size: Rows per step; ``gbm`` has no batches.
        hidden: Units of each hidden layer of ``torch_mlp``, or of the state of ``gru``.
        window: Bars that ``gru`` reads, the one it speaks of included.
        seed: Of everything random.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())
    model_type: Literal["mlp", "logistic", "gbm", "torch_mlp", "gru"] = "mlp"
    lr: float = Field(gt=0, le=1)
    epochs: int = Field(ge=1, le=10_000)
    batch_size: int = Field(512, ge=1)
    hidden: int = Field(64, ge=1, le=4_096)
    window: int = Field(1, ge=1, le=1_000)
    seed: int = Field(7, ge=0, lt=2**32)

    @classmethod
    def read(cls, given: Mapping[str, HyperParam]) -> Hyperparams:
        """Checks what was ordered, and fills in what was not; each ``model_type`` has names and defaults of its own.

        Raises:
            InvalidInputError: A name means nothing to the ``model_type``, or a value is out of its bounds.
        """
        kind = str(given.get("model_type", "mlp"))
        return read_hyperparams(cls, given, defaults=DEFAULTS.get(kind, DEFAULTS["mlp"]), allowed=ALLOWED.get(kind))


class SignalModel(Protocol):
    """A classifier of directions, whatever it is made of.

    Attributes:
        classes: The directions that its columns stand for, ascending.
    """

    classes: NDArray[np.int64]

    def probabilities(self, windows: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
        """Shape (n, window, features) in, (n, classes) out."""

    def onnx(self, width: int) -> bytes:
        """The same as a serialized graph over ``width`` features."""

    def given(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """The windows as the graph wants them."""


@dataclass
class TrainedModel:
    """One of scikit-learn's classifiers on its way; it looks at a window's last row.

    Attributes:
        pipeline: Scaler and classifier, or the classifier alone for trees.
        classes: The directions, ascending.
    """

    pipeline: Any
    classes: NDArray[np.int64]

    def given(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """The last rows alone."""
        return np.ascontiguousarray(windows[:, -1])

    def probabilities(self, windows: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
        """Shape (n, 1, features) in, (n, classes) out."""
        answer: NDArray[np.floating[Any]] = self.pipeline.predict_proba(self.given(windows))
        return answer

    def onnx(self, width: int) -> bytes:
        """The converter's graph, or ours for trees."""
        from mp_kit.trainer.export import to_onnx_bytes

        return to_onnx_bytes(self.pipeline, width)


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
    """
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
    classes = np.unique(direction)
    model = TrainedModel(make_pipeline(scaler, network), classes)
    for epoch in range(1, params.epochs + 1):
        network.partial_fit(scaled, direction, classes=classes)
        yield epoch, float(network.loss_), model


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
    model = TrainedModel(trees, np.unique(direction))
    stride = -(-params.epochs // 5)
    for start in range(0, params.epochs, stride):
        epoch = min(start + stride, params.epochs)
        trees.set_params(max_iter=epoch).fit(features, direction)
        yield epoch, log_loss(trees.predict_proba(features), trees.classes_, direction), model
