"""A file that is being fetched: a temporary of our own, turned into the real one only when its hash is right.

1. The temporary's name is unique per process and attempt; nobody else writes to it while its process lives. A dead
   one's is adopted, under a lock, with what its journal proves of it.
2. Its whole length is reserved first, so that a full disk shows before anything is fetched.
3. The finished file appears by ``os.replace`` after the sha256 matched; otherwise the temporary goes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from mp_kit.client.journal import Arrived, Content, Journal, Leftover, hash_range, temporary_of
from mp_kit.errors import IntegrityError, TransferError

_FULL = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True)
class Wanted:
    """A file to fetch.

    Args:
        name: Its name in the round.
        size_bytes: Its length.
        sha256: Hash of its bytes.
        target: Where it shall lie.
    """

    name: str
    size_bytes: int
    sha256: str
    target: Path

    @property
    def is_there(self) -> bool:
        """The finished file lies there already, proved by its hash and by nothing else."""
        try:
            return self.target.stat().st_size == self.size_bytes and _hash(self.target) == self.sha256
        except OSError:
            return False


class Partial:
    """The temporary of one file; several threads write their ranges into it.

    Args:
        wanted: The file.
        leftover: What a dead process left of it, if anything.

    Raises:
        TransferError: There is no room, or the folder can't be written.
    """

    def __init__(self, wanted: Wanted, leftover: Leftover | None = None) -> None:
        self.wanted = wanted
        self.is_resumed = leftover is not None
        self.etag: str | None = leftover.etag if leftover else None
        self._journal: Journal | None = leftover.journal if leftover else None
        self._lock = threading.Lock()
        if leftover is not None:
            self._path, self._fd = leftover.temporary, leftover.descriptor
            return
        self._path = temporary_of(wanted.target)
        with self._disk_errors():
            wanted.target.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            with self._disk_errors():
                _reserve(self._fd, wanted.size_bytes)
        except TransferError:
            self.discard()
            raise

    def write(self, data: bytes | memoryview, offset: int) -> None:
        """Writes all of ``data`` at ``offset``."""
        view = memoryview(data)
        with self._disk_errors():
            while view:
                written = os.pwrite(self._fd, view, offset)
                view, offset = view[written:], offset + written

    def note(self, arrived: Arrived) -> None:
        """Writes down that a range is there, for whoever comes after us."""
        with self._lock, self._disk_errors():
            if self._journal is None:
                content = Content(self.wanted.sha256, self.wanted.size_bytes, self.etag)
                self._journal = Journal.create(self._path, content)
            self._journal.note(arrived)

    def note_etag(self, etag: str | None) -> None:
        """Remembers the first ETag that was seen."""
        with self._lock:
            self.etag = self.etag or etag

    def restart(self) -> None:
        """Forgets what was seen of the file: it is being fetched from its beginning."""
        with self._lock:
            self.etag = None
            self._forget()

    def finish(self, found: str | None = None) -> None:
        """Verifies the hash, then makes it the real file.

        Args:
            found: The hash, if it was made while the bytes were written in order; else the file is read.

        Raises:
            IntegrityError: The bytes are not the ones that the manifest promises.
        """
        found = found or hash_range(self._fd, 0, self.wanted.size_bytes)
        if found != self.wanted.sha256:
            self.discard()
            raise IntegrityError(
                f"{self.wanted.name}: expected sha256 {self.wanted.sha256}, got {found}.",
                hint="Nothing of it was kept. Fetch it again; if it happens twice, tell the operator.",
            )
        with self._disk_errors():
            # No fsync: should the power fail, the hash tells, and the next pull fetches the file again.
            self._path.replace(self.wanted.target)
        self._forget()
        self._close()

    def discard(self) -> None:
        """Removes the temporary; harmless after :meth:`finish`. No thread may be writing any more."""
        if self._fd >= 0:
            self._path.unlink(missing_ok=True)
            self._forget()
            self._close()

    def leave(self) -> None:
        """Leaves what has arrived to the next pull; removes the temporary if nothing was written down."""
        if self._fd >= 0 and self._journal is not None:
            self._journal.close()
            self._journal = None
            self._close()
        self.discard()

    def _forget(self) -> None:
        if self._journal is not None:
            self._journal.remove()
            self._journal = None

    def _close(self) -> None:
        os.close(self._fd)
        self._fd = -1

    def _disk_errors(self) -> AbstractContextManager[None]:
        return disk_errors(self.wanted.name, self.wanted.target.parent, self.wanted.size_bytes)


def _reserve(descriptor: int, size: int) -> None:
    if size == 0:
        return
    try:
        os.posix_fallocate(descriptor, 0, size)
    except (AttributeError, OSError) as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            raise
        os.ftruncate(descriptor, size)


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def disk_errors(name: str, folder: Path, size: int) -> Iterator[None]:
    """Says in words what the disk refused.

    Raises:
        TransferError: Caused by the OSError; :func:`is_disk_error` knows it.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise TransferError(
                f"{name}: the disk is full; {size:,} bytes are needed in {folder}.",
                hint="Free some space or choose another folder, then pull again: finished files are kept.",
            ) from error
        raise TransferError(
            f"{name}: {folder} cannot be written: {error.strerror}.", hint="Choose another folder."
        ) from error


def is_disk_error(error: BaseException) -> bool:
    """The disk refused: trying again changes nothing."""
    return isinstance(error, TransferError) and isinstance(error.__cause__, OSError)
