"""What every contract is made of: instants, names, numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from mp_kit.contracts import (
    TIMEFRAME_SECONDS,
    Confidence,
    Decision,
    Identifier,
    Instant,
    Name,
    Sha256,
    Symbol,
    Timeframe,
)

INSTANT = TypeAdapter[datetime](Instant)

BAD_INSTANTS = {
    "no zone": ("2026-01-02T15:04:05", "no zone"),
    "no zone in an object": (datetime(2026, 1, 2), "no zone"),  # noqa: DTZ001 - a naive one is the point
    "a date": ("2026-01-02", "no zone"),
    "unix seconds": (1_767_366_245, "bare number"),
    "unix seconds with a fraction": (1_767_366_245.5, "bare number"),
    "unix seconds as text": ("1767366245", "bare number"),
    "unix seconds as text with a fraction": ("-1767366245.5", "bare number"),
    "a truth value": (True, "bare number"),
    "before the calendar begins": ("0001-01-01T00:00:00+05:00", "calendar"),
    "after the calendar ends": ("9999-12-31T23:59:59-05:00", "calendar"),
    "a word": ("yesterday", "valid datetime"),
    "nothing": (None, "valid datetime"),
    "a month too many": ("2026-13-02T15:04:05Z", "valid datetime"),
}


@pytest.mark.parametrize(("value", "why"), BAD_INSTANTS.values(), ids=BAD_INSTANTS)
def test_instant_refuses(value: Any, why: str):
    """With a sentence that says why."""
    with pytest.raises(ValidationError, match=why):
        INSTANT.validate_python(value)


@pytest.mark.parametrize(
    "text", ["2026-01-02T15:04:05Z", "2026-01-02T17:04:05+02:00", "2026-01-02 15:04:05z", "2026-01-02T15:04:05.000Z"]
)
def test_instant_is_put_into_utc(text: str):
    """Whatever offset it came with."""
    assert datetime(2026, 1, 2, 15, 4, 5, tzinfo=UTC) == INSTANT.validate_python(text)
    assert timedelta(0) == INSTANT.validate_python(text).utcoffset()


@given(
    st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)),  # noqa: DTZ001 - hypothesis wants naive bounds
    st.integers(-14 * 60, 14 * 60),
)
def test_instant_survives_the_wire(naive: datetime, offset: int):
    """What is written with Z is the moment that was read, to the microsecond."""
    when = naive.replace(tzinfo=timezone(timedelta(minutes=offset)))
    wire = INSTANT.dump_json(INSTANT.validate_python(when))
    assert wire.endswith(b'Z"')
    assert when == INSTANT.validate_json(wire)


BAD_TEXTS = {
    "symbol, empty": (Symbol, ""),
    "symbol, a space": (Symbol, "EUR USD"),
    "symbol, a line's end": (Symbol, "EURUSD\n"),
    "symbol, too long": (Symbol, "A" * 33),
    "symbol, a dot first": (Symbol, ".EURUSD"),
    "name, empty": (Name, ""),
    "name, a control character": (Name, "a\x07"),
    "name, NUL": (Name, "a\x00b"),
    "name, too long": (Name, "a" * 129),
    "identifier, a slash": (Identifier, "a/b"),
    "identifier, two dots first": (Identifier, "..a"),
    "sha256, upper case": (Sha256, "A" * 64),
    "sha256, short": (Sha256, "a" * 63),
    "confidence, above": (Confidence, 1.0000001),
    "confidence, below": (Confidence, -0.0000001),
    "confidence, a word": (Confidence, "high"),
}


@pytest.mark.parametrize(("kind", "value"), BAD_TEXTS.values(), ids=BAD_TEXTS)
def test_vocabulary_refuses(kind: Any, value: Any):
    """Before it reaches a key, a path or a row."""
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(value)


@pytest.mark.parametrize("symbol", ["EURUSD", "EUR/USD", "BTC-USD", "ES.c.0", "X:EURUSD", "6E", "brk_b"])
def test_symbols_of_many_exchanges_pass(symbol: str):
    """Unchanged."""
    assert symbol == TypeAdapter(Symbol).validate_python(symbol)


def test_signs_of_decisions():
    """Buy is up, sell is down."""
    assert {"BUY": 1, "SELL": -1, "HOLD": 0} == {one.value: one.sign for one in Decision}


def test_seconds_of_timeframes():
    """As their names say."""
    assert {"1m": 60, "5m": 300, "15m": 900, "1h": 3600, "4h": 14_400, "1d": 86_400} == TIMEFRAME_SECONDS
    assert TIMEFRAME_SECONDS == {one.value: one.seconds for one in Timeframe}
