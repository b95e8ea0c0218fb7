"""Ends containers whose fake was killed: a process of its own that outlives it by a moment.

1. It reads ``+PID`` and ``-PID`` from its standard input, a session each; the end of the input is the fake's end.
2. Then it kills every process of the sessions that are left, whatever group it is in, and ends.
3. Run as a script it imports nothing but the standard library, so that it starts at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import IO

__all__ = ["Warden", "kill_session"]

_SESSION_FIELD = 3


class Warden:
    """Holds the other end of the warden's input; closed by :meth:`close`, or by the kernel on ``kill -9``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self, session: int) -> None:
        """A container was started."""
        self._write(f"+{session}\n")

    def end(self, session: int) -> None:
        """A container has ended, with all that was in it."""
        self._write(f"-{session}\n")

    def close(self) -> None:
        """Ends the warden, and whatever is left."""
        with self._lock:
            process, self._process = self._process, None
        if process and process.stdin:
            process.stdin.close()
            process.wait()

    def _write(self, line: str) -> None:
        with self._lock:
            if self._process is None:
                self._process = _start()
            pipe = self._process.stdin
            if pipe:
                pipe.write(line.encode())
                pipe.flush()


def kill_session(leaders: Iterable[int]) -> None:
    """Kills all processes of some sessions; none where the system does not tell which those are."""
    wanted = set(leaders)
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[_SESSION_FIELD]) in wanted:
                os.kill(int(path.parent.name), signal.SIGKILL)


def watch(orders: IO[bytes]) -> None:
    """Keeps the book of sessions until the input ends, then kills what is left."""
    open_sessions: set[int] = set()
    for order in orders:
        change = open_sessions.add if order.startswith(b"+") else open_sessions.discard
        change(int(order[1:]))
    if open_sessions:
        kill_session(open_sessions)


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # what kills the fake's group must not kill its warden
    )


if __name__ == "__main__":
    watch(sys.stdin.buffer)
