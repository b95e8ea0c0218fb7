"""Sending one message to somebody's endpoint, by the rules of :mod:`mp_kit.server.providers.outbound`.

Of the answer only its status counts. Its body is read up to a bound, so that an orderly receiver sees an orderly end,
and thrown away: nobody reads through us.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from mp_kit.server.providers.addresses import AddressGuard
from mp_kit.server.providers.outbound import Outbound, system_tls, verdict

__all__ = ["Answer", "Poster"]


@dataclass(frozen=True)
class Answer:
    """What became of one attempt.

    Args:
        status: The HTTP status, if one came.
        error: What went wrong, as a short sentence; None when the message was taken.
        retry_after: Seconds that the receiver asks to wait.
        milliseconds: How long it took.
    """

    status: int | None
    error: str | None
    retry_after: float | None
    milliseconds: int

    @property
    def is_taken(self) -> bool:
        """Whether the receiver has the message."""
        return self.error is None


@dataclass(frozen=True)
class Poster:
    """Sends messages.

    Args:
        guard: Says where a URL leads.
        seconds: An attempt's deadline.
        tls: Gives what verifies certificates; the system's authorities by default.
    """

    guard: AddressGuard = field(default_factory=AddressGuard)
    seconds: float = 15.0
    tls: Callable[[], ssl.SSLContext] = system_tls

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Sends a message once; whatever goes wrong is in the answer."""
        came = Outbound("mp-kit-webhooks", self.seconds, tls=self.tls).post(self.guard, url, headers, body)
        if came.status is None:
            return Answer(None, came.error, None, came.milliseconds)
        wait = _retry_after(came.headers.get("retry-after"))
        return Answer(came.status, verdict(came.status), wait, came.milliseconds)


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, in either of its forms (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    if value.isascii() and value.isdecimal():
        return float(value[:9])
    try:
        when = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max((aware - datetime.now(UTC)).total_seconds(), 0.0)
