"""What the job's machine looks like: GPUs, memory, disk, uptime. Asked in a thread of its own, never waited for.

A sick GPU driver can hang ``nvidia-smi`` beyond any kill; then the last picture stays, and heartbeats go on without.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

from mp_kit.contracts.training import GpuUse, MachineUse

__all__ = ["MachineProbe", "parse_gpus"]

_QUERY = ("--query-gpu=utilization.gpu,memory.used,memory.total", "--format=csv,noheader,nounits")
_SMI_SECONDS = 5.0
_COLUMNS = 3


class MachineProbe:
    """Keeps a picture of the machine.

    Args:
        folder: On the disk whose room is told.
        seconds: Between two pictures.
        smi: The command that knows the GPUs.
    """

    def __init__(self, folder: Path, *, seconds: float = 10.0, smi: str = "nvidia-smi") -> None:
        self._folder = folder
        self._seconds = seconds
        self._smi = shutil.which(smi)
        self._since = time.monotonic()
        self._gpus: list[GpuUse] = []
        self._pid: int | None = None
        self._over = threading.Event()

    def start(self) -> None:
        """Begins to ask for GPUs, where there is something to ask."""
        if self._smi is not None:
            threading.Thread(target=self._run, name="gpu probe", daemon=True).start()

    def watch(self, pid: int) -> None:
        """Whose memory is told."""
        self._pid = pid

    def stop(self) -> None:
        """Ends the asking."""
        self._over.set()

    def picture(self) -> MachineUse:
        """What is known now; costs no time worth speaking of."""
        return MachineUse(
            uptime_seconds=round(time.monotonic() - self._since, 1),
            rss_bytes=_rss(self._pid) if self._pid else None,
            disk_free_bytes=_disk_free(self._folder),
            gpus=self._gpus,
        )

    def _run(self) -> None:
        while not self._over.is_set():
            self._gpus = self._ask()
            self._over.wait(self._seconds)

    def _ask(self) -> list[GpuUse]:
        command = [self._smi or "", *_QUERY]
        try:
            told = subprocess.run(command, capture_output=True, text=True, timeout=_SMI_SECONDS, check=False)
        except (OSError, ValueError, subprocess.SubprocessError):
            return []
        return parse_gpus(told.stdout) if told.returncode == 0 else []


def parse_gpus(text: str) -> list[GpuUse]:
    """Reads lines of ``utilisation in percent, MiB used, MiB in all``; a figure that is none is None."""
    rows = [[part.strip() for part in line.split(",")] for line in text.splitlines()]
    return [
        GpuUse(percent=_number(row[0]), used_mib=_number(row[1]), total_mib=_number(row[2]))
        for row in rows
        if len(row) == _COLUMNS
    ][:64]


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:  # "[N/A]", "[Not Supported]"
        return None
    return value if 0 <= value < float("inf") else None


def _disk_free(folder: Path) -> int | None:
    with contextlib.suppress(OSError):
        return shutil.disk_usage(folder).free
    return None


def _rss(pid: int) -> int | None:
    """Resident bytes of a process; None where there is no ``/proc``, or the process has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
