"""A run in words: its fine state, its money, the time that is left."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TypeGuard

from mp_kit.contracts.training import RunStatus, TrainingRun

__all__ = [
    "STATES",
    "bound",
    "cost",
    "doing",
    "duration",
    "history",
    "money",
    "progress",
    "share",
    "time_left",
    "took",
    "until",
]

STATES: Mapping[str, str] = {
    "queued": "waiting for a machine",
    "launching": "its machine is starting",
    "running": "training",
    "finishing": "done training; its machine is being given back",
    "succeeded": "done",
    "failed": "it failed",
    "cancelling": "being stopped",
    "cancelled": "stopped",
}
"""What a person reads for each fine state."""

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_FIRST_CENT = 0.01


def doing(run: TrainingRun) -> str:
    """What the run is doing, with the attempt where it is not the first one."""
    words = STATES.get(run.state or "") or STATES[run.status.value]
    again = run.attempt is not None and run.attempt > 1 and not run.status.is_final
    return f"{words} (attempt {run.attempt})" if again else words


def progress(run: TrainingRun) -> str | None:
    """Steps in words; None while the job has told none."""
    told = run.progress
    if told is None or told.step is None:
        return None
    return f"step {told.step}" + (f" of {told.total_steps}" if told.total_steps else "")


def share(run: TrainingRun) -> float | None:
    """The done part of the steps, from 0 to 1; None where it is not known."""
    told = run.progress
    if told is None or told.step is None or not told.total_steps or told.total_steps < 0:
        return None
    return min(1.0, max(0.0, told.step / told.total_steps))


def time_left(run: TrainingRun, now: datetime) -> timedelta | None:
    """The time that the other steps take if they are as quick as those so far; None where nobody can know."""
    done = share(run)
    if run.status is not RunStatus.RUNNING or run.started_at is None or not done:
        return None
    return max(timedelta(0), now - run.started_at) * ((1 - done) / done)


def until(run: TrainingRun, now: datetime) -> str | None:
    """The deadline and how far away it is; None once the run is over."""
    if run.deadline is None or run.status.is_final:
        return None
    left = run.deadline - now
    return f"{run.deadline:%Y-%m-%d %H:%M:%SZ}, " + (f"in {duration(left)}" if left > timedelta(0) else "passed")


def took(run: TrainingRun) -> str | None:
    """How long a run that is over has run; None of one that never began."""
    if run.started_at is None or run.finished_at is None:
        return None
    return duration(run.finished_at - run.started_at)


def bound(run: TrainingRun) -> str | None:
    """The longest that a run that is over could have taken; that of a living one is its deadline."""
    if run.deadline is None or run.started_at is None or not run.status.is_final:
        return None
    return f"{duration(max(timedelta(0), run.deadline - run.started_at))} at most"


def cost(run: TrainingRun) -> str | None:
    """What was burned, what is left of the bound, and the price of an hour; None where nothing is known."""
    if run.cost_usd is None and run.max_cost_usd is None and not run.price_per_hour_usd:
        return None
    words = money(run.cost_usd or 0.0)
    if run.max_cost_usd is not None:
        left = max(0.0, run.max_cost_usd - (run.cost_usd or 0.0))
        words += f" of at most {money(run.max_cost_usd)}"
        words += "" if run.status.is_final else f", {money(left)} left"
    return words + (f", at {money(run.price_per_hour_usd)} an hour" if run.price_per_hour_usd else "")


def money(usd: float) -> str:
    """US dollars; what is less than a cent keeps four places."""
    return f"${usd:.4f}" if 0 < usd < _FIRST_CENT else f"${usd:,.2f}"


def duration(span: timedelta) -> str:
    """A time span in its two largest units."""
    seconds = int(span.total_seconds())
    if seconds < _MINUTE:
        return f"{seconds} s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE} min"
    if seconds < _DAY:
        return f"{seconds // _HOUR} h {seconds % _HOUR // _MINUTE} min"
    return f"{seconds // _DAY} d {seconds % _DAY // _HOUR} h"


def history(run: TrainingRun) -> dict[str, list[tuple[float, float]]]:
    """The measured values by name, as (step, value) in the order of the steps; what is no number is left out."""
    points = run.metrics.get("history")
    found: dict[str, list[tuple[float, float]]] = {}
    for place, point in enumerate(points if isinstance(points, list) else ()):
        if not isinstance(point, Mapping):
            continue
        step = point.get("step")
        at = float(step) if _is_number(step) else float(place)
        for name, value in point.items():
            if name != "step" and _is_number(value):
                found.setdefault(str(name), []).append((at, float(value)))
    return found


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
