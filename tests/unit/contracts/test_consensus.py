"""Consensus and allocations on the wire, and the inference contract that makes them."""

from __future__ import annotations

from typing import Any

import pytest

from mp_kit.contracts import (
    ConsensusInferRequest,
    ConsensusInferResponse,
    ConsensusWrite,
    Contribution,
    Health,
    InferRequest,
    InferResponse,
    Model,
    OptimizerInferRequest,
    OptimizerInferResponse,
    OptimizerWrite,
    SignalWrite,
)

WHEN = "2026-01-02T15:04:05Z"
VOICE = {"decision": "BUY", "weight": 1.0}
ANSWER = {"decision": "BUY", "confidence": 0.7, "model_version": "1", "timestamp": WHEN}
CONSENSUS = {**ANSWER, "symbol": "EURUSD", "timeframe": "1h", "contributions": {"a": VOICE}}
PORTFOLIO = {
    "allocations": [{"symbol": "EURUSD", "weight": 0.5}],
    "model_version": "1",
    "timestamp": WHEN,
    "timeframe": "1d",
}
INFER = {"symbol": "EURUSD", "timeframe": "1h"}
BAD: dict[str, tuple[type[Model], dict[str, Any], str]] = {
    "no contributions": (ConsensusWrite, CONSENSUS | {"contributions": {}}, "contributions"),
    "contribution without weight": (
        ConsensusWrite,
        CONSENSUS | {"contributions": {"a": {"decision": "BUY"}}},
        "contributions.a.weight",
    ),
    "negative weight": (
        ConsensusWrite,
        CONSENSUS | {"contributions": {"a": VOICE | {"weight": -0.1}}},
        "contributions.a.weight",
    ),
    "contribution with a foreign word": (
        ConsensusWrite,
        CONSENSUS | {"contributions": {"a": VOICE | {"decision": "UP"}}},
        "contributions.a.decision",
    ),
    "consensus without confidence": (
        ConsensusWrite,
        {name: value for name, value in CONSENSUS.items() if name != "confidence"},
        "confidence",
    ),
    "no allocations": (OptimizerWrite, PORTFOLIO | {"allocations": []}, "allocations"),
    "allocation above 1": (
        OptimizerWrite,
        PORTFOLIO | {"allocations": [{"symbol": "EURUSD", "weight": 1.1}]},
        "allocations.0.weight",
    ),
    "negative volatility": (OptimizerWrite, PORTFOLIO | {"expected_volatility": -1}, "expected_volatility"),
    "return that is no number": (OptimizerWrite, PORTFOLIO | {"expected_return": float("nan")}, "expected_return"),
    "bar of five numbers": (InferRequest, INFER | {"ohlcv": [[1, 2, 3, 4, 5]]}, "ohlcv.0"),
    "bar with a word": (InferRequest, INFER | {"ohlcv": [[0, 1, 1, 1, "x", 1]]}, "ohlcv.0.4"),
    "feature that is no number": (InferRequest, INFER | {"features": {"rsi": float("inf")}}, "features.rsi"),
    "answer without time": (InferResponse, ANSWER | {"timestamp": None}, "timestamp"),
    "health not ok": (Health, {"status": "fine"}, "status"),
    "consensus of nothing": (ConsensusInferRequest, INFER | {"signals": {}}, "signals"),
    "consensus of a bad answer": (
        ConsensusInferRequest,
        INFER | {"signals": {"a": ANSWER | {"confidence": 2}}},
        "signals.a.confidence",
    ),
    "consensus answer without contributions": (ConsensusInferResponse, ANSWER, "contributions"),
    "optimizer without assets": (OptimizerInferRequest, {"assets": [], "timeframe": "1d"}, "assets"),
    "optimizer with weight 0": (
        OptimizerInferRequest,
        {"assets": ["EURUSD"], "timeframe": "1d", "max_weight": 0},
        "max_weight",
    ),
    "optimizer's empty answer": (
        OptimizerInferResponse,
        {"allocations": [], "model_version": "1", "timestamp": WHEN},
        "allocations",
    ),
}


@pytest.mark.parametrize(("contract", "document", "place"), BAD.values(), ids=BAD)
def test_bad_document_names_the_place(contract: type[Model], document: dict[str, Any], place: str, refused: Any):
    """One finding, at the field that is wrong."""
    assert [place] == list(refused(contract, document))


def test_consensus_write_is_a_signal_write():
    """The same rules of identity and attribution hold."""
    assert isinstance(ConsensusWrite.model_validate(CONSENSUS), SignalWrite)


def test_contribution_keeps_its_attribution():
    """Vendor and deployment are filled by the marketplace and survive."""
    told = {**VOICE, "vendor": "ACME", "vendor_id": "ven_1", "deployment_id": "dep_1"}
    assert told == Contribution.model_validate(told).model_dump(exclude_none=True, mode="json")


def test_portfolio_survives_the_wire():
    """With its zero weights."""
    document = PORTFOLIO | {"allocations": [{"symbol": "EURUSD", "weight": 0}, {"symbol": "USDJPY", "weight": 1}]}
    held = OptimizerWrite.model_validate(document)
    assert held == OptimizerWrite.model_validate_json(held.model_dump_json())
    assert [0.0, 1.0] == [one.weight for one in held.allocations]
