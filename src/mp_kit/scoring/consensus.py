"""The consensus of one bar, out of the signals about it.

Method ``confidence_skill`` (ours; a linear opinion pool in the sense of Stone 1961, over three outcomes):

- weight of a voice ``w_i = c_i k_i / sum_j c_j k_j`` with its confidence ``c`` and its skill ``k``; when all products
  are zero, all weights are equal;
- share of an outcome = the sum of the weights of those who chose it; the decision is the outcome with the greatest
  share, and HOLD when the greatest is shared;
- ``score = sum_i w_i c_i s_i`` with ``s`` = +1 BUY, -1 SELL, 0 HOLD: from -1 to 1;
- confidence = what the agreeing voices add, less what the opposed ones (the other direction) take, not below 0.

A single voice passes unchanged. Swapping every BUY and SELL flips the decision and the score, nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mp_kit.contracts import Decision

METHOD = "confidence_skill"
_TIE = 1e-12


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
class Blend:
    """What the voices say together.

    Args:
        decision: The outcome with the greatest share.
        confidence: 0 to 1.
        score: -1 (all sell) to 1 (all buy).
        weights: Share of each voice; they sum to 1.
    """

    decision: Decision
    confidence: float
    score: float
    weights: Mapping[str, float]


def blend(voices: Sequence[Voice]) -> Blend:
    """Blends a bar's voices; see the module for the formula.

    Raises:
        ValueError: There is no voice, or two have one name.
    """
    weights = _weights(voices)
    shares = dict.fromkeys(Decision, 0.0)
    strength = dict(shares)
    for voice in voices:
        shares[voice.decision] += weights[voice.name]
        strength[voice.decision] += weights[voice.name] * voice.confidence
    decision = _greatest(shares)
    opposed = {Decision.BUY: strength[Decision.SELL], Decision.SELL: strength[Decision.BUY]}.get(decision, 0.0)
    return Blend(
        decision=decision,
        confidence=min(1.0, max(0.0, strength[decision] - opposed)),
        score=min(1.0, max(-1.0, strength[Decision.BUY] - strength[Decision.SELL])),  # weights may sum to 1 + 2e-16
        weights=weights,
    )


def _weights(voices: Sequence[Voice]) -> dict[str, float]:
    if not voices or len({voice.name for voice in voices}) != len(voices):
        msg = "a consensus needs at least one voice, and one name a voice"
        raise ValueError(msg)
    raw = {voice.name: voice.confidence * voice.skill for voice in voices}
    total = sum(raw.values())
    if total <= 0:
        return dict.fromkeys(raw, 1 / len(raw))
    return {name: value / total for name, value in raw.items()}


def _greatest(shares: Mapping[Decision, float]) -> Decision:
    best = max(shares.values())
    leaders = [decision for decision, share in shares.items() if best - share <= _TIE]
    return leaders[0] if len(leaders) == 1 else Decision.HOLD
