"""What every object store does; the rules stand in the package's docstring."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

from mp_kit.errors import InvalidInputError
from mp_kit.server.storage.stale import Tidy

Method = Literal["GET", "PUT"]
FILES_ROUTE = "/files"
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]*(/[A-Za-z0-9][A-Za-z0-9._\-]*)*")
_CONTENT = re.compile(r"objects/([0-9a-f]{2})/(\1[0-9a-f]{62})")
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class ObjectInfo:
    """What is known of a stored object.

    Args:
        key: Its key.
        size_bytes: Its size.
        etag: Changes when the bytes may have changed.
        modified_at: When it was put.
    """

    key: str
    size_bytes: int
    etag: str
    modified_at: datetime


@dataclass(frozen=True)
class UploadBound:
    """What a signed PUT may bring: exactly these bytes."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Part:
    """A part of an upload.

    Args:
        number: From 1.
        offset: Of its first byte in the file.
        size_bytes: Its size.
        url: Where to PUT it; bears its proof, so it stays out of the repr.
    """

    number: int
    offset: int
    size_bytes: int
    url: str = field(default="", repr=False)


@dataclass(frozen=True)
class PartsPlan:
    """An upload in parts: those that are missing, or that it is complete."""

    missing: tuple[Part, ...] = ()
    complete: bool = False


class ObjectStore(Protocol):
    """Where objects lie."""

    @property
    def binds_uploads(self) -> bool:
        """Whether a signed PUT can bring nothing but its bound; where not, who takes the upload checks it."""

    def put_file(self, key: str, path: Path) -> ObjectInfo:
        """Stores a local file's bytes."""

    def put_bytes(self, key: str, payload: bytes) -> ObjectInfo:
        """Stores bytes."""

    def stat(self, key: str) -> ObjectInfo:
        """Facts of an object; NotFoundError when there is none."""

    def open(self, key: str) -> BinaryIO:
        """Opens an object for reading; NotFoundError when there is none."""

    def digest(self, key: str) -> str:
        """The SHA-256 of an object's bytes, read for it; NotFoundError when there is none."""

    def copy(self, source: str, target: str) -> ObjectInfo:
        """Copies an object within the store; NotFoundError when there is no source."""

    def delete(self, key: str) -> None:
        """Removes an object; it need not exist."""

    def presign(self, method: Method, key: str, expires_at: datetime, bound: UploadBound | None = None) -> str:
        """A URL that needs no token and ends at ``expires_at``."""

    def presign_many(self, method: Method, keys: Sequence[str], expires_at: datetime) -> list[str]:
        """A URL per key, in their order, signed in one go."""

    def plan_parts(self, key: str, size_bytes: int, expires_at: datetime) -> PartsPlan | None:
        """What is missing of an upload in parts, joined once nothing is; None where uploads come whole only."""

    def walk(self) -> Iterator[ObjectInfo]:
        """Every object that a marketplace keeps, in no order; what comes and goes meanwhile may be missed."""

    @property
    def tidy(self) -> Tidy:
        """Clears what nobody will finish."""


def content_key(sha256: str) -> str:
    """The key of content: objects/<first two digits>/<digest>."""
    return f"objects/{sha256[:2]}/{sha256}"


def content_of(key: str) -> str | None:
    """The SHA-256 that a content-addressed key promises; None for any other key."""
    match = _CONTENT.fullmatch(key)
    return match[2] if match else None


def check_key(key: str) -> str:
    """Returns a sane key, or raises InvalidInputError."""
    if not _KEY.fullmatch(key) or ".." in key:
        raise InvalidInputError(f"{key[:80]!r} is no key: use letters, digits, dots, dashes and single slashes.")
    return key


def digest_of(file: BinaryIO) -> str:
    """The SHA-256 of what a file still gives, in hexadecimal digits; 1 MiB of it in memory."""
    digest = hashlib.sha256()
    while piece := file.read(_CHUNK_BYTES):
        digest.update(piece)
    return digest.hexdigest()
