"""Clears a store of what nobody will finish: uploads never taken in, and what killed puts and uploads left.

A bucket does most of it by its own rules (:mod:`mp_kit.server.storage.lifecycle`); this is for folders, and for buckets
whose credentials may not set rules. Running it twice, or in two processes, is harmless.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mp_kit.server.storage import ObjectStore, Stale

__all__ = ["Swept", "sweep_staged"]


@dataclass(frozen=True)
class Swept:
    """What was cleared, or would be.

    Args:
        found: Each of them, in the store's order.
        dry_run: Nothing was removed.
    """

    found: list[Stale]
    dry_run: bool

    @property
    def size_bytes(self) -> int:
        """Their sizes together, of those whose size the store tells."""
        return sum(one.size_bytes or 0 for one in self.found)


def sweep_staged(store: ObjectStore, now: datetime, *, dry_run: bool = False) -> Swept:
    """Removes what is older than anything that is still on its way.

    Args:
        store: The objects.
        now: An aware instant.
        dry_run: Only look.
    """
    found = list(store.tidy.stale(now))
    for one in [] if dry_run else found:
        store.tidy.discard(one)
    return Swept(found, dry_run)
