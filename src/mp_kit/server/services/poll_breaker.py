"""The breaker: whether a deployment is asked, by how its calls went. Pure.

::

    closed -> open         so many calls in a row failed
    open -> half open      its wait is over: one call is allowed
    half open -> closed    that call, or one that was under way before, went well
    half open -> open      it failed: twice the wait, up to the longest
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from mp_kit.contracts import PollBreaker

__all__ = ["Breaker", "Rules"]


@dataclass(frozen=True)
class Rules:
    """When the breaker opens, and for how long.

    Args:
        failures: Calls in a row that open it.
        first_seconds: The first wait.
        longest_seconds: Each further wait is twice the last, up to this.
    """

    failures: int = 3
    first_seconds: float = 120.0
    longest_seconds: float = 3_600.0

    def wait(self, opens: int) -> timedelta:
        """How long it stays open when it opens for the so-many-th time in a row."""
        return timedelta(seconds=min(self.first_seconds * 2.0 ** min(opens - 1, 30), self.longest_seconds))


@dataclass(frozen=True)
class Breaker:
    """A deployment's breaker.

    Args:
        failures: Calls in a row that failed.
        opens: Times in a row that it opened; 0 while it is closed.
        retry_at: When one call may try again.
    """

    failures: int = 0
    opens: int = 0
    retry_at: datetime | None = None

    def state(self, now: datetime) -> PollBreaker:
        """Whether it is closed, open, or half open by now."""
        if not self.opens:
            return PollBreaker.CLOSED
        return PollBreaker.OPEN if self.retry_at is not None and now < self.retry_at else PollBreaker.HALF_OPEN

    def failed(self, rules: Rules, now: datetime, *, probe: bool) -> Breaker:
        """After a call that failed; ``probe`` is the one call of a half-open breaker, stragglers change no wait."""
        failures = self.failures + 1
        opens_now = probe if self.opens else failures >= rules.failures
        if not opens_now:
            return Breaker(failures, self.opens, self.retry_at)
        return Breaker(failures, self.opens + 1, now + rules.wait(self.opens + 1))
