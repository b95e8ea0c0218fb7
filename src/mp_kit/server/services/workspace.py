"""A folder for one publication's files, or one sandbox's, which nobody has to clean up after a crash.

A process that is killed leaves its folder behind; gigabytes lie in it. Each folder is locked as long as its process
lives (the kernel lets go of the lock with the process), so that the next one of its kind knows which are nobody's.
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
def workspace(prefix: str = PREFIX) -> Iterator[Path]:
    """A folder for the length of a block; those of its kind that were left by killed processes are removed first.

    Args:
        prefix: What the names of its kind begin with.
    """
    with TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as temp:
        folder = Path(temp)
        with (folder / "lock.new").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (folder / "lock.new").rename(folder / _LOCK)  # whoever sees it finds it locked
            _sweep(folder, prefix)
            yield folder


def _sweep(own: Path, prefix: str) -> None:
    for other in own.parent.glob(f"{prefix}*/{_LOCK}"):
        if other.parent != own and _is_nobodys(other):
            shutil.rmtree(other.parent, ignore_errors=True)


def _is_nobodys(lock: Path) -> bool:
    try:
        with lock.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False  # somebody holds it, it has just gone, or it is another user's
    return True
