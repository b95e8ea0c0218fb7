"""Clears a folder of what nobody will finish."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from mp_kit.server.storage.stale import BROKEN_LIFE, STAGED, STAGED_LIFE, Rules, Stale

__all__ = ["LocalTidy"]

_TEMPORARY = re.compile(r"\.[A-Za-z0-9][A-Za-z0-9._\-]*\.[0-9a-f]{32}")
"""How a local store names a file that it is still writing; no key begins with a dot."""


class LocalTidy:
    """Looks through a folder of objects.

    Args:
        root: The folder; it need not be there yet.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def ensure_lifecycle(self) -> Rules:
        """A folder has no rules of its own."""
        return Rules("none", "A folder clears nothing by itself: run `mp admin store sweep` now and then.")

    def stale(self, now: datetime) -> Iterator[Stale]:
        """Uploads that were never taken in, and temporaries of puts that were killed.

        Args:
            now: An aware instant; ages count from when a file was last written, renamed or linked.
        """
        for folder, folders, names in os.walk(self._root):
            folders.sort()
            for name in sorted(names):
                found = self._judged(Path(folder, name), now)
                if found is not None:
                    yield found

    def discard(self, found: Stale) -> None:
        """Removes the file; it need not be there any more."""
        with contextlib.suppress(FileNotFoundError):
            (self._root / found.key).unlink()

    def _judged(self, path: Path, now: datetime) -> Stale | None:
        key = path.relative_to(self._root).as_posix()
        known = _kind(key)
        try:
            facts = path.lstat()
        except FileNotFoundError:
            return None  # taken in, or finished, meanwhile
        # Not the time of modification: a file that is put by a link keeps that of its source.
        since = datetime.fromtimestamp(facts.st_ctime, UTC)
        if known is None or now - since < known[1] or not stat.S_ISREG(facts.st_mode):
            return None
        return Stale(known[0], key, facts.st_size, since)


def _kind(key: str) -> tuple[Literal["staged", "temporary"], timedelta] | None:
    if _TEMPORARY.fullmatch(key.rpartition("/")[2]):
        return "temporary", BROKEN_LIFE
    return ("staged", STAGED_LIFE) if key.startswith(f"{STAGED}/") else None
