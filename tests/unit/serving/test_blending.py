"""Voices, their shares, and what is heard of them."""

from __future__ import annotations

import pytest

from mp_kit.contracts.inference import InferResponse
from mp_kit.errors import InvalidInputError
from mp_kit.serving.blending import blend


def voice(decision: str, confidence: float = 0.5) -> InferResponse:
    return InferResponse.model_validate(
        {"decision": decision, "confidence": confidence, "model_version": "1", "timestamp": "2026-01-02T15:00:00Z"}
    )


CARD = {"features": ["a", "b"], "weights": {"a": 0.75, "b": 0.25}}
OPEN = {"features": ["a", "*"], "weights": {"a": 0.5, "*": 0.5}}


def test_silent_voice_has_no_share():
    """The others' shares still sum to 1."""
    found = blend({"b": voice("SELL", 0.8)}, CARD)
    assert [{"a": 0.0, "b": -0.8}] == found.table.to_pylist()
    assert {"b": 1.0} == {name: part["weight"] for name, part in found.contributions.items()}


def test_strangers_are_told():
    """They have no share in a model that does not know them."""
    found = blend({"a": voice("BUY"), "x": voice("SELL")}, CARD)
    assert (["a"], ["x"]) == (list(found.contributions), found.unheard)


def test_only_strangers_are_refused():
    """A decision out of nothing is none."""
    with pytest.raises(InvalidInputError, match="a, b"):
        blend({"x": voice("BUY")}, CARD)


def test_star_hears_the_others_as_their_mean():
    """And each of them has its part of the star's weight."""
    found = blend({"a": voice("BUY", 1.0), "x": voice("BUY", 0.6), "y": voice("HOLD", 0.9)}, OPEN)
    assert [{"a": 1.0, "*": 0.3}] == found.table.to_pylist()
    assert {"a": 0.5, "x": 0.25, "y": 0.25} == {name: part["weight"] for name, part in found.contributions.items()}
    assert [] == found.unheard


def test_weights_of_nothing_become_even():
    """A model that believes nobody still says who spoke."""
    card = {"features": ["a", "b"], "weights": {"a": 0.0, "b": 0.0}}
    found = blend({"a": voice("BUY"), "b": voice("SELL")}, card)
    assert {"a": 0.5, "b": 0.5} == {name: part["weight"] for name, part in found.contributions.items()}
