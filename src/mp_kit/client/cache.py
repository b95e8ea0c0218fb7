"""What was fetched once is not fetched again: a cache of files by their content, shared by all rounds.

1. A file's name is its sha256, so that rounds which share a file share its place.
2. Nothing in it is believed: a file is hashed before it is used, and one that does not prove right is fetched again.
3. Folders get hard links; they and the cache are then the same bytes, so that these are made read-only. Over another
   disk they get copies.
"""

from __future__ import annotations

import builtins
import errno
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from mp_kit.client import config
from mp_kit.client.journal import JOURNAL, PART, temporary_of
from mp_kit.client.partial import Wanted, disk_errors
from mp_kit.errors import InvalidInputError

DAY_SECONDS = 86_400.0
READ_ONLY = 0o444
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP}


@dataclass(frozen=True)
class Cached:
    """A file of the cache.

    Args:
        sha256: Its name; only :meth:`Cache.verify` says whether its bytes deserve it.
        size_bytes: Its length.
        used_at: When it was last fetched or handed out.
        path: Where it lies.
    """

    sha256: str
    size_bytes: int
    used_at: datetime
    path: Path


class Freed(NamedTuple):
    """What pruning removed."""

    files: int
    bytes: int


class Cache:
    """The cache of one user.

    Args:
        folder: ``$XDG_CACHE_HOME/mp`` by default.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (folder or config.cache_dir()) / "sha256"

    def path(self, sha256: str) -> Path:
        """Where a content lies, or would."""
        return self.folder / sha256[:2] / sha256

    def wanted(self, file: Wanted) -> Wanted:
        """The same file, wanted in the cache."""
        return Wanted(file.name, file.size_bytes, file.sha256, self.path(file.sha256))

    def place(self, file: Wanted) -> None:
        """Puts a file of the cache where it is wanted, atomically; it has just been proved.

        Raises:
            TransferError: The folder can't be written, the disk is full, or the file was pruned meanwhile.
        """
        source, aside = self.path(file.sha256), temporary_of(file.target)
        with disk_errors(file.name, file.target.parent, file.size_bytes):
            try:
                _link(source, aside)
                os.utime(aside)
                aside.replace(file.target)
            finally:
                aside.unlink(missing_ok=True)

    def read(self, sha256: str) -> bytes | None:
        """A content that is there, proved by its hash."""
        found = self.path(sha256)
        try:
            content = found.read_bytes()
            os.utime(found)
        except OSError:  # not there, or pruned by somebody else meanwhile
            return None
        return content if hashlib.sha256(content).hexdigest() == sha256 else None

    def keep(self, sha256: str, content: bytes | memoryview) -> None:
        """Keeps a content that has just been proved.

        Raises:
            TransferError: The folder can't be written, or the disk is full.
        """
        target = self.path(sha256)
        aside = temporary_of(target)
        with disk_errors("The cache", self.folder, len(content)):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                aside.write_bytes(content)
                aside.replace(target)
            finally:
                aside.unlink(missing_ok=True)

    def list(self) -> list[Cached]:
        """What is there, the longest unused first."""
        found = [_cached(path) for path in self._entries() if not path.name.startswith(".")]
        return sorted((one for one in found if one), key=lambda one: one.used_at)

    def prune(self, unused_days: float = 30.0, *, dry_run: bool = False) -> Freed:
        """Removes what was not used for so long, and what pulls that are dead left behind.

        Args:
            unused_days: 0 for everything.
            dry_run: Only count.

        Raises:
            InvalidInputError: A negative number of days.
        """
        if not unused_days >= 0:
            raise InvalidInputError(f"{unused_days} days are no age.", hint="Pass 0 or more; 0 removes everything.")
        before = time.time() - unused_days * DAY_SECONDS
        doomed = [one.path for one in self.list() if one.used_at.timestamp() <= before]
        doomed += [path for path in self._entries() if path.name.startswith(".") and _is_dead(path)]
        freed = sum(path.stat().st_size for path in doomed if path.exists())
        for path in [] if dry_run else doomed:
            path.unlink(missing_ok=True)
        return Freed(len(doomed), freed)

    def verify(self) -> builtins.list[Cached]:
        """Hashes all files; returns those that are not what their name says, after removing them."""
        bad = [one for one in self.list() if not Wanted(one.sha256, one.size_bytes, one.sha256, one.path).is_there]
        for one in bad:
            one.path.unlink(missing_ok=True)
        return bad

    def _entries(self) -> Iterator[Path]:
        if self.folder.is_dir():
            for shelf in sorted(self.folder.iterdir()):
                if shelf.is_dir():
                    yield from sorted(shelf.iterdir())


def _cached(path: Path) -> Cached | None:
    try:
        facts = path.stat()
    except FileNotFoundError:
        return None  # pruned by somebody else meanwhile
    return Cached(path.name, facts.st_size, datetime.fromtimestamp(facts.st_mtime, UTC), path)


def _link(source: Path, target: Path) -> None:
    try:
        source.chmod(READ_ONLY)
        target.hardlink_to(source)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        shutil.copyfile(source, target)


def _is_dead(path: Path) -> bool:
    """A leftover whose owner lives has a locked journal; one without a journal is dead after a day without a write."""
    try:
        if path.suffix == PART and not path.with_suffix(JOURNAL).exists():
            return time.time() - path.stat().st_mtime > DAY_SECONDS
        with path.with_suffix(JOURNAL).open("rb") as journal:
            fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False  # its owner lives, or it is gone
    return True
