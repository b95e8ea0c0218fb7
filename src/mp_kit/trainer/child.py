"""The job itself as a child process: started in a group of its own, read line by line, ended politely, then not.

1. The child dies with the wrapper even on ``kill -9`` (Linux): nobody trains on without a watcher.
2. Ending is SIGTERM to the whole group, a grace, then SIGKILL.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from mp_kit.trainer.spool import LogSpool, Stream

__all__ = ["Child"]

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.PyDLL(None, use_errno=True) if sys.platform == "linux" else None
_READ = 1 << 16
_PIPE_PATIENCE = 5.0


class Child:
    """A running command.

    Args:
        command: The argument list.
        env: Its whole environment.
        folder: Its working folder.
        spool: Takes its output.
        ended: Called once, from another thread, with the exit code (negative: the signal that ended it).

    Raises:
        OSError: The command cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        folder: Path,
        spool: LogSpool,
        ended: Callable[[int], None],
    ) -> None:
        self._spool = spool
        self._ended = ended
        self._process = subprocess.Popen(
            list(command),
            env=dict(env),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call on a library loaded before the fork
        )
        self._readers = [
            threading.Thread(target=self._read, args=(stream, pipe), daemon=True)
            for stream, pipe in (("stdout", self._process.stdout), ("stderr", self._process.stderr))
        ]
        for thread in (*self._readers, threading.Thread(target=self._watch, daemon=True)):
            thread.start()

    @property
    def pid(self) -> int:
        """Its process id, which is its group's as well."""
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the child and all that it started."""
        with contextlib.suppress(ProcessLookupError):  # all of them have ended: what was wanted
            os.killpg(self._process.pid, number)

    def _read(self, stream: Stream, pipe: IO[bytes]) -> None:
        with pipe:
            while raw := pipe.readline(_READ):
                self._spool.write(stream, raw.decode(errors="replace"))

    def _watch(self) -> None:
        code = self._process.wait()
        for reader in self._readers:
            reader.join(_PIPE_PATIENCE)  # a grandchild may hold the pipe open; it gets no more than this
        self.signal(signal.SIGKILL)
        self._ended(code)


def _die_with_parent() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
