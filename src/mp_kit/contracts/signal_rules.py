"""What else a signal must keep to, beside its fields' types: the marketplace refuses what the client refuses.

Pure rules over one value each; a breach is a ValueError whose message is the reason in a person's words.
"""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from typing import Any

FUTURE = timedelta(minutes=5)
"""How far ahead of the clock a bar may lie before its signal is refused."""

MAX_ROWS = 100_000
"""Most signals of one request."""

MAX_BODY_BYTES = 64 * 1024 * 1024
"""Largest body of one request; more goes into the vendor's inbox."""

MAX_EXTRA_BYTES = 16_384
"""Largest rationale or metadata of one signal, as JSON."""

_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def check_future(bar: datetime, now: datetime) -> None:
    """Refuses a bar that lies further ahead than :data:`FUTURE`; exactly that far is good.

    Raises:
        ValueError: It does.
    """
    if bar > now + FUTURE:
        msg = f"event_time: {bar:%Y-%m-%dT%H:%M:%SZ} is more than 5 minutes in the future"
        raise ValueError(msg)


def extra_json(name: str, value: Any) -> str | None:
    """A rationale or metadata as the JSON text that is kept; None stays None.

    Args:
        name: ``rationale`` or ``metadata``, for the message.
        value: What was sent.

    Raises:
        ValueError: JSON or the database cannot hold it, or it is longer than :data:`MAX_EXTRA_BYTES`.
    """
    if value is None:
        return None
    try:
        rendered = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:  # what Arrow can hold and JSON cannot
        msg = f"{name}: cannot be kept as JSON ({error})"
        raise ValueError(msg) from error
    try:
        size = len(rendered.encode())
    except UnicodeEncodeError as error:
        msg = f"{name}: holds half a surrogate pair, which is no text"
        raise ValueError(msg) from error
    if size > MAX_EXTRA_BYTES:
        msg = f"{name}: {size} bytes are more than the {MAX_EXTRA_BYTES} that are kept"
        raise ValueError(msg)
    if _NUL.search(rendered):
        msg = f"{name}: holds a NUL character, which the database cannot keep"
        raise ValueError(msg)
    return rendered
