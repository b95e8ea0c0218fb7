"""The blend of a bar's voices, by its properties."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mp_kit.contracts import Decision
from mp_kit.scoring.blending import blend_bars
from mp_kit.scoring.consensus import Blend, Method, Voice, blend

SWAP = {Decision.BUY: Decision.SELL, Decision.SELL: Decision.BUY, Decision.HOLD: Decision.HOLD}
BUY, SELL, HOLD = Decision.BUY, Decision.SELL, Decision.HOLD

voice_parts = st.tuples(st.sampled_from(Decision), st.floats(0, 1), st.floats(0, 100))
methods = st.sampled_from(Method)
voices = st.lists(voice_parts, min_size=1, max_size=40).map(
    lambda parts: [Voice(f"v{at}", *part) for at, part in enumerate(parts)]
)


def blended(told: Sequence[Voice], method: Method = Method.SKILL) -> Blend:
    """The blend of voices, of which there are some."""
    made = blend(told, method)
    assert made is not None
    return made


def say(*told: tuple[Decision, float] | tuple[Decision, float, float], method: Method = Method.SKILL) -> Blend:
    """Blends decisions with confidences, perhaps with skills."""
    return blended([Voice(f"v{at}", *one) for at, one in enumerate(told)], method)


@pytest.mark.parametrize("method", Method)
def test_nobody_spoke(method: Method):
    """Then there is no consensus, not a HOLD."""
    assert blend([], method) is None


def test_one_name_twice_is_refused():
    """Else one of them would vanish."""
    with pytest.raises(ValueError, match="one name"):
        blend([Voice("a", BUY, 1), Voice("a", SELL, 1)])


@given(voices, methods)
def test_weights_are_shares(told: list[Voice], method: Method):
    """Each from 0 to 1, together 1, one for each voice."""
    weights = blended(told, method).weights
    assert {voice.name for voice in told} == set(weights)
    assert all(0 <= weight <= 1 for weight in weights.values())
    assert 1 == pytest.approx(sum(weights.values()), abs=1e-12)


@given(voices, methods)
def test_confidence_and_score_stay_in_their_bounds(told: list[Voice], method: Method):
    """Exactly: not by an ulp outside."""
    result = blended(told, method)
    assert 0 <= result.confidence <= 1
    assert -1 <= result.score <= 1


@pytest.mark.parametrize("count", [9, 11, 18, 21, 49])
@pytest.mark.parametrize("decision", [BUY, SELL])
def test_score_of_many_sure_voices_is_one(count: int, decision: Decision):
    """Equal weights sum to a hair more than 1 here."""
    result = say(*[(decision, 1.0)] * count)
    assert decision.sign == pytest.approx(result.score, abs=1e-12)
    assert abs(result.score) <= 1


@given(voices, methods)
def test_swapping_buy_and_sell_flips_decision_and_scores_only(told: list[Voice], method: Method):
    """To the last bit, each voice's part too."""
    result = blended(told, method)
    swapped = blended([Voice(one.name, SWAP[one.decision], one.confidence, one.skill) for one in told], method)
    for name, part in result.parts.items():
        mirrored = swapped.parts[name]
        assert (-part.value, part.swing) == (mirrored.value, mirrored.swing)
        assert (part.without and SWAP[part.without]) == mirrored.without
    assert SWAP[result.decision] == swapped.decision
    assert -result.score == swapped.score
    assert result.confidence == swapped.confidence
    assert result.weights == swapped.weights


@given(voice_parts)
def test_single_voice_passes_unchanged(part: tuple[Decision, float, float]):
    """Whatever its skill, none at all too."""
    decision, confidence, _ = part
    result = blended([Voice("only", *part)])
    assert (decision, confidence, {"only": 1.0}) == (result.decision, result.confidence, result.weights)
    assert decision.sign * confidence == result.score


@given(voices, methods, st.randoms(use_true_random=False))
def test_order_does_not_matter(told: list[Voice], method: Method, shuffle: random.Random):
    """Beyond 1e-12."""
    mixed = list(told)
    shuffle.shuffle(mixed)
    first, second = blended(told, method), blended(mixed, method)
    assert first.confidence == pytest.approx(second.confidence, abs=1e-12)
    assert first.score == pytest.approx(second.score, abs=1e-12)
    assert dict(first.weights) == pytest.approx(dict(second.weights), abs=1e-12)


@given(voices, st.floats(0.01, 100))
def test_common_factor_of_skill_does_not_matter(told: list[Voice], factor: float):
    """Skill is relative."""
    scaled = [Voice(one.name, one.decision, one.confidence, one.skill * factor) for one in told]
    if any((one.confidence * one.skill > 0) != (two.confidence * two.skill > 0) for one, two in zip(told, scaled)):  # noqa: B905 - equal by construction
        return  # a product vanished below the smallest float
    assert dict(blended(told).weights) == pytest.approx(dict(blended(scaled).weights), abs=1e-6)


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


@given(voices, methods, st.data())
def test_turning_a_voice_towards_buy_never_lowers_the_score(told: list[Voice], method: Method, data: st.DataObject):
    """SELL, HOLD, BUY: in this order the score grows."""
    at = data.draw(st.integers(0, len(told) - 1))
    ladder = [replace(told[at], decision=decision) for decision in (SELL, HOLD, BUY)]
    scores = [blended([*told[:at], one, *told[at + 1 :]], method).score for one in ladder]
    assert scores[0] <= scores[1] + 1e-12
    assert scores[1] <= scores[2] + 1e-12


@given(voices, methods, st.data())
def test_more_confidence_never_lowers_the_share_of_what_was_chosen(
    told: list[Voice], method: Method, data: st.DataObject
):
    """Nor takes the decision away from it."""
    at = data.draw(st.integers(0, len(told) - 1))
    surer = replace(told[at], confidence=data.draw(st.floats(told[at].confidence, 1)))
    before, after = blended(told, method), blended([*told[:at], surer, *told[at + 1 :]], method)
    if sum(one.confidence * one.skill for one in told) > 0:  # else all weights were equal
        assert share(told, before, surer.decision) <= share(told, after, surer.decision) + 1e-9


def share(told: Sequence[Voice], result: Blend, decision: Decision) -> float:
    """Sum of the weights of those who chose a decision."""
    return sum(result.weights[one.name] for one in told if one.decision == decision)


@given(st.lists(voice_parts, min_size=3, max_size=20))
def test_no_voice_of_three_or_more_outweighs_the_others(parts: list[tuple[Decision, float, float]]):
    """Unless none of the others has any weight."""
    result = say(*parts)
    heaviest = max(result.weights.values())
    silent = sum(confidence * skill == 0 for _, confidence, skill in parts)
    assert heaviest <= 0.5 + 1e-12 or silent == len(parts) - 1


@given(voices, methods)
def test_parts_are_what_leaving_out_changes(told: list[Voice], method: Method):
    """Each part is the difference to the blend of the others, made by itself."""
    whole = blended(told, method)
    for at, voice in enumerate(told):
        rest = blend([*told[:at], *told[at + 1 :]], method)
        part = whole.parts[voice.name]
        others = [one for one in told if one is not voice]
        assert (rest and rest.decision) == part.without
        assert whole.score - (rest.score if rest else 0) == pytest.approx(part.value, abs=1e-12)
        kept = share(others, rest, whole.decision) if rest else 0
        assert share(told, whole, whole.decision) - kept == pytest.approx(part.swing, abs=1e-12)


@given(st.lists(voices, min_size=1, max_size=8), methods)
def test_many_bars_at_once_are_each_bar_alone(bars: list[list[Voice]], method: Method):
    """To the last bit, whatever stands beside a bar."""
    told = [(number, voice) for number, bar in enumerate(bars) for voice in bar]
    made = blend_bars(
        np.asarray([number for number, _ in told], np.int64),
        np.asarray([voice.decision.sign for _, voice in told], np.int64),
        np.asarray([voice.confidence for _, voice in told]),
        np.asarray([voice.skill for _, voice in told]),
        method=method,
    )
    alone = [blended(bar, method) for bar in bars]
    assert [one.score for one in alone] == made.score.tolist()
    assert [one.confidence for one in alone] == made.confidence.tolist()
    assert [weight for one in alone for weight in one.weights.values()] == made.weight.tolist()
    assert [part.value for one in alone for part in one.parts.values()] == made.value.tolist()


def test_parts_by_hand():
    """Three voices: without the surest, the other two are even."""
    result = say((BUY, 0.8), (BUY, 0.4), (SELL, 0.4), method=Method.CONFIDENCE)
    weights = [0.5, 0.25, 0.25]
    assert weights == pytest.approx(list(result.weights.values()), abs=1e-15)
    assert (BUY, 0.5 * 0.8) == (result.decision, pytest.approx(result.score, abs=1e-15))
    surest, second, against = result.parts.values()
    assert (0.4 - 0.0, 0.75 - 0.5, HOLD) == pytest.approx((surest.value, surest.swing, surest.without), abs=1e-15)
    without_second = (0.8 * 0.8 - 0.4 * 0.4) / 1.2
    assert (0.4 - without_second, 0.75 - 0.8 / 1.2) == pytest.approx((second.value, second.swing), abs=1e-15)
    without_against = (0.8 * 0.8 + 0.4 * 0.4) / 1.2
    assert (0.4 - without_against, 0.75 - 1, BUY) == pytest.approx((against.value, against.swing, against.without))


@pytest.mark.parametrize(
    ("method", "weights"),
    [
        (Method.EQUAL, [1 / 3, 1 / 3, 1 / 3]),
        (Method.CONFIDENCE, [0.9, 0.05, 0.05]),
        (Method.SKILL, [0.5, 0.4, 0.1]),
    ],
)
def test_weights_by_hand(method: Method, weights: list[float]):
    """One vote each; by confidence; by confidence and skill, where nobody outweighs the others together."""
    result = say((BUY, 0.9, 2.0), (SELL, 0.05, 4.0), (SELL, 0.05, 1.0), method=method)
    assert weights == pytest.approx(list(result.weights.values()), abs=1e-15)
