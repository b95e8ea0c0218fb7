"""A folder for one publication's files, which nobody has to clean up after a crash.

A process that is killed leaves its folder behind; gigabytes lie in it. Each folder is locked as long as its process
lives (the kernel lets go of the lock with the process), so that the next publication knows which ones are nobody's.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

__all__ = ["PREFIX", "workspace"]

PREFIX = "mp-round-"
_LOCK = "lock"


@contextmanager
def workspace() -> Iterator[Path]:
    """An empty folder for the length of a block; folders of publications that were killed are removed first."""
    with TemporaryDirectory(prefix=PREFIX) as temp:
        folder = Path(temp)
        with (folder / "lock.new").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (folder / "lock.new").rename(folder / _LOCK)  # whoever sees it finds it locked
            _sweep(folder)
            yield folder


def _sweep(own: Path) -> None:
    for other in own.parent.glob(f"{PREFIX}*/{_LOCK}"):
        if other.parent != own and _is_nobodys(other):
            shutil.rmtree(other.parent, ignore_errors=True)


def _is_nobodys(lock: Path) -> bool:
    try:
        with lock.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False  # somebody holds it, it has just gone, or it is another user's
    return True
