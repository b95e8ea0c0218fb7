"""How much of its last day a deployment was heard: no more than it has lived is said about one that is young."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from mp_kit.server import clock
from mp_kit.server.console.charts import Bar
from mp_kit.server.console.shown import lasted

_DAY = timedelta(days=1)
_ENOUGH = 0.95
"""A beat or two missed is nothing to point at."""


@dataclass(frozen=True)
class Heard:
    """A deployment's last day.

    Args:
        share: Of the time that it was there.
        when: Which time that is, in words.
        bars: A bar per hour.
    """

    share: float
    when: str
    bars: Sequence[Bar]


def heard(hours: Sequence[tuple[datetime, float]], created_at: datetime) -> Heard | None:
    """Out of the share of each hour; None where there is no hour."""
    if not hours:
        return None
    now = clock.now()
    lengths = [_length(at, created_at, now) for at, _ in hours]
    covered = sum(length * share for length, (_, share) in zip(lengths, hours, strict=True))
    age = now - created_at
    return Heard(
        share=covered / sum(lengths),
        when="the last 24 h" if age >= _DAY else f"its first {lasted(age)}",
        bars=[Bar(f"{at:%H:%M}", share * 100, kind="" if share > _ENOUGH else "low") for at, share in hours],
    )


def _length(hour: datetime, created_at: datetime, now: datetime) -> float:
    """Seconds of an hour in which the deployment was there; never nothing, as the clocks of two machines differ."""
    return max(1.0, (min(hour + timedelta(hours=1), now) - max(hour, created_at)).total_seconds())
