"""Ids and the numbers of batches, made in Python."""

from __future__ import annotations

import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_ID_CHARS = 16
_BATCH_RANDOM_BITS = 21
_EPOCH_MS = 1_700_000_000_000


def new_id(prefix: str) -> str:
    """A new id such as ``run_7m2k…``: 80 random bits in Crockford's base 32."""
    return f"{prefix}_{''.join(secrets.choice(_ALPHABET) for _ in range(_ID_CHARS))}"


def new_batch_id() -> int:
    """A new number for a batch of signals: milliseconds since late 2023, then 21 random bits; fits a bigint."""
    return (int(time.time() * 1000) - _EPOCH_MS) << _BATCH_RANDOM_BITS | secrets.randbits(_BATCH_RANDOM_BITS)


def signal_id(batch_id: int, row_no: int) -> str:
    """The id of a stored signal: its batch and its place in it."""
    return f"sig_{batch_id:x}_{row_no}"
