"""What of a file has arrived, on disk beside its temporary: so that a pull that was killed goes on where it stopped.

1. A journal belongs to one file of one content: its first line names sha256, size and ETag; each later line one range
   and the hash of its bytes. The longest range of a start counts.
2. Its owner holds a lock on it for as long as the owner lives; who gets the lock found a dead one's and may adopt it.
   Another machine's is adopted only after an hour of silence: over some network file systems locks tell nothing.
3. Nothing in it is believed: ranges are kept only when the temporary's bytes still have the noted hash.
4. Whatever does not fit is removed, and the file starts afresh.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PART, JOURNAL = ".part", ".journal"
SILENCE_SECONDS = 3600.0
READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Content:
    """Which content a journal is about."""

    sha256: str
    size: int
    etag: str | None


@dataclass(frozen=True)
class Arrived:
    """Bytes ``start`` to ``end`` (excluded) are there and have this hash."""

    start: int
    end: int
    sha256: str


def temporary_of(target: Path) -> Path:
    """A name for a temporary that nobody else has: with our host and process in it."""
    return target.with_name(f".{target.name}.{_host()}-{os.getpid()}-{secrets.token_hex(4)}{PART}")


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


class Journal:
    """A journal that we own.

    Args:
        path: Where it lies.
        descriptor: Its open and locked file.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._fd = descriptor

    @classmethod
    def create(cls, temporary: Path, content: Content) -> Journal:
        """Begins the journal of a temporary."""
        path = temporary.with_suffix(JOURNAL)
        journal = cls(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644))
        fcntl.flock(journal._fd, fcntl.LOCK_EX)
        journal._append({"size": content.size, "sha256": content.sha256, "etag": content.etag})
        return journal

    def note(self, arrived: Arrived) -> None:
        """Writes down a range; its bytes are in the temporary already."""
        self._append({"start": arrived.start, "end": arrived.end, "sha256": arrived.sha256})

    def close(self) -> None:
        """Lets go of the lock; the file stays, for the next one."""
        os.close(self._fd)

    def remove(self) -> None:
        """Removes it."""
        self.path.unlink(missing_ok=True)
        self.close()

    def _append(self, line: dict[str, object]) -> None:
        os.write(self._fd, json.dumps(line).encode() + b"\n")

    def read(self) -> tuple[Content, list[Arrived]] | None:
        """What it says; None when it says nothing readable. A last line that was cut off is left out."""
        with os.fdopen(os.dup(self._fd), "rb") as stream:
            stream.seek(0)
            lines = stream.read().split(b"\n")[:-1]
        try:
            head, *rest = [json.loads(line) for line in lines]
            content = Content(str(head["sha256"]), int(head["size"]), head["etag"])
            ranges = [Arrived(int(line["start"]), int(line["end"]), str(line["sha256"])) for line in rest]
        except (ValueError, KeyError, TypeError):
            return None
        return content, _longest(ranges, content.size)


def _longest(ranges: list[Arrived], size: int) -> list[Arrived]:
    """The longest range of each start, in order, without those that overlap an earlier one or leave the file."""
    by_start: dict[int, Arrived] = {}
    for found in ranges:
        if found.start not in by_start or found.end > by_start[found.start].end:
            by_start[found.start] = found
    kept: list[Arrived] = []
    for found in sorted(by_start.values(), key=lambda one: one.start):
        if (kept[-1].end if kept else 0) <= found.start < found.end <= size:
            kept.append(found)
    return kept


@dataclass(frozen=True)
class Leftover:
    """A dead process's temporary, ours now."""

    temporary: Path
    descriptor: int
    journal: Journal
    etag: str | None
    ranges: list[Arrived]


def adopt(target: Path, sha256: str, size: int) -> Leftover | None:
    """Takes over what a dead process left of this file: the most of it that proves right; the rest is removed."""
    best: Leftover | None = None
    for journal in _orphans(target):
        found = _checked(journal, sha256, size)
        if found is None:
            _remove(journal)
        elif best is None or _length(found) > _length(best):
            if best is not None:
                _drop(best)
            best = found
        else:
            _drop(found)
    return best


def _orphans(target: Path) -> Iterator[Journal]:
    try:
        paths = [path for path in target.parent.iterdir() if _is_about(path.name, target.name)]
    except OSError:
        return  # no folder, no leftovers
    for path in paths:
        journal = _lock(path)
        if journal is not None:
            yield journal


def _is_about(name: str, target: str) -> bool:
    return name.startswith(f".{target}.") and name.endswith(JOURNAL)


def _lock(path: Path) -> Journal | None:
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return None  # gone meanwhile, or another user's
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        mine = os.fstat(descriptor)
        quiet = time.time() - mine.st_mtime > SILENCE_SECONDS
        ours = mine.st_size > 0 and f".{_host()}-" in path.name  # an empty one is just being made
        if mine.st_ino == path.stat().st_ino and (ours or quiet):
            return Journal(path, descriptor)
    except OSError:
        pass  # its owner lives, or it is gone meanwhile
    os.close(descriptor)
    return None


def _checked(journal: Journal, sha256: str, size: int) -> Leftover | None:
    said = journal.read()
    if said is None or (said[0].sha256, said[0].size) != (sha256, size):
        return None
    temporary = journal.path.with_suffix(PART)
    try:
        descriptor = os.open(temporary, os.O_RDWR)
    except OSError:
        return None
    ranges = [found for found in said[1] if hash_range(descriptor, found.start, found.end) == found.sha256]
    if os.fstat(descriptor).st_size != size or not ranges:
        os.close(descriptor)
        return None
    return Leftover(temporary, descriptor, journal, said[0].etag, ranges)


def hash_range(descriptor: int, start: int, end: int) -> str:
    """SHA-256 of a range of an open file, in hexadecimal."""
    digest = hashlib.sha256()
    while start < end and (data := os.pread(descriptor, min(READ_BYTES, end - start), start)):
        digest.update(data)
        start += len(data)
    return digest.hexdigest()


def _length(leftover: Leftover) -> int:
    return sum(found.end - found.start for found in leftover.ranges)


def _drop(leftover: Leftover) -> None:
    os.close(leftover.descriptor)
    _remove(leftover.journal)


def _remove(journal: Journal) -> None:
    with contextlib.suppress(OSError):  # a folder that we may not write: the leftover harms nobody
        journal.path.with_suffix(PART).unlink(missing_ok=True)
        journal.path.unlink(missing_ok=True)
    journal.close()
