"""Processes that an earlier ``mp up`` over the same home left behind, found by a mark in their environment.

A killed `mp up` takes its children with it on Linux, but they need a moment, and a flow run is a grandchild. Trainings
do not carry the mark: they are meant to outlive a restart.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["MARK", "end", "find"]

MARK = "MP_UP_CHILD"
"""Variable that `mp up` gives its children: the home's path."""

_GRACE_SECONDS = 5.0
_POLL_SECONDS = 0.05


def find(value: Path | str, name: str = MARK) -> list[int]:
    """The living processes with a mark, other than this one; none without /proc.

    Args:
        value: What the mark says: a home, or another value.
        name: The variable.
    """
    mark = f"{name}={value}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended, or is another account's
            if mark in (folder / "environ").read_bytes().split(b"\0") and int(folder.name) != os.getpid():
                found.append(int(folder.name))
    return found


def end(home: Path) -> list[int]:
    """Ends them: SIGTERM, and SIGKILL for those that stay; call it while holding the home's lock.

    Returns:
        The process ids that were found.
    """
    first = remaining = find(home)
    for number, seconds in ((signal.SIGTERM, _GRACE_SECONDS), (signal.SIGKILL, _GRACE_SECONDS)):
        for pid in remaining:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + seconds
        while remaining and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
            remaining = find(home)
    return first
