"""Scores: what signals were worth against bars that came after them, with error bars.

1. What is undefined is null with a reason, never 0 and never infinite.
2. A number stands beside its interval and beside what it was made from, so that anybody can make it again.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from mp_kit.contracts.common import Instant, Model, Timeframe
from mp_kit.contracts.measured import Measured
from mp_kit.contracts.models import Stage

__all__ = ["LeaderboardEntry", "Measured", "ReliabilityBin", "ScoreBasis", "ScoreCard", "Standing"]


class ReliabilityBin(Model):
    """Calls of about one confidence, and how many of them were right."""

    low: float
    high: float
    calls: int
    confidence: float = Field(description="Their mean.")
    hit_rate: Measured


class ScoreBasis(Model):
    """What a score was made from."""

    timeframe: Timeframe
    horizon: int = Field(gt=0, description="Bars that a signal is held.")
    bars_per_year: float | None = Field(
        default=None, description="Of the scored symbols, counted in the round; annualises the Sharpe ratio."
    )
    cost: float = Field(ge=0, description="Cost of trading one unit of capital, as a share.")
    signals: int = Field(description="First statements about a bar that were not late.")
    scored: int = Field(description="Those whose outcome is in the round's bars.")
    left_out: dict[str, int] = Field(description="Reason to count: late, restated, no_bar, open.")
    bars: int = Field(description="Bars of the portfolio, from the first entry to the last exit.")
    symbols: list[str]
    first: Instant | None = Field(default=None, description="Close at which the first scored signal was entered.")
    last: Instant | None = Field(default=None, description="Close at which the last scored signal ended.")


class ScoreCard(Model):
    """What a set of signals was worth."""

    basis: ScoreBasis
    hit_rate: Measured
    coverage: Measured = Field(description="Share of BUY and SELL among the scored signals.")
    ic: Measured = Field(description="Pearson's correlation of position and return, horizons apart.")
    rank_ic: Measured = Field(description="Spearman's.")
    corr: Measured = Field(description="Numerai's CORR over the same pairs, targets as returns.")
    sharpe: Measured = Field(description="Annual.")
    psr: Measured = Field(description="Probability that the true Sharpe ratio is above 0.")
    dsr: Measured = Field(description="The same against the best of so many worthless tries.")
    tries: int | None = Field(default=None, description="Counted by the marketplace; null where nobody counted.")
    min_track_record: Measured = Field(description="Bars after which the PSR would be 95 %.")
    max_drawdown: Measured
    turnover: Measured = Field(description="Mean change of position a bar, in units of the capital.")
    total_return: Measured
    profit_per_signal: Measured = Field(description="Mean of position times return over BUY and SELL, after costs.")
    avg_confidence: Measured
    brier: Measured = Field(description="Of confidence as the probability that a BUY or SELL is right.")
    reliability: list[ReliabilityBin]


class Standing(Model):
    """What a deployment adds to the others of its marketplace."""

    contribution: Measured = Field(description="Profit a bar of the consensus with it, less without it.")
    mmc: Measured = Field(description="Numerai's MMC, the consensus of the others as meta-model.")


class LeaderboardEntry(Model):
    """A deployment's score on a round."""

    round_id: str
    deployment_id: str
    deployment: str
    vendor: str | None = None
    model_id: str | None = None
    model: str | None = None
    version: str | None = None
    stage: Stage | None = None
    enough_data: bool
    reason: str | None = None
    card: ScoreCard
    standing: Standing
    tries_by_round: dict[str, int] = Field(default_factory=dict)
    computed_at: Instant

    def flat(self) -> dict[str, Any]:
        """One row for a table: names, and each number with its interval."""
        said = {name: getattr(self, name) for name in ("deployment", "vendor", "model", "version", "stage")}
        numbers = {name: str(getattr(self.card, name)) for name in ("sharpe", "dsr", "hit_rate", "rank_ic")}
        return said | {"scored": self.card.basis.scored, "tries": self.card.tries} | numbers
