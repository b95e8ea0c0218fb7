"""Idempotency keys, as the guide derives them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mp_kit.contracts import MAX_KEY_LENGTH, SLOT_SECONDS, check_idempotency_key, make_idempotency_key
from mp_kit.errors import InvalidInputError


def test_naive_time_is_refused():
    """The slot would be ambiguous."""
    with pytest.raises(InvalidInputError, match="zone"):
        make_idempotency_key("EURUSD", "1h", datetime(2026, 1, 2))  # noqa: DTZ001 - a naive one is the point


def test_key_is_the_guides():
    """SYMBOL:TIMEFRAME:SLOT with SLOT = unix seconds // 5."""
    when = datetime.fromtimestamp(1_700_000_003, UTC)
    assert "BTCUSDT:1h:340000000" == make_idempotency_key("BTCUSDT", "1h", when)
    assert 5 == SLOT_SECONDS


@given(st.integers(0, 4_000_000_000), st.integers(0, 999_999), st.integers(-840, 840))
def test_slot_is_unix_seconds_by_five(unix: int, micros: int, offset: int):
    """In any zone, at any fraction of the second."""
    zone = timezone(timedelta(minutes=offset))
    when = datetime.fromtimestamp(unix, UTC).replace(microsecond=micros).astimezone(zone)
    assert f"S:1m:{unix // 5}" == make_idempotency_key("S", "1m", when)


def test_slot_turns_at_the_fifth_second():
    """Not before, not after."""
    base = datetime(2026, 1, 2, tzinfo=UTC)
    steps = [0, 4.999999, 5, 9.999999, 10]
    slots = [int(make_idempotency_key("S", "1m", base + timedelta(seconds=at)).rpartition(":")[2]) for at in steps]
    assert [0, 0, 1, 1, 2] == [slot - slots[0] for slot in slots]


@pytest.mark.parametrize("key", ["", "a" * (MAX_KEY_LENGTH + 1), "a\nb", "a\x00", "schlüssel", "a\x7f", "\t"])
def test_check_refuses(key: str):
    """Empty, too long, or not printable ASCII."""
    with pytest.raises(InvalidInputError, match="printable ASCII"):
        check_idempotency_key(key)


@pytest.mark.parametrize("key", [None, "a", "EURUSD:1h:353473248", "~" * MAX_KEY_LENGTH, "with space"])
def test_check_passes_unchanged(key: str | None):
    """A sane key, or none."""
    assert key == check_idempotency_key(key)
