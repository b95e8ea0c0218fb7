"""Asking a deployment's server one question, by the rules of :mod:`mp_kit.server.providers.outbound`.

1. The request is marked as a dry run: a server that pushes its answers by itself leaves this one to us.
2. An answer is 200, JSON, not compressed, and short; anything else is told in our own words, never in the server's.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass

from mp_kit.contracts import DRY_RUN_HEADER
from mp_kit.server.providers.hosting import Door
from mp_kit.server.providers.outbound import Exchange, Outbound, system_tls, verdict

__all__ = ["Asker", "Said"]

_GOOD = 200
_MOST_BYTES = 128 * 1024
_PASSING = frozenset({408, 425, 429})
_SERVER_ERRORS = 500


@dataclass(frozen=True)
class Said:
    """What a server said.

    Args:
        body: Its answer, still unread; None where there is none to read.
        status: The HTTP status, if one came.
        reason: Why there is no answer.
        passes: Whether asking again may help.
        milliseconds: How long it took.
    """

    body: bytes | None
    status: int | None = None
    reason: str | None = None
    passes: bool = False
    milliseconds: int = 0


@dataclass(frozen=True)
class Asker:
    """Asks.

    Args:
        seconds: A question's deadline.
        tls: Gives what verifies certificates; the system's authorities by default.
    """

    seconds: float = 10.0
    tls: Callable[[], ssl.SSLContext] = system_tls

    def ask(self, door: Door, question: bytes) -> Said:
        """Asks once; whatever goes wrong is in what comes back."""
        headers = {DRY_RUN_HEADER: "true", "Accept": "application/json"}
        headers |= {} if door.bearer is None else {"Authorization": f"Bearer {door.bearer}"}
        way = Outbound("mp-kit-polls", self.seconds, _MOST_BYTES, self.tls)
        came = way.post(door.guard, door.url, headers, question)
        reason = _problem(came)
        if reason is None:
            return Said(came.body, came.status, milliseconds=came.milliseconds)
        return Said(None, came.status, reason, came.error is not None or _passes(came.status), came.milliseconds)


def _problem(came: Exchange) -> str | None:
    if came.status is None:
        return came.error
    if came.status != _GOOD:
        return verdict(came.status) or f"it answered {came.status} where only 200 is an answer"
    if came.error is not None:
        return came.error
    if len(came.body) > _MOST_BYTES:
        return f"its answer is larger than {_MOST_BYTES // 1024} KiB"
    if came.headers.get("content-encoding", "identity").strip().lower() != "identity":
        return "its answer is compressed, which was not asked for"
    return None


def _passes(status: int | None) -> bool:
    """Whether it may do better in a minute: it was busy, still loading, or it broke."""
    return status is not None and (status in _PASSING or status >= _SERVER_ERRORS)
