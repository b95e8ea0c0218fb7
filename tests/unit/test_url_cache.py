"""Signed URLs are used again while they are good for long enough, and for nothing else."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from mp_kit.server.services.url_cache import UrlCache

NOW = datetime(2026, 1, 5, 12, 0, 0, 250_000, tzinfo=UTC)
LIFE = timedelta(minutes=15)


class Signing:
    """A store that signs by counting batches."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def presign_many(self, method: str, keys: Sequence[str], expires_at: datetime) -> list[str]:
        """URLs that tell their batch."""
        if keys:
            self.batches.append(list(keys))
        return [f"{method} {key} {expires_at:%H:%M:%S} #{len(self.batches)}" for key in keys]


def ask(cache: UrlCache, store: Any, keys: str, round_id: str = "r", minutes: float = 0) -> list[str]:
    urls, _ = cache.urls(store, round_id, keys.split(), now=NOW + timedelta(minutes=minutes), life=LIFE)
    return urls


def test_less_than_the_least_is_signed_anew():
    """At ten minutes left it still serves, a second later no more."""
    cache, store = UrlCache(timedelta(minutes=10)), Signing()
    first = ask(cache, store, "a")
    assert first == ask(cache, store, "a", minutes=4.99)
    assert ["GET a 12:20:01 #2"] == ask(cache, store, "a", minutes=5.02)


def test_missing_ones_are_signed_in_one_batch_with_the_same_end():
    """In the order asked, doubles too."""
    cache, store = UrlCache(timedelta(minutes=10)), Signing()
    ask(cache, store, "b")
    assert [f"GET {k} 12:15:00 #{n}" for k, n in (("c", 2), ("b", 1), ("a", 2), ("c", 2))] == ask(
        cache, store, "c b a c", minutes=1
    )
    assert [["b"], ["c", "a"]] == store.batches


def test_rounds_and_stores_are_kept_apart():
    """Another round or another store signs its own."""
    cache, one, two = UrlCache(timedelta(minutes=10)), Signing(), Signing()
    ask(cache, one, "a", "r")
    ask(cache, one, "a", "s")
    ask(cache, two, "a", "r")
    assert [[["a"], ["a"]], [["a"]]] == [one.batches, two.batches]


def test_cache_is_bounded_and_keeps_no_store_alive():
    """The round that was longest unused goes first; a store that is gone leaves nothing."""
    cache, store = UrlCache(timedelta(minutes=10), rounds=2), Signing()
    for round_id in ("r", "s", "r", "t", "r", "s"):
        ask(cache, store, "a", round_id)
    assert 4 == len(store.batches)  # r, s, t, and s again
    assert 2 == len(cache._entries[store])
    del store
    gc.collect()
    assert 0 == len(cache._entries)
