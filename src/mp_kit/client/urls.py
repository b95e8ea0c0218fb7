"""Signed URLs that are renewed before they end, or when a store refuses them, always for the same round.

Their age is measured with our own monotonic clock: the wall clocks of two machines may differ by more than a URL lives.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mp_kit.errors import TransferError

FRESH_SHARE = 0.6
"""A URL is used for this share of its life: the marketplace may hand out cached ones that are a third through."""


@dataclass(frozen=True)
class Signed:
    """URLs as somebody signed them.

    Args:
        urls: URL by file name.
        ttl_seconds: How long they are good; ``None`` when nobody said.
    """

    urls: Mapping[str, str]
    ttl_seconds: float | None = None

    def __repr__(self) -> str:
        return f"Signed({len(self.urls)} urls)"


Sign = Callable[[], Signed]
"""Gets fresh URLs for the files of one pinned round or run."""


class UrlBook:
    """The URLs of a set of files; one caller at a time renews them, the others take what it got.

    Args:
        sign: Gets fresh URLs.
        clock: Seconds of a clock that never jumps.
    """

    def __init__(self, sign: Sign, clock: Callable[[], float] = time.monotonic) -> None:
        self._sign = sign
        self._clock = clock
        self._lock = threading.Lock()
        self._signed = Signed({}, 0)
        self._since = clock()

    def url(self, name: str, refused: str | None = None) -> str:
        """A URL that is still good.

        Args:
            name: The file.
            refused: The URL that the store has just refused; a newer one is got unless somebody did so already.

        Raises:
            TransferError: The marketplace gives no URL for this file.
        """
        with self._lock:
            known = self._signed.urls.get(name)
            if known is None or known == refused or self._is_stale():
                self._since = self._clock()
                self._signed = self._sign()
                known = self._signed.urls.get(name)
        if known is None:
            raise TransferError(f"The marketplace gave no URL for {name}.")
        return known

    def _is_stale(self) -> bool:
        ttl = self._signed.ttl_seconds
        return ttl is not None and self._clock() - self._since >= ttl * FRESH_SHARE
