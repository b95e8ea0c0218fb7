"""Where backups lie: each in a folder of its own, on a disk or in a bucket.

1. A backup has its name only when it is whole. On a disk everything is written into ``.NAME.partial``, brought to the
   disk, and renamed at the end; in a bucket, which renames nothing, :data:`MARKER` is written last.
2. What has no marker is no backup. The next backup into the same folder clears what a killed one left.
3. One backup at a time is made into a folder on a disk (flock).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from mp_kit.errors import ConflictError, NotFoundError, SetupError
from mp_kit.server.storage import ObjectStore, check_key, open_store

__all__ = ["MARKER", "Place", "open_place", "writing"]

MARKER = "backup.json"
_LOCK = ".backup.lock"
_CHUNK_BYTES = 1 << 20


class Place(Protocol):
    """One backup's folder."""

    def file(self, name: str) -> Path:
        """A path on a disk for what a program writes itself; :meth:`keep` makes it part of the backup."""

    def keep(self, name: str, path: Path) -> None:
        """Takes a file in under a name."""

    def put(self, name: str, content: bytes) -> None:
        """Stores bytes under a name."""

    def open(self, name: str) -> BinaryIO:
        """Opens what lies under a name; NotFoundError when there is nothing."""


class _Disk:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __repr__(self) -> str:
        return str(self._folder)

    def file(self, name: str) -> Path:
        path = self._folder / check_key(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def keep(self, name: str, path: Path) -> None:
        if path != self.file(name):
            shutil.copyfile(path, self.file(name))
        _sync(self.file(name))

    def put(self, name: str, content: bytes) -> None:
        self.file(name).write_bytes(content)
        _sync(self.file(name))

    def open(self, name: str) -> BinaryIO:
        try:
            return (self._folder / check_key(name)).open("rb")
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError(f"There is no {name} in {self._folder}.") from None


class _Bucket:
    def __init__(self, url: str, store: ObjectStore, scratch: Path) -> None:
        self._url, self._store, self._scratch = url, store, scratch

    def __repr__(self) -> str:
        return self._url

    def file(self, name: str) -> Path:
        return self._scratch / check_key(name).replace("/", "_")

    def keep(self, name: str, path: Path) -> None:
        self._store.put_file(name, path)
        path.unlink()

    def put(self, name: str, content: bytes) -> None:
        self._store.put_bytes(name, content)

    def open(self, name: str) -> BinaryIO:
        return self._store.open(name)


@contextmanager
def writing(where: str, name: str, env: Mapping[str, str]) -> Iterator[Place]:
    """A new backup's folder for the length of a block, at whose end the backup has its name; none if it raises.

    Args:
        where: A folder of backups, or the URL of one: ``file://``, ``s3://bucket/prefix``, ``r2://bucket/prefix``.
        name: What the backup is called there.
        env: Holds the keys of S3 and R2.

    Raises:
        ConflictError: Another backup is being made there, or has that name.
        SetupError: It cannot be written; the disk may be full.
    """
    if _is_bucket(where):
        with tempfile.TemporaryDirectory(prefix="mp-backup-") as scratch:
            yield _Bucket(f"{where.rstrip('/')}/{name}", _store(f"{where.rstrip('/')}/{name}", env), Path(scratch))
        return
    folder = _path(where)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(folder):
            yield from _partial(folder, name)
    except OSError as error:
        raise SetupError(
            f"The backup could not be written to {folder}: {error.strerror or type(error).__name__}.",
            hint="Nothing that looks like a backup was left there. Make room, or name another folder.",
        ) from error


def _partial(folder: Path, name: str) -> Iterator[Place]:
    for left in folder.glob(".mp-*.partial"):  # of a backup that was killed: we hold the lock
        shutil.rmtree(left)
    if (folder / name).exists():
        raise ConflictError(f"There is a {name} in {folder} already.", hint="Wait a second: names are instants.")
    partial = folder / f".{name}.partial"
    partial.mkdir(mode=0o700)
    try:
        yield _Disk(partial)
        for below, _, _ in os.walk(partial):
            _sync(Path(below))
        partial.rename(folder / name)
    except BaseException:
        with contextlib.suppress(OSError):  # what raised is what counts
            shutil.rmtree(partial)
        raise
    _sync(folder)


@contextmanager
def open_place(where: str, env: Mapping[str, str]) -> Iterator[Place]:
    """A backup's folder to read from, for the length of a block.

    Args:
        where: The backup's own folder or URL.
        env: Holds the keys of S3 and R2.

    Raises:
        NotFoundError: There is no whole backup.
    """
    if _is_bucket(where):
        with tempfile.TemporaryDirectory(prefix="mp-restore-") as scratch:
            place: Place = _Bucket(where, _store(where, env), Path(scratch))
            _require_marker(place, where)
            yield place
        return
    place = _Disk(_path(where))
    _require_marker(place, where)
    yield place


def _require_marker(place: Place, where: str) -> None:
    try:
        place.open(MARKER).close()
    except (NotFoundError, IsADirectoryError):
        raise NotFoundError(
            f"There is no whole backup at {where}: it has no {MARKER}, which is written last.",
            hint="Name a backup's own folder (mp-…Z), not the folder of backups; one that was killed is none.",
        ) from None


def _is_bucket(where: str) -> bool:
    return "://" in where and not where.startswith("file://")


def _path(where: str) -> Path:
    return Path(where.removeprefix("file://")).absolute()


def _store(url: str, env: Mapping[str, str]) -> ObjectStore:
    return open_store(url, base_url="", url_key="", env=env)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / _LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(f"Another backup is being made into {folder}.", hint="Wait for it to end.") from None
        yield


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
