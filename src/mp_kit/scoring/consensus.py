"""The consensus of a bar, out of the signals about it.

Every method is a linear opinion pool (Stone, Annals of Mathematical Statistics 32 (1961)) over three outcomes; they
differ in the raw weight ``u`` of a voice with confidence ``c`` and skill ``k``:

- ``equal``: ``u = 1``, one deployment one vote (Clemen, International Journal of Forecasting 5 (1989): the plain mean
  is hard to beat);
- ``confidence``: ``u = c``;
- ``confidence_skill``: ``u = c k`` with ``k`` out of past performance (:mod:`mp_kit.scoring.skill`), and where three
  or more speak no voice outweighs all others together: a ``u`` above the sum of the others is cut down to it, unless
  that sum is 0.

From there on they are one:

- weight ``w_i = u_i / sum_j u_j``, all equal where the sum is 0;
- share of an outcome = the sum of the weights of those who chose it; the decision is the outcome with the greatest
  share, and HOLD where the greatest is shared;
- ``score = sum_i w_i c_i s_i`` with ``s`` = +1 BUY, -1 SELL, 0 HOLD: from -1 to 1;
- confidence = what the agreeing voices add, less what the opposed ones (the other direction) take, not below 0.

A voice's part is measured by leaving it out (as Cook, Technometrics 19 (1977), measures an observation's): ``value``
is the score with it less the score without it, ``swing`` the share of the decision with it less that outcome's share
without it, and ``without`` the decision that the others make. Of a voice that spoke alone the others say nothing:
score and share 0, no decision.

1. A single voice passes unchanged. Swapping every BUY and SELL flips the decision and the scores, nothing else.
2. The order of the voices does not matter (beyond rounding), and nothing is remembered from bar to bar.
3. Turning a voice from SELL to HOLD or from HOLD to BUY never lowers the score; more confidence of a voice that chose
   an outcome never lowers that outcome's share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mp_kit.contracts import Decision
from mp_kit.scoring.blending import Method, blend_bars

__all__ = ["DECISIONS", "METHOD", "Blend", "Method", "Part", "Voice", "blend"]

METHOD = Method.SKILL.value
"""What is shown where the operator chose nothing else."""

DECISIONS = {1: Decision.BUY, 0: Decision.HOLD, -1: Decision.SELL}
"""By sign."""


@dataclass(frozen=True)
class Voice:
    """One signal about the bar.

    Args:
        name: Whose it is; unique within the bar.
        decision: What it says.
        confidence: 0 to 1.
        skill: How much its past is worth, not below 0; 1 when nothing is known.
    """

    name: str
    decision: Decision
    confidence: float
    skill: float = 1.0


@dataclass(frozen=True)
class Part:
    """What leaving a voice out would change.

    Args:
        value: Score with it less score without it.
        swing: Share of the decision with it less that outcome's share without it.
        without: The decision of the others; None when there are none.
    """

    value: float
    swing: float
    without: Decision | None


@dataclass(frozen=True)
class Blend:
    """What the voices say together.

    Args:
        decision: The outcome with the greatest share.
        confidence: 0 to 1.
        score: -1 (all sell) to 1 (all buy).
        weights: Share of each voice; they sum to 1.
        parts: What each voice changed.
    """

    decision: Decision
    confidence: float
    score: float
    weights: Mapping[str, float]
    parts: Mapping[str, Part]


def blend(voices: Sequence[Voice], method: Method = Method.SKILL) -> Blend | None:
    """Blends a bar's voices; see the module for the formula. None when nobody spoke.

    Raises:
        ValueError: Two voices have one name.
    """
    if len({voice.name for voice in voices}) != len(voices):
        msg = "a consensus has one name a voice"
        raise ValueError(msg)
    if not voices:
        return None
    made = blend_bars(
        np.zeros(len(voices), np.int64),
        np.asarray([voice.decision.sign for voice in voices], np.int64),
        np.asarray([voice.confidence for voice in voices], np.float64),
        np.asarray([voice.skill for voice in voices], np.float64),
        method=method,
    )
    names = [voice.name for voice in voices]
    others = [DECISIONS.get(sign) if made.others[at] else None for at, sign in enumerate(made.without.tolist())]
    parts = zip(made.value.tolist(), made.swing.tolist(), others, strict=True)
    return Blend(
        decision=DECISIONS[int(made.decision[0])],
        confidence=float(made.confidence[0]),
        score=float(made.score[0]),
        weights=dict(zip(names, made.weight.tolist(), strict=True)),
        parts={name: Part(*part) for name, part in zip(names, parts, strict=True)},
    )
