"""The object store's part of a backup: a line for each object, with its size and SHA-256, and its bytes where asked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from mp_kit.errors import NotFoundError
from mp_kit.server.services.backup_places import Place
from mp_kit.server.storage import ObjectInfo, ObjectStore, content_of, digest_of

__all__ = ["COPIES", "Listed", "compare", "list_all", "put_back", "read_list", "written"]

COPIES = "store"
"""Copies of objects lie under this folder of a backup, by their keys."""

_THREADS = 4
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Listed:
    """An object as a backup has it."""

    key: str
    size_bytes: int
    sha256: str


def list_all(store: ObjectStore, place: Place, *, copy: bool) -> tuple[list[Listed], list[str]]:
    """Reads every object, and copies it where asked.

    Args:
        store: The objects.
        place: The backup.
        copy: Whether their bytes go into the backup; if not, content-addressed ones are taken at their word.

    Returns:
        The objects by key, and a sentence for each that does not hold what its key promises.
    """
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="backup") as pool:
        read = [one for one in pool.map(lambda info: _list_one(store, place, info, copy=copy), store.walk()) if one]
    listed = sorted(read, key=lambda one: one.key)
    rotten = [one for one in listed if content_of(one.key) not in {None, one.sha256}]
    return listed, [f"object {one.key} holds other bytes than its key promises: SHA-256 {one.sha256}" for one in rotten]


def _list_one(store: ObjectStore, place: Place, info: ObjectInfo, *, copy: bool) -> Listed | None:
    promised = content_of(info.key)
    if promised is not None and not copy:
        return Listed(info.key, info.size_bytes, promised)
    try:
        source = store.open(info.key)
    except NotFoundError:
        return None  # taken in, or swept, since the store was looked through
    with source:
        if not copy:
            return Listed(info.key, info.size_bytes, digest_of(source))
        path = place.file(f"{COPIES}/{info.key}")
        size, sha256 = _copy(source, path)
    place.keep(f"{COPIES}/{info.key}", path)
    return Listed(info.key, size, sha256)


def read_list(lines: Iterable[bytes]) -> list[Listed]:
    """The objects of a list that :func:`written` wrote."""
    return [Listed(**json.loads(line)) for line in lines]


def written(listed: Iterable[Listed]) -> bytes:
    """A line of JSON for each."""
    return b"".join(json.dumps(asdict(one), sort_keys=True).encode() + b"\n" for one in listed)


def put_back(store: ObjectStore, place: Place, listed: Iterable[Listed], scratch: Path) -> list[str]:
    """Puts copies into a store; one whose bytes are not those of the list is named, and not put."""
    wrong = []
    for number, one in enumerate(listed):
        path = scratch / f"object-{number}"
        try:
            with place.open(f"{COPIES}/{one.key}") as source:
                got = _copy(source, path)
        except NotFoundError:
            wrong.append(f"object {one.key} is not among the backup's copies")
            continue
        if got != (one.size_bytes, one.sha256):
            wrong.append(f"object {one.key} is damaged in the backup: SHA-256 {got[1]}, noted was {one.sha256}")
        else:
            store.put_file(one.key, path)
        path.unlink()
    return wrong


def compare(store: ObjectStore, listed: Iterable[Listed]) -> Iterator[str]:
    """Reads each object of a list in a store; a sentence for each that is missing or another."""
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="verify") as pool:
        yield from (said for said in pool.map(lambda one: _unlike(store, one), listed) if said)


def _unlike(store: ObjectStore, one: Listed) -> str:
    try:
        found = store.digest(one.key)
    except NotFoundError:
        return f"object {one.key} is not in the store"
    return "" if found == one.sha256 else f"object {one.key} holds other bytes: SHA-256 {found}, noted was {one.sha256}"


def _copy(source: BinaryIO, path: Path) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as target:
        while piece := source.read(_CHUNK_BYTES):
            digest.update(piece)
            target.write(piece)
            size += len(piece)
    return size, digest.hexdigest()
