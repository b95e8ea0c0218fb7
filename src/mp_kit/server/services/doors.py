"""Doors: where somebody shows a secret that has to be checked the slow way.

1. Wrong ones are counted per address (the limit ``failures``); an address that has shown too many is refused before
   anything is checked.
2. Checks have places of their own, fewer than there are handlers: a flood of wrong secrets takes no place from those
   whose tokens are remembered.
"""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from math import ceil

from mp_kit.errors import AuthError, ForbiddenError, RateLimitedError, UnavailableError
from mp_kit.server.services.limits import Limiter, Standing

__all__ = ["CLOSED", "Doors", "address_of", "too_many"]

CLOSED = "Too many wrong keys, tokens or codes came from your address"
_NAME = "failures"
_UNKNOWN = "unknown"
_PREFIX = 64
_WAIT_SECONDS = 5.0


def address_of(host: str | None) -> str:
    """Whom an address stands for: itself, or of IPv6 its network of 64 bits, which is one customer's."""
    if not host or ":" not in host:
        return host or _UNKNOWN
    try:
        address = ipaddress.IPv6Address(host.partition("%")[0])
    except ValueError:
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, _PREFIX), strict=False))


def too_many(standing: Standing, what: str = "Too many requests") -> RateLimitedError:
    """The error that says so."""
    seconds = max(1, ceil(standing.wait))
    return RateLimitedError(
        f"{what}: the limit is {standing.limit}.",
        hint=f"Wait {seconds} s, as Retry-After says, and send it again.",
        retry_after=standing.wait,
    )


class Doors:
    """Checks of secrets, bounded.

    Args:
        limiter: Counts failures.
        places: Checks of secrets in bodies at once.
    """

    def __init__(self, limiter: Limiter, places: int) -> None:
        self._limiter = limiter
        self._places = threading.BoundedSemaphore(max(1, places))

    def admit(self, address: str) -> None:
        """Refuses an address that has shown too many wrong secrets.

        Raises:
            RateLimitedError: It has.
        """
        standing = self.closed(address)
        if standing is not None:
            raise too_many(standing, CLOSED)

    def closed(self, address: str) -> Standing | None:
        """How the limit of an address stands that has shown too many wrong secrets; None of any other."""
        return self._limiter.refused(_NAME, address)

    def failed(self, address: str) -> Standing | Future[Standing] | None:
        """Counts a wrong secret."""
        return self._limiter.take(_NAME, address)

    @contextmanager
    def checking(self, address: str) -> Iterator[None]:
        """A check of a secret that came in a body, in a handler's thread.

        Raises:
            RateLimitedError: The address has shown too many wrong ones.
            UnavailableError: As many are being checked as may be.
        """
        self.admit(address)
        if not self._places.acquire(blocking=False):
            raise UnavailableError("Too many keys and codes are being checked at once.", retry_after=1)
        try:
            yield
        except (AuthError, ForbiddenError):
            self.count(address)
            raise
        finally:
            self._places.release()

    def count(self, address: str) -> None:
        """Counts a wrong secret, and waits until that is done.

        Raises:
            RateLimitedError: It was one too many.
        """
        told = self.failed(address)
        standing = told.result(_WAIT_SECONDS) if isinstance(told, Future) else told
        if standing is not None and not standing.admitted:
            self.admit(address)
