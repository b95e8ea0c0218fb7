"""When a job has to be over, by two clocks, so that setting one of them buys no time.

1. The deadline on disk is an instant of the wall clock; a clock that is set *back* would put it off.
2. Beside it stands the same end on the clock that counts from the machine's boot. Nobody sets that one, it runs while
   the machine is suspended, and it goes on through restarts of the container. It means something until the next boot.
3. The earlier of the two counts. A wall clock that is set *forward* ends a job too early: a budget errs to that side.
4. It asks nobody: no network call, no disk. Whoever waits looks at least once a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["Watchdog", "boot_clock", "boot_id"]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_clock() -> float:
    """Seconds since the machine's boot, also those it slept; the monotonic clock where there is no such clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def boot_id() -> str:
    """Names this boot of the machine; empty where the system does not tell."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


class Watchdog:
    """Tells how much time is left.

    Args:
        deadline: On the wall clock; None for no bound.
        boot_end: The same on :func:`boot_clock`.
        wall: The wall clock.
        boot: Seconds since boot.
    """

    def __init__(
        self,
        deadline: datetime | None,
        boot_end: float | None = None,
        *,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        boot: Callable[[], float] = boot_clock,
    ) -> None:
        self._deadline = deadline
        self._boot_end = boot_end
        self._wall = wall
        self._boot = boot
        self._ordered: datetime | None = None

    def order(self, deadline: datetime | None) -> None:
        """Takes the marketplace's deadline: it counts while it is the earlier one."""
        self._ordered = deadline

    def left(self) -> float | None:
        """Seconds that are left; not positive once it is over, None without any bound."""
        ends = [(end - self._wall()).total_seconds() for end in (self._deadline, self._ordered) if end]
        if self._boot_end is not None:
            ends.append(self._boot_end - self._boot())
        return min(ends, default=None)
