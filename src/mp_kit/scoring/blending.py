"""The consensus of many bars at once, as columns; :mod:`mp_kit.scoring.consensus` has the formulas.

Bars of equally many voices form a matrix, and leaving a voice out is the same blend over the matrix without it: sums
are made anew, never subtracted, so that no rounding is left where a great weight was taken away.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from mp_kit.scoring.numbers import Booleans, Floats, Ints

__all__ = ["BlendedBars", "Method", "blend_bars"]

TIE = 1e-12
"""Shares this close to one another are equal."""

_CAPPED_FROM = 3
_CHUNK = 1 << 17
"""Numbers in one intermediate matrix: what stays in a processor's cache."""


class Method(StrEnum):
    """How voices are weighted."""

    EQUAL = "equal"
    CONFIDENCE = "confidence"
    SKILL = "confidence_skill"


@dataclass(frozen=True)
class BlendedBars:
    """Blended bars; the first three have a number per bar, the others one per voice, in the order given.

    Attributes:
        decision: +1, 0 or -1.
        confidence: 0 to 1.
        score: -1 to 1.
        weight: Share of the voice in its bar.
        value: Score with the voice less score without it.
        swing: Share of the decision with the voice less that outcome's share without it.
        without: Decision of the others, as a sign; 0 where there are none.
        others: Whether there are any.
    """

    decision: Ints
    confidence: Floats
    score: Floats
    weight: Floats
    value: Floats
    swing: Floats
    without: Ints
    others: Booleans


@dataclass(frozen=True)
class _Pool:
    """A blend of matrices: the last axis is gone, but for the weights' and the shares'."""

    weight: Floats
    shares: Floats  # SELL, HOLD, BUY
    decision: Ints
    confidence: Floats
    score: Floats


def blend_bars(
    bar: Ints, sign: Ints, confidence: Floats, skill: Floats | None = None, *, method: Method = Method.SKILL
) -> BlendedBars:
    """Blends many bars, one voice a row.

    Args:
        bar: Shape (n,): number of each voice's bar, ascending from 0 without a gap.
        sign: Shape (n,): +1, 0 or -1.
        confidence: Shape (n,): 0 to 1.
        skill: Shape (n,): not below 0; 1 for all when None.
        method: How voices are weighted.

    Returns:
        Columns by bar and by voice.
    """
    raw = _raw(method, confidence, np.ones(bar.size) if skill is None else skill)
    counts = np.bincount(bar) if bar.size else np.zeros(0, np.int64)
    starts = np.cumsum(counts) - counts
    made = _empty(counts.size, bar.size)
    for count in np.unique(counts).tolist():
        bars = np.flatnonzero(counts == count)
        step = max(1, _CHUNK // (count * count))
        for at in range(0, bars.size, step):
            chosen = bars[at : at + step]
            rows = starts[chosen][:, None] + np.arange(count)
            _fill(made, chosen, rows, (raw[rows], sign[rows], confidence[rows]), capped=method is Method.SKILL)
    return made


def _raw(method: Method, confidence: Floats, skill: Floats) -> Floats:
    if method is Method.EQUAL:
        return np.ones(confidence.size)
    return confidence if method is Method.CONFIDENCE else confidence * skill


def _empty(bars: int, voices: int) -> BlendedBars:
    return BlendedBars(
        decision=np.zeros(bars, np.int64),
        confidence=np.zeros(bars),
        score=np.zeros(bars),
        weight=np.zeros(voices),
        value=np.zeros(voices),
        swing=np.zeros(voices),
        without=np.zeros(voices, np.int64),
        others=np.zeros(voices, np.bool_),
    )


def _fill(made: BlendedBars, bars: Ints, rows: Ints, told: tuple[Floats, Ints, Floats], *, capped: bool) -> None:
    """Blends bars of equally many voices, and again without each voice."""
    raw, sign, confidence = told
    count = rows.shape[1]
    pool = _pool(raw, sign, confidence, np.ones(count, np.bool_), capped=capped)
    made.decision[bars], made.confidence[bars], made.score[bars] = pool.decision, pool.confidence, pool.score
    made.weight[rows] = pool.weight
    chosen = (pool.decision + 1)[:, None]
    share = np.take_along_axis(pool.shares, chosen, axis=-1)
    if count == 1:
        made.value[rows], made.swing[rows] = pool.score[:, None], share
        return
    left = _pool(
        raw[:, None, :], sign[:, None, :], confidence[:, None, :], ~np.eye(count, dtype=np.bool_), capped=capped
    )
    made.value[rows] = pool.score[:, None] - left.score
    made.swing[rows] = share - np.take_along_axis(left.shares, chosen[:, :, None], axis=-1)[..., 0]
    made.without[rows], made.others[rows] = left.decision, True


def _pool(raw: Floats, sign: Ints, confidence: Floats, present: Booleans, *, capped: bool) -> _Pool:
    """Blends along the last axis; ``present`` says who speaks."""
    weight = _weights(np.where(present, raw, 0.0), present, capped=capped)
    sides = [(sign == side).astype(np.float64) for side in (-1, 0, 1)]
    shares = np.stack([_dot(weight, side) for side in sides], axis=-1)
    strength = np.stack([_dot(weight, side * confidence) for side in sides], axis=-1)
    best = shares.max(axis=-1, keepdims=True)
    leads = best - shares <= TIE
    decision = np.where(leads.sum(axis=-1) == 1, leads.argmax(axis=-1) - 1, 0)
    opposed = np.where(decision == 0, 0.0, np.take_along_axis(strength, (1 - decision)[..., None], axis=-1)[..., 0])
    agreed = np.take_along_axis(strength, (decision + 1)[..., None], axis=-1)[..., 0]
    return _Pool(
        weight=weight,
        shares=shares,
        decision=decision,
        confidence=np.clip(agreed - opposed, 0.0, 1.0),
        score=np.clip(strength[..., 2] - strength[..., 0], -1.0, 1.0),  # weights may sum to 1 + 2e-16
    )


def _weights(raw: Floats, present: Booleans, *, capped: bool) -> Floats:
    total = raw.sum(axis=-1, keepdims=True)
    silent = total <= 0
    if silent.any():
        raw = np.where(silent, present.astype(np.float64), raw)
    if capped and present.sum(axis=-1).max() >= _CAPPED_FROM:
        raw = _cap(raw)
    weight: Floats = raw / raw.sum(axis=-1, keepdims=True)
    return weight


def _cap(raw: Floats) -> Floats:
    """Cuts the greatest raw weight down to the sum of the others, where it is above it and they have any."""
    top = raw.argmax(axis=-1)[..., None]
    at_top = np.arange(raw.shape[-1]) == top
    others = np.where(at_top, 0.0, raw).sum(axis=-1, keepdims=True)
    return np.where(at_top & (others > 0), np.minimum(raw, others), raw)


def _dot(weight: Floats, column: Floats) -> Floats:
    product: Floats = np.einsum("...j,...j->...", weight, np.broadcast_to(column, weight.shape))
    return product
