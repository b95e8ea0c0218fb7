"""Object stores: where files lie, by key, and how outsiders get at them by signed URL.

Rules:

1. A key is a relative path of safe characters; nothing can be walked out of the store.
2. An object appears whole or not at all.
3. Content-addressed keys (:func:`content_key`) hold what they promise; S3 is asked to store them once, and what it took
   is read back and compared.
4. A signed URL is for one method, one key and one end. A PUT is also for one size and one SHA-256 where the store can
   bind them (``binds_uploads``); elsewhere the upload is checked after it was copied out of the sender's reach.
5. No secret stands in a repr or an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mp_kit.errors import SetupError
from mp_kit.server.storage.access import Place, place_of
from mp_kit.server.storage.base import (
    FILES_ROUTE,
    Method,
    ObjectInfo,
    ObjectStore,
    Part,
    PartsPlan,
    UploadBound,
    check_key,
    content_key,
    content_of,
    digest_of,
)
from mp_kit.server.storage.local import LocalStore, Upload
from mp_kit.server.storage.stale import STAGED, Rules, Stale, Tidy

__all__ = [
    "FILES_ROUTE",
    "STAGED",
    "LocalStore",
    "Method",
    "ObjectInfo",
    "ObjectStore",
    "Part",
    "PartsPlan",
    "Place",
    "Rules",
    "Stale",
    "Tidy",
    "Upload",
    "UploadBound",
    "check_key",
    "content_key",
    "content_of",
    "digest_of",
    "open_store",
    "place_of",
]


def open_store(url: str, *, base_url: str, url_key: str, env: Mapping[str, str] | None = None) -> ObjectStore:
    """The store that a URL names; nothing is sent to it yet.

    Args:
        url: ``file:///folder``, ``s3://bucket/prefix`` or ``r2://bucket/prefix``.
        base_url: Where the edge serves the files of a local store.
        url_key: Signs the URLs of a local store.
        env: Holds the keys of S3 and R2, see :mod:`mp_kit.server.storage.access`.

    Raises:
        SetupError: The scheme is not supported, or a key is missing.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "file":
        return LocalStore(Path(rest), base_url=base_url, url_key=url_key)
    if scheme not in {"s3", "r2"}:
        raise SetupError(
            f"There is no store for {scheme}://.", hint="Use file:///folder, s3://bucket/prefix or r2://bucket/prefix."
        )
    place = place_of(url, env or {})
    from mp_kit.server.storage.s3 import S3Store  # a second of imports that a local store needs not

    return S3Store(place)
