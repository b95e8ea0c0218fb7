"""Being asked: the marketplace calls a deployment's ``/infer`` when a bar closes, and what became of each call."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field

from mp_kit.contracts.common import Instant, Model, Symbol, Timeframe

_LONGEST_URL = 2_048
_MOST_SYMBOLS = 500


class PollBreaker(StrEnum):
    """Whether a deployment is asked, by how its last calls went."""

    CLOSED = "closed"  # it is asked
    OPEN = "open"  # too many calls in a row failed: it is left alone until ``retry_at``
    HALF_OPEN = "half_open"  # one call is due, which decides


class PollOutcome(StrEnum):
    """What became of a call: the store's word on the answer, or that there was no answer to store."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    REJECTED = "rejected"
    FAILED = "failed"


class PollWish(Model):
    """What a vendor says of being asked; what is left out stays as it is."""

    poll: bool | None = Field(default=None, description="Ask the deployment at each bar's close.")
    infer_url: str | None = Field(
        default=None,
        min_length=8,
        max_length=_LONGEST_URL,
        description="Where its /infer answers, https; of deployments that their vendor runs.",
    )
    poll_symbols: list[Symbol] | None = Field(
        default=None, max_length=_MOST_SYMBOLS, description="Ask about these alone; an empty list means all."
    )
    poll_timeframes: list[Timeframe] | None = Field(
        default=None, max_length=len(Timeframe), description="Ask about bars of these lengths alone; empty means all."
    )

    def polling(self) -> dict[str, Any]:
        """What it says, without what it leaves out."""
        return self.model_dump(include=set(PollWish.model_fields), exclude_none=True, mode="json")


class Polling(Model):
    """How a deployment stands with being asked, as its vendor sees it."""

    poll: bool
    infer_url: str | None = Field(default=None, description="None where the marketplace runs the server itself.")
    symbols: list[Symbol] | None = None
    timeframes: list[Timeframe] | None = None
    breaker: PollBreaker
    failures: int = Field(default=0, description="Calls in a row that failed.")
    retry_at: Instant | None = Field(default=None, description="When it is asked again, while the breaker is open.")
    last_at: Instant | None = None
    last_outcome: PollOutcome | None = None
    last_reason: str | None = None
    calls_today: int = Field(default=0, description="Of all deployments of the vendor, since 00:00 UTC.")
    calls_per_day: int | None = Field(default=None, description="None while nothing was asked today.")
    seconds_today: float = Field(default=0.0, description="Waited for answers, likewise.")
    seconds_per_day: float | None = None
    exhausted: bool = Field(default=False, description="Today's budget is used up; the next begins at 00:00 UTC.")


class Poll(Model):
    """One bar that a deployment was asked about."""

    symbol: str
    timeframe: Timeframe
    event_time: Instant = Field(description="Open of the bar.")
    outcome: PollOutcome | None = Field(default=None, description="None while it is being asked.")
    attempts: int
    asked_at: Instant
    http_status: int | None = None
    milliseconds: int | None = None
    late: bool | None = None
    reason: str | None = None
