"""What lies in a store that nobody will finish, and what every store does about it.

Nothing is stale that somebody may still be at: the ages below are far above what any of it takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

__all__ = ["BROKEN_LIFE", "FOLDERS", "STAGED", "STAGED_LIFE", "Rules", "Stale", "Tidy"]

STAGED = "staged"
"""Uploads that nobody has taken in yet lie under this prefix."""

FOLDERS = ("objects", "reports", "runs", STAGED)
"""What a marketplace keeps in a store; nothing else in a bucket is ever looked at."""

STAGED_LIFE = timedelta(days=30)
"""A staged upload is taken in when its run ends; one of this age is of a run that never did."""

BROKEN_LIFE = timedelta(days=7)
"""A put or an upload in parts that was begun so long ago has died; no signed URL lives longer."""


@dataclass(frozen=True)
class Stale:
    """Something that nobody will finish.

    Args:
        kind: ``staged`` (an upload that was never taken in), ``temporary`` (of a put that was killed) or ``parts`` (of
            an upload in parts that broke off).
        key: Where it lies, or was to lie.
        size_bytes: Its size; None where the store does not say.
        since: When it was last touched, or begun.
        upload_id: Names an upload in parts.
    """

    kind: Literal["staged", "temporary", "parts"]
    key: str
    size_bytes: int | None
    since: datetime
    upload_id: str | None = None


@dataclass(frozen=True)
class Rules:
    """Whether a store clears by itself what nobody finishes.

    Args:
        state: ``kept`` (it does), ``set`` (it does from now on), ``none`` (it has no rules, sweep it) or ``refused``
            (these credentials may not set them, or the server knows none).
        detail: For people: what it does, or what to do.
    """

    state: Literal["kept", "set", "none", "refused"]
    detail: str


class Tidy(Protocol):
    """Clears a store of what nobody will finish."""

    def ensure_lifecycle(self) -> Rules:
        """Has the store do it by itself, where it can; rules of others stay as they are."""

    def stale(self, now: datetime) -> Iterator[Stale]:
        """All of it, by the ages above; ``now`` is an aware instant."""

    def discard(self, found: Stale) -> None:
        """Removes one of it; it need not be there any more."""
