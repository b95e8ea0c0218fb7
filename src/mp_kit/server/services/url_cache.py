"""Signed URLs of rounds, kept in this process while they are good for long enough.

A cached URL is as secret as a new one and lives in memory only; each who gets it is noted by the caller all the same.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from weakref import WeakKeyDictionary

from mp_kit.server.storage import ObjectStore

__all__ = ["UrlCache"]


@dataclass
class _Entry:
    expires_at: datetime
    urls: dict[str, str] = field(default_factory=dict)


class UrlCache:
    """GET URLs by store, round and key; all of a round end together.

    Args:
        least: A URL with less life than this left is signed anew.
        rounds: So many rounds of a store are kept, the newest used.
    """

    def __init__(self, least: timedelta, rounds: int = 8) -> None:
        self._least = least
        self._rounds = rounds
        self._lock = threading.Lock()
        self._entries: WeakKeyDictionary[ObjectStore, OrderedDict[str, _Entry]] = WeakKeyDictionary()

    def urls(
        self, store: ObjectStore, round_id: str, keys: Sequence[str], *, now: datetime, life: timedelta
    ) -> tuple[list[str], datetime]:
        """URLs of objects, those that are missing signed in one batch.

        Args:
            store: Signs them.
            round_id: Whose files they are.
            keys: Objects wanted.
            now: An aware instant.
            life: How long new URLs live.

        Returns:
            A URL per key, in their order, and when all of them end.
        """
        with self._lock:
            entry = self._entry(store, round_id, now, life)
            missing = [key for key in dict.fromkeys(keys) if key not in entry.urls]
        signed = store.presign_many("GET", missing, entry.expires_at)  # outside the lock: others go on
        with self._lock:
            entry.urls.update(zip(missing, signed, strict=True))
            return [entry.urls[key] for key in keys], entry.expires_at

    def _entry(self, store: ObjectStore, round_id: str, now: datetime, life: timedelta) -> _Entry:
        rounds = self._entries.setdefault(store, OrderedDict())
        entry = rounds.get(round_id)
        if entry is None or entry.expires_at - now < self._least:
            entry = rounds[round_id] = _Entry(now.replace(microsecond=0) + life)
        rounds.move_to_end(round_id)
        while len(rounds) > self._rounds:
            rounds.popitem(last=False)
        return entry
