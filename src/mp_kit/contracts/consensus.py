"""Consensus and allocations: what is blended out of signals."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from mp_kit.contracts.common import Confidence, Decision, Instant, Model, Symbol, Timeframe, VersionText
from mp_kit.contracts.signals import SignalWrite


class Contribution(Model):
    """What one model or deployment added."""

    decision: Decision
    weight: float = Field(ge=0, description="Its share; all shares of a consensus sum to 1.")
    confidence: Confidence | None = None
    vendor: str | None = Field(default=None, description="Name of the vendor; filled by the marketplace.")
    vendor_id: str | None = None
    deployment_id: str | None = None


class ConsensusWrite(SignalWrite):
    """A consensus that a vendor's model made out of signals."""

    contributions: dict[str, Contribution] = Field(min_length=1)


class Consensus(Model):
    """The blended view of one bar."""

    symbol: str
    timeframe: Timeframe
    event_time: Instant
    decision: Decision
    confidence: float
    score: float = Field(description="Weighted mean of sign times confidence, -1 to 1.")
    method: str
    signals: int
    contributions: dict[str, Contribution]
    computed_at: Instant


class Allocation(Model):
    """A symbol's weight in a portfolio."""

    symbol: Symbol
    weight: float = Field(ge=0, le=1)
    confidence: Confidence | None = None


class OptimizerWrite(Model):
    """What an optimizer model proposes to hold."""

    allocations: list[Allocation] = Field(min_length=1)
    expected_return: float | None = None
    expected_volatility: float | None = Field(default=None, ge=0)
    sharpe_ratio: float | None = None
    model_version: VersionText
    timestamp: Instant
    portfolio_id: str | None = None
    timeframe: Timeframe
    metadata: dict[str, Any] | None = None
