"""The marketplace's clock: the machine's own, except in the process of a sandbox.

1. Whoever decides by the time asks :func:`now` here, and ``now()`` in SQL; :mod:`mp_kit.server.sandbox` moves both
   together (``store/movable.py``), in a process and a database of its own.
2. Only forward, so that nothing that was stored lies in the future afterwards.
3. What is measured (waits, leases of a process, ages of a cache) goes by the monotonic clock; who talks to another
   machine in its own time (S3's signatures, the signature of a webhook) asks the machine.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

__all__ = ["SHIFT_VARIABLE", "job_env", "now", "shift", "shift_to"]

SHIFT_VARIABLE = "MP_CLOCK_SHIFT"
"""Tells a job how many seconds the marketplace is ahead of the machine's time, so that it keeps its deadline."""

_NONE = timedelta(0)
_shift: list[timedelta] = [_NONE]
"""How far this process's marketplace is from the machine's time; one entry."""


def now() -> datetime:
    """The present instant, aware, UTC."""
    return datetime.now(UTC) + _shift[0]


def shift() -> timedelta:
    """How far the marketplace is from the machine's time; zero anywhere but in a sandbox."""
    return _shift[0]


def job_env() -> dict[str, str]:
    """What a job has to know of it: nothing, but in a sandbox."""
    return {SHIFT_VARIABLE: str(_shift[0].total_seconds())} if _shift[0] else {}


def shift_to(by: timedelta) -> None:
    """Moves the clock of this process: a sandbox's only, once it has moved its database's."""
    _shift[0] = by
