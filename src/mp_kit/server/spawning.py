"""What the embedded Postgres and the supervisor share about child processes: how they are born, and their logs.

1. A child may be told by the kernel that its parent is gone (``prctl(PR_SET_PDEATHSIG)``, Linux only), so that not
   even ``kill -9`` of the parent leaves it behind. The kernel watches the *thread* that started the child: start
   children from a thread that lives as long as they should.
2. What runs between fork and exec is a handful of system calls; libc is loaded before the fork.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path

from mp_kit.masking import storable

__all__ = ["LOG_CAP_BYTES", "after_fork", "open_log", "tail"]

LOG_CAP_BYTES = 16 * 1024 * 1024
"""A log larger than this is moved aside (one old copy is kept) before its process starts."""

_PR_SET_PDEATHSIG = 1
_LINUX = sys.platform == "linux"
_LIBC = ctypes.PyDLL(None)


def after_fork(*, death_signal: int) -> Callable[[], None]:
    """Builds the function that ``subprocess`` runs in the child between fork and exec.

    Args:
        death_signal: The signal that the child gets when the thread that started it ends; ignored outside Linux.

    Returns:
        A function for ``preexec_fn``.
    """
    parent = os.getpid()

    def prepare() -> None:
        if _LINUX:
            _LIBC.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
            if os.getppid() != parent:  # it died before the call above
                os._exit(1)

    return prepare


def open_log(path: Path) -> int:
    """Opens a log for appending, for a child's stdout and stderr.

    Args:
        path: The log; one above ``LOG_CAP_BYTES`` is first renamed to ``NAME.1``, replacing an older one.

    Returns:
        A file descriptor that the caller closes once the child has it.
    """
    if path.exists() and path.stat().st_size > LOG_CAP_BYTES:
        path.replace(path.with_name(f"{path.name}.1"))
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def tail(path: Path, lines: int = 20) -> str:
    """The last lines of a log, for an error message.

    Args:
        path: The log; a missing one gives an empty text.
        lines: How many lines at most.

    Returns:
        The lines, joined; at most 16 KiB are read, so a log of any size is cheap. What cannot be
        stored is replaced.
    """
    if not path.exists():
        return ""
    with path.open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - 16384))
        said = storable(log.read().decode(errors="replace"))
    return "\n".join(deque(said.splitlines(), maxlen=lines))
