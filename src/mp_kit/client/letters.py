"""Cuts a push into requests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import TypeAdapter

from mp_kit.client.outbox import Letter
from mp_kit.contracts.idempotency import MAX_KEY_LENGTH, check_idempotency_key
from mp_kit.contracts.signal_rules import MAX_BODY_BYTES, MAX_ROWS
from mp_kit.contracts.signals import SignalWrite
from mp_kit.errors import InvalidInputError

CHUNK_BYTES = 16 * 1024 * 1024
"""A larger request is halved: one that breaks off is then not sent whole again."""

_WRITES = TypeAdapter(list[SignalWrite])


def letters_of(writes: Sequence[SignalWrite], key: str, chunk: int, *, atomic: bool) -> Iterator[Letter]:
    """The requests of a push, by rows and by bytes.

    Raises:
        InvalidInputError: An atomic push is too large for one request, ``chunk`` is no number of rows, or a request's
            key is none: each but the first adds its number to it.
    """
    check_idempotency_key(key)
    if not 1 <= chunk <= MAX_ROWS:
        raise InvalidInputError(f"chunk is {chunk}; it must be 1 to {MAX_ROWS:,}.")
    if atomic:
        body = _body(writes)
        if len(writes) > MAX_ROWS or len(body) > MAX_BODY_BYTES:
            raise InvalidInputError(
                f"{len(writes):,} signals of {len(body):,} bytes are too many for one atomic request.",
                hint=f"At most {MAX_ROWS:,} signals and {MAX_BODY_BYTES:,} bytes; leave atomic (--atomic) out.",
            )
        yield Letter(body, len(writes), key, atomic=True)
        return
    parts = [part for start in range(0, len(writes), chunk) for part in _fitting(writes[start : start + chunk])]
    keys = _numbered(key, len(parts))
    for (body, rows), own in zip(parts, keys, strict=True):
        yield Letter(body, rows, own)


def _numbered(key: str, count: int) -> list[str]:
    """A key for each request; all of them before the first leaves, so that a push is refused whole."""
    keys = [f"{key}:{number}" if number else key for number in range(count)]
    if count and len(keys[-1]) > MAX_KEY_LENGTH:
        room = MAX_KEY_LENGTH - len(keys[-1]) + len(key)
        raise InvalidInputError(
            f"The idempotency key has {len(key)} characters; for a push in {count:,} requests {room} are the most.",
            hint="Nothing of this push was kept. Each request but the first adds its number to the key.",
        )
    return keys


def _fitting(writes: Sequence[SignalWrite]) -> Iterator[tuple[bytes, int]]:
    body = _body(writes)
    if len(body) <= CHUNK_BYTES or len(writes) == 1:
        yield body, len(writes)
        return
    middle = len(writes) // 2
    yield from _fitting(writes[:middle])
    yield from _fitting(writes[middle:])


def _body(writes: Sequence[SignalWrite]) -> bytes:
    return _WRITES.dump_json([*writes], exclude_none=True)
