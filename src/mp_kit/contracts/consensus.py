"""Consensus and allocations: what is blended out of signals."""

from __future__ import annotations

from typing import Annotated, Any

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
    late: bool | None = Field(default=None, description="It came too late to be weighed beside those in time.")
    value: float | None = Field(default=None, description="Score with this voice less the score without it.")
    swing: float | None = Field(
        default=None, description="The decision's share with this voice less that outcome's share without it."
    )
    without: Decision | None = Field(default=None, description="What the others decide; null where nobody else spoke.")


ContributionName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""A model's or a deployment's, as whoever blended it calls it."""


class ConsensusWrite(SignalWrite):
    """A consensus that a vendor's model made out of signals."""

    contributions: dict[ContributionName, Contribution] = Field(min_length=1)


class Consensus(Model):
    """The blended view of one bar."""

    symbol: str
    timeframe: Timeframe
    event_time: Instant
    decision: Decision
    confidence: float
    score: float = Field(description="Weighted mean of sign times confidence, -1 to 1.")
    method: str = Field(description="equal, confidence, confidence_skill, or vendor: and a vendor's model.")
    signals: int
    late: bool = Field(default=False, description="All of its voices came late: it never counts for scores.")
    vendor: str | None = Field(default=None, description="Whose model blended it; null where the marketplace did.")
    vendor_id: str | None = None
    deployment_id: str | None = None
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
