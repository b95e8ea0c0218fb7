"""The blend of a bar's voices, by its properties."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mp_kit.contracts import Decision
from mp_kit.scoring.consensus import Blend, Voice, blend

SWAP = {Decision.BUY: Decision.SELL, Decision.SELL: Decision.BUY, Decision.HOLD: Decision.HOLD}
BUY, SELL, HOLD = Decision.BUY, Decision.SELL, Decision.HOLD

voice_parts = st.tuples(st.sampled_from(Decision), st.floats(0, 1), st.floats(0, 100))
voices = st.lists(voice_parts, min_size=1, max_size=40).map(
    lambda parts: [Voice(f"v{at}", *part) for at, part in enumerate(parts)]
)


def say(*told: tuple[Decision, float] | tuple[Decision, float, float]) -> Blend:
    """Blends decisions with confidences, perhaps with skills."""
    return blend([Voice(f"v{at}", *one) for at, one in enumerate(told)])


def test_no_voice_is_refused():
    """There is nothing to blend."""
    with pytest.raises(ValueError, match="at least one voice"):
        blend([])


def test_one_name_twice_is_refused():
    """Else one of them would vanish."""
    with pytest.raises(ValueError, match="one name"):
        blend([Voice("a", BUY, 1), Voice("a", SELL, 1)])


@given(voices)
def test_weights_are_shares(told: list[Voice]):
    """Each from 0 to 1, together 1, one for each voice."""
    weights = blend(told).weights
    assert {voice.name for voice in told} == set(weights)
    assert all(0 <= weight <= 1 for weight in weights.values())
    assert 1 == pytest.approx(sum(weights.values()), abs=1e-12)


@given(voices)
def test_confidence_and_score_stay_in_their_bounds(told: list[Voice]):
    """Exactly: not by an ulp outside."""
    result = blend(told)
    assert 0 <= result.confidence <= 1
    assert -1 <= result.score <= 1


@pytest.mark.parametrize("count", [9, 11, 18, 21, 49])
@pytest.mark.parametrize("decision", [BUY, SELL])
def test_score_of_many_sure_voices_is_one(count: int, decision: Decision):
    """Equal weights sum to a hair more than 1 here."""
    result = say(*[(decision, 1.0)] * count)
    assert decision.sign == pytest.approx(result.score, abs=1e-12)
    assert abs(result.score) <= 1


@given(voices)
def test_swapping_buy_and_sell_flips_decision_and_score_only(told: list[Voice]):
    """To the last bit."""
    result = blend(told)
    swapped = blend([Voice(one.name, SWAP[one.decision], one.confidence, one.skill) for one in told])
    assert SWAP[result.decision] == swapped.decision
    assert -result.score == swapped.score
    assert result.confidence == swapped.confidence
    assert result.weights == swapped.weights


@given(voice_parts)
def test_single_voice_passes_unchanged(part: tuple[Decision, float, float]):
    """Whatever its skill, none at all too."""
    decision, confidence, _ = part
    result = blend([Voice("only", *part)])
    assert (decision, confidence, {"only": 1.0}) == (result.decision, result.confidence, result.weights)
    assert decision.sign * confidence == result.score


@given(voices, st.randoms(use_true_random=False))
def test_order_does_not_matter(told: list[Voice], shuffle: random.Random):
    """Beyond 1e-12."""
    mixed = list(told)
    shuffle.shuffle(mixed)
    first, second = blend(told), blend(mixed)
    assert first.confidence == pytest.approx(second.confidence, abs=1e-12)
    assert first.score == pytest.approx(second.score, abs=1e-12)
    assert dict(first.weights) == pytest.approx(dict(second.weights), abs=1e-12)


@given(voices, st.floats(0.01, 100))
def test_common_factor_of_skill_does_not_matter(told: list[Voice], factor: float):
    """Skill is relative."""
    scaled = [Voice(one.name, one.decision, one.confidence, one.skill * factor) for one in told]
    if any((one.confidence * one.skill > 0) != (two.confidence * two.skill > 0) for one, two in zip(told, scaled)):  # noqa: B905 - equal by construction
        return  # a product vanished below the smallest float
    assert dict(blend(told).weights) == pytest.approx(dict(blend(scaled).weights), abs=1e-6)


@pytest.mark.parametrize(
    ("told", "decision", "confidence", "score"),
    [
        ([(BUY, 0.8), (SELL, 0.2)], BUY, 0.8 * 0.8 - 0.2 * 0.2, 0.8 * 0.8 - 0.2 * 0.2),
        ([(BUY, 0.5), (SELL, 0.5)], HOLD, 0.0, 0.0),
        ([(BUY, 0.5), (HOLD, 0.5)], HOLD, 0.25, 0.25),
        ([(BUY, 0.6), (BUY, 0.4)], BUY, 0.6 * 0.6 + 0.4 * 0.4, 0.6 * 0.6 + 0.4 * 0.4),
        ([(BUY, 0.5, 3.0), (SELL, 0.5, 1.0)], BUY, 0.25, 0.25),
        ([(HOLD, 0.9), (SELL, 0.1)], HOLD, 0.9 * 0.9, -0.1 * 0.1),
        ([(BUY, 0.0), (SELL, 0.0), (BUY, 0.0)], BUY, 0.0, 0.0),
        ([(BUY, 0.9, 0.0), (SELL, 0.9, 0.0)], HOLD, 0.0, 0.0),
    ],
)
def test_blend_by_hand(told: list[tuple[Decision, float]], decision: Decision, confidence: float, score: float):
    """The formula, worked out on paper."""
    result = say(*told)
    assert decision == result.decision
    assert confidence == pytest.approx(result.confidence, abs=1e-12)
    assert score == pytest.approx(result.score, abs=1e-12)
