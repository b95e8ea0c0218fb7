"""Objects as files under one folder, served and taken by the edge.

An object appears whole or not at all: it is written aside and renamed.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import shutil
import stat
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Self
from urllib.parse import quote, urlencode

from mp_kit.errors import ForbiddenError, IntegrityError, NotFoundError
from mp_kit.server.storage.base import FILES_ROUTE, Method, ObjectInfo, UploadBound, check_key, digest_of
from mp_kit.server.storage.local_tidy import LocalTidy
from mp_kit.server.storage.stale import FOLDERS


class LocalStore:
    """Objects as files under one folder, handed out by the edge behind HMAC-signed URLs.

    Args:
        root: The folder.
        base_url: Where the edge answers.
        url_key: Secret that signs URLs.
    """

    binds_uploads = True

    def __init__(self, root: Path, *, base_url: str, url_key: str) -> None:
        self._root = root
        self._base_url = base_url
        self._url_key = url_key.encode()

    def __repr__(self) -> str:
        return f"LocalStore({str(self._root)!r})"

    def path(self, key: str) -> Path:
        """Where an object's bytes lie."""
        return self._root / check_key(key)

    def put_file(self, key: str, path: Path) -> ObjectInfo:
        """Stores a local file's bytes, linked or written aside, and renamed; don't write into the file afterwards."""
        temp = self._aside(key)
        try:
            try:
                os.link(path, temp)
            except OSError:  # another file system, or one without links
                shutil.copyfile(path, temp)
            return self._settle(temp, key)
        finally:
            temp.unlink(missing_ok=True)

    def put_bytes(self, key: str, payload: bytes) -> ObjectInfo:
        """Stores bytes, written aside and renamed."""
        temp = self._aside(key)
        try:
            temp.write_bytes(payload)
            return self._settle(temp, key)
        finally:
            temp.unlink(missing_ok=True)

    def receive(self, key: str, bound: UploadBound) -> Upload:
        """Takes an upload piece by piece; it becomes the object only if size and SHA-256 are as bound."""
        return Upload(self, key, self._aside(key), bound)

    def stat(self, key: str) -> ObjectInfo:
        """Facts of an object; the ETag is made of size and modification time.

        Raises:
            NotFoundError: There is no such object.
        """
        try:
            facts = self.path(key).stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFoundError("There is no such file.") from error
        if not stat.S_ISREG(facts.st_mode):
            raise NotFoundError("There is no such file.")
        etag = hashlib.sha256(f"{key}:{facts.st_size}:{facts.st_mtime_ns}".encode()).hexdigest()[:32]
        return ObjectInfo(key, facts.st_size, f'"{etag}"', datetime.fromtimestamp(facts.st_mtime, UTC))

    def open(self, key: str) -> BinaryIO:
        """Opens an object for reading.

        Raises:
            NotFoundError: There is no such object.
        """
        self.stat(key)
        return self.path(key).open("rb")

    def digest(self, key: str) -> str:
        """The SHA-256 of an object's bytes, read for it.

        Raises:
            NotFoundError: There is no such object.
        """
        with self.open(key) as file:
            return digest_of(file)

    def copy(self, source: str, target: str) -> ObjectInfo:
        """Copies an object; the target appears whole.

        Raises:
            NotFoundError: There is no such source.
        """
        self.stat(source)
        return self.put_file(target, self.path(source))

    def delete(self, key: str) -> None:
        """Removes an object; it need not exist."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            self.path(key).unlink()

    def presign(self, method: Method, key: str, expires_at: datetime, bound: UploadBound | None = None) -> str:
        """A URL on the edge, signed over method, key, end and (for PUT) size and SHA-256."""
        expires = int(expires_at.timestamp())
        query: dict[str, str | int] = {"expires": expires}
        if bound is not None:
            query |= {"size": bound.size_bytes, "sha256": bound.sha256}
        query["signature"] = self._signature(method, check_key(key), expires, bound)
        return f"{self._base_url}{FILES_ROUTE}/{quote(key)}?{urlencode(query)}"

    def presign_many(self, method: Method, keys: Sequence[str], expires_at: datetime) -> list[str]:
        """A URL per key, in their order."""
        return [self.presign(method, key, expires_at) for key in keys]

    def walk(self) -> Iterator[ObjectInfo]:
        """Every object under the store's folders; files that are still being written are none."""
        for folder in FOLDERS:
            for where, _, names in os.walk(self._root / folder):
                for name in names:
                    key = (Path(where) / name).relative_to(self._root).as_posix()
                    with contextlib.suppress(NotFoundError):  # gone since the folder was read
                        if not name.startswith("."):
                            yield self.stat(key)

    @property
    def tidy(self) -> LocalTidy:
        """Clears what nobody will finish."""
        return LocalTidy(self._root)

    def plan_parts(self, key: str, size_bytes: int, expires_at: datetime) -> None:
        """Nothing: an upload is one stream, hashed on its way, and becomes a file only if it is the right one."""

    def admit(self, method: str, key: str, query: Mapping[str, str], now: datetime) -> UploadBound | None:
        """Checks a signed request as it arrived; a HEAD passes with a GET's signature.

        Raises:
            ForbiddenError: The signature is missing, wrong, for something else, or over.
        """
        try:
            expires = int(query["expires"])
            signature = query["signature"]
            bound = UploadBound(int(query["size"]), query["sha256"]) if "sha256" in query else None
        except (KeyError, ValueError) as error:
            raise ForbiddenError("The URL is not signed.", hint="Ask for signed URLs again.") from error
        wanted = self._signature("GET" if method == "HEAD" else method, key, expires, bound)
        if not hmac.compare_digest(wanted.encode(), signature.encode()):
            raise ForbiddenError("The URL's signature does not fit.", hint="Use the URL unchanged, for its method.")
        if now.timestamp() >= expires:
            raise ForbiddenError("The URL has expired.", hint="Ask for signed URLs again.")
        return bound

    def _signature(self, method: str, key: str, expires: int, bound: UploadBound | None) -> str:
        extra = f"{bound.size_bytes}\n{bound.sha256}" if bound else ""
        message = f"mp-kit/url/v1\n{method}\n{key}\n{expires}\n{extra}"
        return hmac.new(self._url_key, message.encode(), hashlib.sha256).hexdigest()

    def _aside(self, key: str) -> Path:
        target = self.path(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        return target.with_name(f".{target.name}.{uuid.uuid4().hex}")

    def _settle(self, temp: Path, key: str) -> ObjectInfo:
        with temp.open("rb") as file:
            os.fsync(file.fileno())
        temp.replace(self.path(key))
        return self.stat(key)


class Upload:
    """An upload on its way in; use it as a context manager and :meth:`write` what arrives."""

    def __init__(self, store: LocalStore, key: str, temp: Path, bound: UploadBound) -> None:
        self._store, self._key, self._temp, self._bound = store, key, temp, bound
        self._file = temp.open("wb")
        self._digest = hashlib.sha256()
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._temp.unlink(missing_ok=True)

    def write(self, piece: bytes) -> None:
        """Takes the next bytes; more than was signed for is refused at once."""
        self._size += len(piece)
        if self._size > self._bound.size_bytes:
            raise IntegrityError(f"The upload is longer than the {self._bound.size_bytes} bytes that were announced.")
        self._digest.update(piece)
        self._file.write(piece)

    def finish(self) -> ObjectInfo:
        """Makes the bytes an object.

        Raises:
            IntegrityError: They are not the bytes that were announced; nothing is kept.
        """
        got = self._digest.hexdigest()
        if self._size != self._bound.size_bytes or got != self._bound.sha256:
            raise IntegrityError(
                f"The upload has {self._size} bytes with SHA-256 {got}; announced were {self._bound.size_bytes} bytes"
                f" with {self._bound.sha256}. Nothing was kept."
            )
        self._file.flush()
        return self._store._settle(self._temp, self._key)  # noqa: SLF001 - the store's own other half
