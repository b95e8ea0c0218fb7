"""Canaries for features that know the future.

No honest feature of a bar foretells the coming return with a rank correlation of :data:`HONEST`; one that does has
seen it. Two canaries tell a leak from noise:

1. Time shift: each feature is set against the label at its own bar, and against the label delayed until the
   feature has truly seen its whole window (``seen``: the deliberate leak, told for comparison).
2. Shuffled target: a ridge regression learns on the older part and is measured on the newer, once with the true
   labels and then with labels shuffled in blocks of a horizon. The shuffled runs are the noise that the true run must
   stand out from before it is called a leak; shuffled runs that succeed mean that the rows themselves leak.

The audit looks at values alone, so it proves guilt, never innocence: that a feature uses no later bar is the property
test's to show.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mp_kit.errors import InvalidInputError
from mp_kit.market.bars import column

__all__ = ["HONEST", "SMALLEST", "Canary", "LeakageReport", "audit"]

HONEST = 0.2
"""Largest rank correlation with the coming return that is believed."""

_NOISE_FACTOR = 4.0
_SHUFFLES = 20
_TRAIN_SHARE = 0.7
SMALLEST = 200
"""Complete rows that a verdict needs."""
_SEED = 20_260_101

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Canary:
    """One feature: its rank correlation with the label, the deliberate leak's, and the verdict."""

    name: str
    correlation: float
    seen: float
    leaks: bool


@dataclass(frozen=True)
class LeakageReport:
    """What the canaries said.

    Attributes:
        rows: Complete rows that were looked at.
        features: One per feature, in table order.
        model: Rank correlation out of sample of the ridge regression on all features.
        shuffled: The same with shuffled labels, once per shuffle.
        model_leaks: Whether the features together know the future.
    """

    rows: int
    features: tuple[Canary, ...]
    model: float
    shuffled: tuple[float, ...]
    model_leaks: bool

    @property
    def leaks(self) -> bool:
        """Whether anything leaks."""
        return self.model_leaks or any(one.leaks for one in self.features)

    def culprits(self) -> list[str]:
        """Names of the features that leak by themselves."""
        return [one.name for one in self.features if one.leaks]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values: correlations to six digits, the shuffles by their largest."""
        found = {one.name: {"now": round(one.correlation, 6), "seen": round(one.seen, 6)} for one in self.features}
        return {
            "rows": self.rows,
            "leaks": self.leaks,
            "culprits": self.culprits(),
            "features": found,
            "model": round(self.model, 6),
            "shuffled": round(max(abs(one) for one in self.shuffled), 6),
            "model_leaks": self.model_leaks,
        }


def audit(features: pa.Table, labels: Floats, *, horizon: int = 5) -> LeakageReport:
    """Looks for features that know their label.

    Args:
        features: Feature columns only, one symbol's rows in order of time, shape (n, k).
        labels: The return ahead of each row, shape (n,); NaN rows are left out.
        horizon: Bars that the labels look ahead.

    Returns:
        The report; the same input gives the same one.

    Raises:
        InvalidInputError: Fewer than 200 complete rows, or none that matches in length.
    """
    names = features.column_names
    matrix = np.column_stack([column(features, name) for name in names])
    if labels.shape != (matrix.shape[0],):
        raise InvalidInputError(f"{matrix.shape[0]} rows of features against labels of shape {labels.shape}.")
    complete = np.isfinite(labels) & np.isfinite(matrix).all(axis=1)
    matrix, target = matrix[complete], labels[complete]
    if target.size < SMALLEST:
        raise InvalidInputError(f"A leakage audit needs {SMALLEST} complete rows; here are {target.size}.")
    limit = max(HONEST, _NOISE_FACTOR / np.sqrt(target.size / horizon))
    canaries = tuple(_canary(name, matrix[:, number], target, horizon, limit) for number, name in enumerate(names))
    return _with_model(canaries, matrix, target, horizon)


def _canary(name: str, values: Floats, target: Floats, horizon: int, limit: float) -> Canary:
    now = _rank_correlation(values, target)
    seen = _rank_correlation(values[horizon:], target[:-horizon])
    return Canary(name, now, seen, leaks=abs(now) > limit)


def _with_model(canaries: tuple[Canary, ...], matrix: Floats, target: Floats, horizon: int) -> LeakageReport:
    random = np.random.default_rng(_SEED)
    ridge = _Ridge(matrix, horizon)
    model = ridge.out_of_sample(target)
    shuffled = tuple(ridge.out_of_sample(_shuffled(target, horizon, random)) for _ in range(_SHUFFLES))
    noise = max(abs(one) for one in shuffled)
    rows_leak = float(np.median(np.abs(shuffled))) > HONEST
    chance = _NOISE_FACTOR / np.sqrt(target.size * (1 - _TRAIN_SHARE) / horizon)
    model_leaks = rows_leak or abs(model) > max(HONEST, noise, chance)
    return LeakageReport(target.size, canaries, model, shuffled, bool(model_leaks))


def _shuffled(target: Floats, block: int, random: np.random.Generator) -> Floats:
    """Blocks change places and stay whole: overlapping labels keep the dependence that makes noise larger."""
    blocks = [target[start : start + block] for start in range(0, target.size, block)]
    return np.concatenate([blocks[number] for number in random.permutation(len(blocks))])


class _Ridge:
    """A ridge regression on the older rows, measured on the newer: what does not depend on the target is done once."""

    def __init__(self, matrix: Floats, horizon: int) -> None:
        self._cut = int(matrix.shape[0] * _TRAIN_SHARE)
        self._train = slice(0, self._cut - horizon)
        centre, scale = matrix[self._train].mean(axis=0), matrix[self._train].std(axis=0)
        scaled = (matrix - centre) / np.where(scale > 0, scale, 1.0)
        self._old, self._new = scaled[self._train], scaled[self._cut :]
        # einsum, not @: BLAS would spin its threads on sums this small, against the other symbols' work
        gram = np.einsum("ij,ik->jk", self._old, self._old)
        self._gram = gram + self._old.shape[0] * 1e-3 * np.eye(matrix.shape[1])

    def out_of_sample(self, target: Floats) -> float:
        """Rank correlation of forecast and target on the newer rows."""
        old = target[self._train]
        weights = np.linalg.solve(self._gram, np.einsum("ij,i->j", self._old, old - old.mean()))
        return _rank_correlation(np.einsum("ij,j->i", self._new, weights), target[self._cut :])


def _rank_correlation(one: Floats, other: Floats) -> float:
    """Spearman's rho with average ranks for ties; 0 where a series does not vary."""
    first, second = _ranks(one), _ranks(other)
    spread = float(first.std() * second.std())
    if spread == 0:
        return 0.0
    return float(np.mean((first - first.mean()) * (second - second.mean())) / spread)


def _ranks(values: Floats) -> Floats:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Floats = (last - (counts - 1) / 2)[inverse]
    return ranks
