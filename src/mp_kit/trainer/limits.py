"""How much a run may measure: the wrapper keeps to these bounds, and the marketplace insists on them.

A name or a value beyond its bound is left out, and the others stay: a heartbeat must not fail for a figure too many.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["HISTORY", "MAX_KEYS", "MAX_KEY_CHARS", "MAX_METRICS_BYTES", "MAX_VALUE_BYTES", "kept", "merged", "size_of"]

HISTORY = "history"
"""The one metric that may be as large as all of them together: the steps."""

MAX_KEYS = 200
MAX_KEY_CHARS = 120
MAX_VALUE_BYTES = 16 * 1024
MAX_METRICS_BYTES = 256 * 1024


def size_of(value: Any) -> int:
    """Bytes of a JSON value as text."""
    return len(json.dumps(value, default=str).encode())


def kept(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those whose name and value are within bounds."""
    return {
        key: value
        for key, value in values.items()
        if len(key) <= MAX_KEY_CHARS and (key == HISTORY or size_of(value) <= MAX_VALUE_BYTES)
    }


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """Lays new metrics over old ones.

    Args:
        old: As stored; within bounds.
        new: As reported; JSON values.

    Returns:
        The metrics, never more than ``MAX_KEYS`` of them nor larger than ``MAX_METRICS_BYTES``, and how many of the new
        ones were left out. A name that is known may always take a value of the size that it had.
    """
    result, sizes = dict(old), {key: size_of(value) + len(key) for key, value in old.items()}
    total, within, left_out = sum(sizes.values()), kept(new), len(new)
    for key, value in within.items():
        size = size_of(value) + len(key)
        after = total - sizes.get(key, 0) + size
        if (key not in result and len(result) >= MAX_KEYS) or (after > MAX_METRICS_BYTES and after > total):
            continue
        result[key], sizes[key], total = value, size, after
        left_out -= 1
    return result, left_out
