"""A bound on what the process may take for a piece of work whose appetite its input decides."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["at_most"]

_STATM = Path("/proc/self/statm")


@contextmanager
def at_most(more: int) -> Iterator[None]:
    """Within the block an allocation beyond so many bytes fails, with MemoryError, instead of ending the machine.

    It bounds the whole process's address space, so what other threads take counts too. Where the system does not tell
    the present size, nothing is bounded.

    Args:
        more: Bytes on top of what is taken now.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if not _STATM.exists() or soft != resource.RLIM_INFINITY:
        yield
        return
    now = int(_STATM.read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(
        resource.RLIMIT_AS, (min(now + more, hard) if hard != resource.RLIM_INFINITY else now + more, hard)
    )
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
