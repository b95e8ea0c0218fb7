"""The contract of a vendor's inference server: what `mp validate` checks and the platform calls."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from mp_kit.contracts.common import Confidence, Decision, Instant, Model, Symbol, Timeframe
from mp_kit.contracts.consensus import Allocation, Contribution

Ohlcv = Annotated[list[float], Field(min_length=6, max_length=6)]
"""One bar: [t (unix seconds of the open), o, h, l, c, v]."""


class Health(Model):
    """GET /health of a vendor's server."""

    status: Literal["ok"]


class InferRequest(Model):
    """POST /infer of a signal model."""

    symbol: Symbol
    timeframe: Timeframe
    ohlcv: list[Ohlcv] | None = None
    features: dict[str, float] | None = None


class InferResponse(Model):
    """A signal model's answer."""

    decision: Decision
    confidence: Confidence
    rationale: list[str] | None = None
    model_version: str
    timestamp: Instant
    metadata: dict[str, Any] | None = None


class ConsensusInferRequest(Model):
    """POST /infer of a consensus model: the signals of one bar."""

    symbol: Symbol
    timeframe: Timeframe
    signals: dict[str, InferResponse] = Field(min_length=1)


class ConsensusInferResponse(InferResponse):
    """A consensus model's answer."""

    contributions: dict[str, Contribution]


class OptimizerInferRequest(Model):
    """POST /infer of an optimizer: assets and constraints, with moments, recent closes, or both."""

    assets: list[Symbol] = Field(min_length=1)
    timeframe: Timeframe
    expected_returns: dict[str, float] | None = None
    covariance: list[list[float]] | None = None
    closes: dict[Symbol, list[float]] | None = Field(default=None, description="Closes by symbol, the newest last.")
    max_weight: float = Field(default=1.0, gt=0, le=1)


class OptimizerInferResponse(Model):
    """An optimizer's answer."""

    allocations: list[Allocation] = Field(min_length=1)
    expected_return: float | None = None
    expected_volatility: float | None = Field(default=None, ge=0)
    model_version: str
    timestamp: Instant
