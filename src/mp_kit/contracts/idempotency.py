"""Idempotency keys, as clients have derived them since 0.1."""

from __future__ import annotations

from datetime import datetime

from mp_kit.errors import InvalidInputError

SLOT_SECONDS = 5
"""Length of the time slot that old clients put into a key."""

MAX_KEY_LENGTH = 255
"""A longer key is refused."""


def make_idempotency_key(symbol: str, timeframe: str, when: datetime) -> str:
    """Derives the key ``SYMBOL:TIMEFRAME:SLOT`` with SLOT = unix seconds // 5.

    Two different batches within five seconds get the same key; the marketplace knows that and tells the rows
    apart by their own identity (see ``docs/wire.md``, "Signals").

    Args:
        symbol: Instrument of the batch's first signal.
        timeframe: Its timeframe.
        when: Its aware timestamp.

    Raises:
        InvalidInputError: ``when`` is naive.
    """
    if when.tzinfo is None:
        raise InvalidInputError("The time for an idempotency key needs a zone, else the slot is ambiguous.")
    return f"{symbol}:{timeframe}:{int(when.timestamp() // SLOT_SECONDS)}"


def check_idempotency_key(key: str | None) -> str | None:
    """Returns the key if it is sane (1 to 255 printable ASCII characters), or raises InvalidInputError."""
    if key is None:
        return None
    if not 1 <= len(key) <= MAX_KEY_LENGTH or not key.isascii() or not key.isprintable():
        raise InvalidInputError(
            f"An idempotency key has 1 to {MAX_KEY_LENGTH} printable ASCII characters; this one has {len(key)}."
        )
    return key
