"""What a benchmark says: a value, and its ratio to a limit measured beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Result:
    """One figure.

    Args:
        name: What was measured.
        value: How much.
        unit: Of what.
        against: The limit or peer, with its own figure.
        ratio: To that; None when there is none.
        target: The ratio or value that we want, for people.
    """

    name: str
    value: float
    unit: str
    against: str
    ratio: float | None
    target: str = ""


def best_of(rounds: int, contenders: Mapping[str, Callable[[], float]]) -> dict[str, float]:
    """Best seconds of each contender, all of them taking turns so that noise meets them alike."""
    return {name: min(seconds) for name, seconds in taking_turns(rounds, contenders).items()}


def taking_turns(rounds: int, contenders: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Seconds of each contender in each round; who runs beside whom in a round met the same noise."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            seconds[name].append(run())
    return seconds


def seconds_of(work: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def peak_kib() -> int:
    """Peak memory of this process since it began; ``ru_maxrss`` would have its parent's in it too."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0])
