"""Signed URLs for a round's files; every grant is a row: who, what, until when.

URLs of the usual life are cached per round and store while ten minutes of it remain; another life is signed anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from mp_kit.contracts import Round, RoundFile, SignedUrl, SignedUrls
from mp_kit.errors import NotFoundError
from mp_kit.server import clock
from mp_kit.server.services import rounds
from mp_kit.server.services.ids import new_id
from mp_kit.server.services.url_cache import UrlCache
from mp_kit.server.storage import ObjectStore, content_key
from mp_kit.server.store import rounds as rows
from mp_kit.server.store.engine import Tx

TTL_SECONDS = 900
_CACHE = UrlCache(least=timedelta(minutes=10))


def sign(
    tx: Tx,
    store: ObjectStore,
    round_id: str,
    names: Sequence[str] | None,
    *,
    grantee: str,
    vendor_id: str | None,
    ttl_seconds: int = TTL_SECONDS,
) -> SignedUrls:
    """Signs URLs for files of a round and notes the grant.

    Args:
        tx: The grant's transaction.
        store: Where the files lie.
        round_id: A round's id, or ``current``.
        names: Files wanted; all when None.
        grantee: Who gets them, for the record.
        vendor_id: The vendor behind the grantee, if there is one.
        ttl_seconds: Life of the URLs; of the usual 900 at least 600 remain.

    Raises:
        NotFoundError: No such round, or it has no file of that name.
    """
    found = rounds.get(tx, round_id)
    wanted = _choose(found, names)
    signed, expires_at = _signed(store, found.round_id, wanted, ttl_seconds)
    rows.insert_grant(
        tx,
        {
            "id": new_id("gra"),
            "round_id": found.round_id,
            "vendor_id": vendor_id,
            "grantee": grantee,
            "files": [file.name for file in wanted],
            "expires_at": expires_at,
        },
    )
    urls = [
        SignedUrl(
            name=file.name,
            url=url,
            expires_at=expires_at,
            size_bytes=file.size_bytes,
            sha256=file.sha256,
        )
        for file, url in zip(wanted, signed, strict=True)
    ]
    return SignedUrls(urls=urls, round_id=found.round_id, ttl_seconds=ttl_seconds)


def _signed(
    store: ObjectStore, round_id: str, files: Sequence[RoundFile], ttl_seconds: int
) -> tuple[list[str], datetime]:
    keys = [content_key(file.sha256) for file in files]
    now, life = clock.now(), timedelta(seconds=ttl_seconds)
    if ttl_seconds == TTL_SECONDS:
        return _CACHE.urls(store, round_id, keys, now=now, life=life)
    expires_at = now.replace(microsecond=0) + life
    return store.presign_many("GET", keys, expires_at), expires_at


def _choose(found: Round, names: Sequence[str] | None) -> list[RoundFile]:
    if names is None:
        return list(found.files)
    by_name = {file.name: file for file in found.files}
    missing = [name for name in names if name not in by_name]
    if missing:
        raise NotFoundError(
            f"Round {found.round_id} has no file {missing[0]!r}.",
            hint=f"It has: {', '.join(sorted(by_name)[:20])}",
        )
    return [by_name[name] for name in dict.fromkeys(names)]
