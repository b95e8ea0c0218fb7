"""What is alive in a Postgres data folder, and what its ``postmaster.pid`` says."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["State", "living", "read_state", "send"]

_PROC = Path("/proc")
_FIELDS = 8  # pid, data folder, start time, port, socket folder, address, shared memory key, status


@dataclass(frozen=True)
class State:
    """What ``postmaster.pid`` says; whether it is true is for ``living`` to tell.

    Attributes:
        pid: The postmaster's process id.
        socket_dir: The folder of the Unix socket.
        status: ``starting``, ``ready``, ``standby`` or ``stopping``.
    """

    pid: int
    socket_dir: Path
    status: str


def read_state(data: Path) -> State | None:
    """Reads ``postmaster.pid``.

    Args:
        data: The data folder.

    Returns:
        What it says, or None where it is absent or not written to its end yet.
    """
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return None
    if len(lines) < _FIELDS:
        return None
    return State(int(lines[0]), Path(lines[4]), lines[7].strip())


def living(data: Path) -> set[int]:
    """The live Postgres processes of a data folder: postmaster and backends, no zombies.

    Args:
        data: The data folder.

    Returns:
        Their process ids.
    """
    if not data.exists():
        return set()
    if not (_PROC / "self").exists():
        return _named_by_file(data)
    here = data.stat()
    return {int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit() and _works_in(entry, here)}


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Sends a signal to processes, some of which may have ended meanwhile.

    Args:
        pids: Their process ids.
        number: The signal.
    """
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _works_in(process: Path, folder: os.stat_result) -> bool:
    try:
        if (process / "comm").read_text().strip() != "postgres":
            return False
        return os.path.samestat((process / "cwd").stat(), folder)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False  # ended, a zombie, or another user's: a data folder's processes are its owner's


def _named_by_file(data: Path) -> set[int]:
    """Without /proc (macOS) the pid file names the candidate and ``ps`` says what it is."""
    state = read_state(data)
    if not state:
        return set()
    argv = ["ps", "-o", "stat=,comm=", "-p", str(state.pid)]
    told = subprocess.run(argv, capture_output=True, text=True, check=False)
    condition, _, command = told.stdout.strip().partition(" ")
    alive = told.returncode == 0 and not condition.startswith("Z") and command.strip().endswith("postgres")
    return {state.pid} if alive else set()
