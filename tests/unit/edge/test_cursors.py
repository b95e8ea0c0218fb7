"""A page's cursor comes back unchanged, or is refused before it reaches the database."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mp_kit.errors import InvalidInputError
from mp_kit.server.edge import receipts
from mp_kit.server.edge.signals import _cursor, _open_cursor

WHEN = datetime(2026, 1, 2, tzinfo=UTC)


def encoded(place: Any) -> str:
    """A cursor of somebody else's making."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


BAD = {
    "empty": "",
    "a word": "next",
    "not ASCII": "é",
    "no list": encoded({"a": 1}),
    "two parts": encoded([WHEN.isoformat(), 1]),
    "no time": encoded([1, 2, 3]),
    "a time off the calendar": encoded(["0001-01-01T00:00:00+05:00", 1, 2]),
    "a batch beyond a bigint": encoded([WHEN.isoformat(), 1 << 63, 2]),
    "an endless batch": encoded([WHEN.isoformat(), float("inf"), 2]),
    "a negative row": encoded([WHEN.isoformat(), 1, -1]),
    "a row that is nothing": encoded([WHEN.isoformat(), 1, None]),
    "a statement": encoded([WHEN.isoformat(), "1; DROP TABLE signals", 2]),
    "too deep": base64.urlsafe_b64encode(b"[" * 100_000).decode(),
}


@pytest.mark.parametrize("cursor", BAD.values(), ids=BAD)
def test_foreign_cursor_is_refused(cursor: str):
    """With what to send instead."""
    with pytest.raises(InvalidInputError, match="send next_cursor unchanged"):
        _open_cursor(cursor)


def test_no_cursor_is_the_first_page():
    """All three unbound."""
    assert {"cursor_time": None, "cursor_batch": None, "cursor_row": None} == _open_cursor(None)


@given(st.datetimes(timezones=st.just(UTC)), st.integers(0, (1 << 63) - 1), st.integers(0, 100_000))
def test_cursor_comes_back_unchanged(when: datetime, batch: int, row: int):
    """To the microsecond."""
    row_: Any = SimpleNamespace(event_time=when, batch_id=batch, row_no=row)
    assert {"cursor_time": when, "cursor_batch": batch, "cursor_row": row} == _open_cursor(_cursor(row_))


BAD_PLACES = {
    "empty": "",
    "a word": "next",
    "one part": encoded(["dep_1"]),
    "no deployment": encoded([1, 2]),
    "a NUL": encoded(["dep\0", 2]),
    "half a surrogate": encoded(["\ud800", 2]),
    "a number beyond a bigint": encoded(["dep_1", 1 << 63]),
    "an endless number": encoded(["dep_1", float("inf")]),
    "a negative number": encoded(["dep_1", -1]),
    "nothing": encoded(None),
}


@pytest.mark.parametrize("cursor", BAD_PLACES.values(), ids=BAD_PLACES)
def test_foreign_cursor_of_receipts_is_refused(cursor: str):
    """Before it reaches the database."""
    with pytest.raises(InvalidInputError, match="send next_cursor unchanged"):
        receipts._open_cursor(cursor)


@given(st.from_regex(r"[A-Za-z0-9_]{1,30}", fullmatch=True), st.integers(0, (1 << 63) - 1))
def test_cursor_of_receipts_comes_back_unchanged(deployment_id: str, seq: int):
    """Its place in the chains."""
    row_: Any = SimpleNamespace(deployment_id=deployment_id, seq=seq)
    assert (deployment_id, seq) == receipts._open_cursor(receipts._cursor(row_))
