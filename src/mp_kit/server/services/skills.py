"""What is known of deployments' past before a bar: how the consensus asks for it.

Whoever measures deployments gives a :class:`Skills`; the consensus turns its records into weights
(:mod:`mp_kit.scoring.skill`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Protocol

from mp_kit.scoring.skill import Record, skills_of
from mp_kit.server.store import consensus as rows
from mp_kit.server.store.engine import Tx

__all__ = ["Skills", "by_day", "measured", "nobody_known"]


class Skills(Protocol):
    """Tells each deployment's record in a timeframe: its hit rate and how many independent calls are behind it."""

    def __call__(self, tx: Tx, bar_time: datetime, timeframe: str) -> Mapping[str, Record]:
        """Records by deployment, of nothing but what was known of that timeframe before ``bar_time``."""


def nobody_known(tx: Tx, bar_time: datetime, timeframe: str) -> Mapping[str, Record]:  # noqa: ARG001 - of Skills
    """No record of anybody: every skill is 1."""
    return {}


def measured(tx: Tx, bar_time: datetime, timeframe: str) -> Mapping[str, Record]:
    """Hit rates out of the timeframe's scores whose last outcome was known before the bar, the newest such.

    Who calls hours well may know nothing of days: one timeframe's record says nothing about another.
    """
    return {row.deployment_id: Record(row.hit_rate, row.calls) for row in rows.records(tx, bar_time, timeframe)}


def by_day(tx: Tx, skills: Skills) -> Callable[[datetime, str], Mapping[str, float]]:
    """Skills as weights for a bar, asked once per timeframe and UTC day, as known at its beginning: bars are many."""
    known: dict[tuple[datetime, str], Mapping[str, float]] = {}

    def weights(bar_time: datetime, timeframe: str) -> Mapping[str, float]:
        day = bar_time.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        if (day, timeframe) not in known:
            known[day, timeframe] = skills_of(skills(tx, day, timeframe))
        return known[day, timeframe]

    return weights
