"""Non-negative weights over voices, learned on labelled rows, and what they make of a bar.

The blend is an ordered logit whose only slope is the consensus score (a stereotype model with fixed scores: Anderson,
Journal of the Royal Statistical Society B 46, 1984; non-negative stacking: Breiman, Machine Learning 24, 1996):
``logit(d) = a_d + d * sum_i theta_i s_i`` for the directions d = -1, 0, 1, with all ``theta_i >= 0``. The weights are
``w_i = theta_i / sum theta`` and ``sum theta`` is how much the score is to be believed. With theta = 0 the answer is
the class frequencies, so a log loss below theirs is the voices' own merit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mp_kit.trainer.measure import softmax

__all__ = ["Blender", "calibrate", "descend", "hedge", "hedge_rate"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_TINY = 1e-12


@dataclass(frozen=True)
class Blender:
    """Learned weights.

    Attributes:
        classes: The directions that occur, ascending, shape (k,).
        intercepts: ``a``, shape (k,).
        theta: Shape (voices,), none negative.
    """

    classes: Ints
    intercepts: Floats
    theta: Floats

    @property
    def weights(self) -> Floats:
        """Shares of the voices; they sum to 1, and are equal where no voice is believed."""
        total = self.theta.sum()
        return self.theta / total if total > _TINY else np.full(len(self.theta), 1 / len(self.theta))

    def probabilities(self, scores: NDArray[np.float32]) -> Floats:
        """Shape (n, voices) in, (n, k) out."""
        slopes = (scores.astype(np.float64) @ self.theta)[:, None] * self.classes
        return softmax(slopes + self.intercepts)


def descend(
    scores: NDArray[np.float32],
    direction: Ints,
    *,
    lr: float,
    epochs: int,
    batch_size: int,
    l2: float,
    seed: int,
) -> Iterator[tuple[int, float, Blender]]:
    """Learns theta by projected AdaGrad (Duchi, Hazan, Singer, JMLR 12, 2011), which the convex loss suits.

    Yields:
        The epoch from 1, the mean training loss in nats, and the blender as it is then.
    """
    blender = _start(scores, direction)
    columns = np.searchsorted(blender.classes, direction)
    state = np.concatenate([blender.intercepts, blender.theta])
    squares = np.full_like(state, _TINY)
    random = np.random.default_rng(seed)
    k = len(blender.classes)
    for epoch in range(1, epochs + 1):
        order = random.permutation(len(direction))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            blender = Blender(blender.classes, state[:k], state[k:])
            slope = _gradient(blender, scores[rows], columns[rows])
            slope[k:] += l2 * state[k:]
            squares += slope**2
            state = state - lr * slope / np.sqrt(squares)
            state[k:] = np.maximum(state[k:], 0)
        blender = Blender(blender.classes, state[:k], state[k:])
        yield epoch, _loss(blender.probabilities(scores), columns), blender


def hedge_rate(voices: int, bars: int) -> float:
    """The rate with the least regret bound: sqrt(8 ln N / T) (Cesa-Bianchi, Lugosi, 2006, theorem 2.2)."""
    return float(np.sqrt(8 * np.log(max(voices, 2)) / max(bars, 1)))


def hedge(scores: NDArray[np.float32], direction: Ints, times: Ints, rate: float) -> Floats:
    """Weights by Hedge (Freund, Schapire, Journal of Computer and System Sciences 55, 1997), bar after bar.

    A voice loses ``(1 - s d) / 2`` on a row, from 0 to 1; all symbols' rows of one instant are one bar, and each bar
    multiplies a weight by ``exp(-rate * loss)``.

    Args:
        scores: Shape (n, voices).
        direction: Shape (n,).
        times: Shape (n,).
        rate: See :func:`hedge_rate`.

    Returns:
        The weights after the last bar, shape (voices,); they sum to 1.
    """
    _, bars = np.unique(times, return_inverse=True)
    losses = (1 - scores.astype(np.float64) * direction[:, None]) / 2
    counts = np.bincount(bars)
    total = np.array([(np.bincount(bars, weights=column) / counts).sum() for column in losses.T])
    return softmax(-rate * total)


def calibrate(scores: NDArray[np.float32], direction: Ints, weights: Floats) -> Blender:
    """The best intercepts and belief for given weights, by L-BFGS-B on the convex log loss.

    Args:
        scores: Shape (n, voices).
        direction: Shape (n,).
        weights: Shape (voices,), none negative.
    """
    from scipy.optimize import minimize

    pooled = (scores.astype(np.float64) @ weights)[:, None]
    start = _start(pooled.astype(np.float32), direction)
    columns = np.searchsorted(start.classes, direction)
    k = len(start.classes)

    def value(state: Floats) -> tuple[float, Floats]:
        tried = Blender(start.classes, state[:k], state[k:])
        return _loss(softmax(pooled * state[k:] * start.classes + state[:k]), columns), _gradient(
            tried, pooled, columns
        )

    bounds = [(None, None)] * k + [(0.0, None)]
    state = minimize(
        value, np.concatenate([start.intercepts, start.theta]), jac=True, method="L-BFGS-B", bounds=bounds
    ).x
    return Blender(start.classes, np.asarray(state[:k]), state[k] * np.asarray(weights, dtype=np.float64))


def _start(scores: NDArray[np.float32], direction: Ints) -> Blender:
    classes, counts = np.unique(direction, return_counts=True)
    voices = scores.shape[1]
    return Blender(classes, np.log(counts / counts.sum()), np.full(voices, 0.1 / voices))


def _gradient(blender: Blender, scores: NDArray[np.float32] | Floats, columns: Ints) -> Floats:
    """Of the mean log loss, by intercepts and then theta."""
    values = scores.astype(np.float64)
    slopes = (values @ blender.theta)[:, None] * blender.classes
    error = softmax(slopes + blender.intercepts)
    error[np.arange(len(columns)), columns] -= 1
    return np.concatenate([error.mean(axis=0), values.T @ (error @ blender.classes) / len(columns)])


def _loss(probabilities: Floats, columns: Ints) -> float:
    return float(-np.mean(np.log(np.maximum(probabilities[np.arange(len(columns)), columns], _TINY))))
