"""How fast RunPod lets an account go: read from its ``RateLimit`` header, kept per account.

The header is a structured-field list, one member per window: ``"minute";r=0;t=12, "hour";r=2800;t=1812``, where ``r``
is what is left and ``t`` the seconds until the window begins anew.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

__all__ = ["Pace"]

_MEMBER = re.compile(r'"?[\w-]+"?((?:\s*;\s*\w+=\d+)+)')
_NUMBER = re.compile(r"(\w+)=(\d+)")


class Pace:
    """Remembers until when an account has no requests left.

    Args:
        clock: The time.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._until: dict[str, datetime] = {}
        self._lock = threading.Lock()

    def note(self, account: str, header: str | None) -> None:
        """Takes an answer's ``RateLimit`` header."""
        waits = [float(numbers["t"]) for numbers in _windows(header or "") if numbers.get("r") == 0 and "t" in numbers]
        if waits:
            with self._lock:
                self._until[account] = self._clock() + timedelta(seconds=max(waits))

    def seconds(self, account: str) -> float:
        """Seconds until the account may ask again; 0 if it may now."""
        with self._lock:
            until = self._until.get(account)
            left = (until - self._clock()).total_seconds() if until else 0.0
            if until and left <= 0:
                del self._until[account]
        return max(left, 0.0)


def _windows(header: str) -> list[dict[str, int]]:
    return [{name: int(number) for name, number in _NUMBER.findall(member)} for member in _MEMBER.findall(header)]
