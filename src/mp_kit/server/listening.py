"""Which process listens on a port: two marketplaces that start at once must not take each other's parts for theirs."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

__all__ = ["listens"]

_LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp
_STATE, _INODE = 3, 9


def listens(pid: int, port: int) -> bool:
    """Whether a process listens on a TCP port over IPv4.

    Args:
        pid: A process of ours.
        port: The port.

    Returns:
        True also where it cannot be known, outside Linux.
    """
    if sys.platform != "linux":
        return True
    wanted = {f"socket:[{inode}]" for inode in _inodes(port)}
    with suppress(OSError):  # the process ended
        for handle in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):  # the file was closed
                if str(handle.readlink()) in wanted:
                    return True
    return False


def _inodes(port: int) -> list[str]:
    rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    return [row[_INODE] for row in rows if row[_STATE] == _LISTEN and row[1].endswith(f":{port:04X}")]
