"""Numerai's scores over one era's rows: CORR, FNC and MMC.

Source: the definitions of numerai-tools 0.7 (``scoring.py``), stated in formulas below; tests compare the numbers.
``g(x) = Phi^-1((rank(x) - 0.5) / n)`` with mid-ranks, ``x^[p] = sign(x) |x|^p``. A currency round's era has few pairs,
over which such scores are noise: the marketplace pools rows over time.
"""

from __future__ import annotations

import numpy as np

from mp_kit.errors import InvalidInputError
from mp_kit.scoring.numbers import FLAT, NORMAL, Floats, finite, mid_ranks, pearson, total

__all__ = ["corr", "fnc", "gaussian_ranks", "mmc"]

_POWER = 1.5
_RCOND = 1e-6
_BUCKETS = 4


def gaussian_ranks(values: Floats) -> Floats:
    """``g(x)``, shape (n,)."""
    shares = (mid_ranks(finite(values, "values")) - 0.5) / max(values.size, 1)
    levels, inverse = np.unique(shares, return_inverse=True)
    return np.asarray([NORMAL.inv_cdf(level) for level in levels.tolist()], dtype=np.float64)[inverse]


def corr(predictions: Floats, targets: Floats, *, target_pow15: bool = True) -> float | None:
    """CORR: ``pearson(g(p)^[1.5], (t - mean t)^[1.5])``.

    Args:
        predictions: Shape (n,).
        targets: Shape (n,).
        target_pow15: False where targets are returns: they are taken as they are.

    Returns:
        None where a side stands still.
    """
    _same(predictions, targets)
    if not targets.size:
        return None
    centred = targets - total(targets) / targets.size
    return pearson(_power(gaussian_ranks(predictions)), _power(centred) if target_pow15 else centred)


def fnc(predictions: Floats, features: Floats, targets: Floats) -> float | None:
    """Feature-neutral CORR: ``corr(q / std(q), t)`` with ``q = g - [F, 1] lstsq([F, 1], g)``.

    Args:
        predictions: Shape (n,).
        features: Shape (n, k).
        targets: Shape (n,).

    Returns:
        None where a side stands still, or nothing is left of the predictions.
    """
    _same(predictions, targets)
    if features.shape[:1] != predictions.shape:
        raise InvalidInputError(f"{features.shape[0]} rows of features for {predictions.size} predictions.")
    ranks = gaussian_ranks(predictions)
    if not ranks.size or np.ptp(ranks) == 0:
        return None
    known = np.hstack([finite(features, "features"), np.ones((ranks.size, 1))])
    left = ranks - known @ np.linalg.lstsq(known, ranks, rcond=_RCOND)[0]
    deviation = float(np.std(left))
    return corr(left / deviation, targets) if deviation > FLAT * float(np.max(np.abs(ranks))) else None


def mmc(predictions: Floats, meta_model: Floats, targets: Floats, *, buckets: bool = False) -> float | None:
    """Contribution to a meta-model: ``t' p_/ n`` with ``p_ = g(p) - g(m) (g(m)' g(p)) / (g(m)' g(m))``.

    Targets are centred; Numerai's buckets, which lie within 0 to 1, count four times before. numerai-tools guesses from
    the values whether they are buckets, and takes a run of returns without a loss for some: here it is said. It is a
    covariance, in units of the target.

    Args:
        predictions: Shape (n,).
        meta_model: Shape (n,).
        targets: Shape (n,).
        buckets: Whether targets are Numerai's buckets; returns are not.

    Returns:
        None where predictions or the meta-model stand still.
    """
    _same(predictions, targets)
    _same(meta_model, targets)
    if not targets.size or np.ptp(predictions) == 0 or np.ptp(meta_model) == 0:
        return None
    mine, theirs = gaussian_ranks(predictions), gaussian_ranks(meta_model)
    left = mine - theirs * (total(theirs * mine) / total(theirs * theirs))
    scaled = targets * _BUCKETS if buckets else targets
    return total((scaled - total(scaled) / scaled.size) * left) / targets.size


def _power(values: Floats) -> Floats:
    size = np.abs(values)
    return np.asarray(np.sign(values) * size * np.sqrt(size), dtype=np.float64)


def _same(one: Floats, other: Floats) -> None:
    if one.shape != other.shape or one.ndim != 1:
        raise InvalidInputError(f"Columns of shapes {one.shape} and {other.shape} do not belong together.")
    finite(one, "predictions")
    finite(other, "targets")
