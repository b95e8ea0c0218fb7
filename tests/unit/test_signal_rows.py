"""Reading a batch of signals: each row by itself, nothing crashes, claims are checked."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mp_kit.contracts.signal_rules import FUTURE, MAX_EXTRA_BYTES, MAX_ROWS
from mp_kit.errors import AttributionError, InvalidInputError
from mp_kit.server.services.signal_rows import Read, check_claims, read_batch

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
GRACE = timedelta(seconds=90)
SECOND = timedelta(seconds=1)
GOOD = {
    "symbol": "EURUSD",
    "timeframe": "1h",
    "decision": "BUY",
    "confidence": 0.7,
    "model_version": "1.0.0",
    "timestamp": "2026-01-02T11:00:00Z",
}
THIRD = {
    "owner": "ven_1",
    "model_id": "momentum",
    "symbol": "EURUSD",
    "timeframe": "1h",
    "bar_ts": "2026-01-02T11:00:00Z",
    "decision": "SELL",
    "confidence": 0.4,
    "meta": {"model_version": "2.1"},
}


def read(*items: Any, symbols: list[str] | None = None) -> Read:
    """Reads a batch at noon."""
    return read_batch(items, now=NOW, grace=GRACE, symbols=symbols)


def nested(depth: int) -> dict[str, Any]:
    """An object in an object, so deep."""
    found: dict[str, Any] = {}
    for _ in range(depth):
        found = {"a": found}
    return found


@pytest.mark.parametrize("count", [0, MAX_ROWS + 1])
def test_empty_or_endless_batch_is_refused(count: int):
    """As a whole, with what to do."""
    with pytest.raises(InvalidInputError, match=f"this one has {count}") as caught:
        read_batch([None] * count, now=NOW, grace=GRACE)
    assert caught.value.hint


BAD: dict[str, tuple[Any, str]] = {
    "null": (None, "row"),
    "a number": (7, "row"),
    "a list": ([1], "row"),
    "an empty object": ({}, "symbol"),
    "an unknown decision": (GOOD | {"decision": "UP"}, "decision"),
    "confidence in percent": (GOOD | {"confidence": 70}, "confidence"),
    "a naive time": (GOOD | {"timestamp": "2026-01-02T11:00:00"}, "timestamp: Value error, the time has no zone"),
    "a time off the calendar": (GOOD | {"timestamp": "0001-01-01T00:00:00+05:00"}, "timestamp"),
    "the last instant": (GOOD | {"timestamp": "9999-12-31T23:59:59Z"}, "event_time"),
    "the last instant, west": (GOOD | {"event_time": "9999-12-31T23:59:59-05:00"}, "event_time"),
    "unix seconds as text": (GOOD | {"timestamp": "1767351600"}, "timestamp"),
    "metadata with NaN": (GOOD | {"metadata": {"a": float("nan")}}, "metadata"),
    "metadata with a date of Arrow's": (GOOD | {"metadata": {"a": NOW}}, "metadata"),
    "metadata with bytes of Arrow's": (GOOD | {"metadata": {"a": b"x"}}, "metadata"),
    "metadata with a decimal of Arrow's": (GOOD | {"metadata": {"a": Decimal(1)}}, "metadata"),
    "metadata too deep": (GOOD | {"metadata": nested(5000)}, "metadata"),
    "metadata with NUL": (GOOD | {"metadata": {"a": "\x00"}}, "metadata"),
    "metadata with NUL in a name": (GOOD | {"metadata": {"a\x00": 1}}, "metadata"),
    "metadata with NUL after a backslash": (GOOD | {"metadata": {"a": "\\\x00"}}, "metadata"),
    "metadata with half a pair": (GOOD | {"metadata": {"a": "\ud800"}}, "metadata"),
    "metadata too large": (GOOD | {"metadata": {"a": "x" * MAX_EXTRA_BYTES}}, "metadata"),
    "metadata too large in UTF-8": (GOOD | {"metadata": {"a": "é" * (MAX_EXTRA_BYTES // 2)}}, "metadata"),
    "rationale with NUL": (GOOD | {"rationale": ["\x00"]}, "rationale"),
    "rationale with half a pair": (GOOD | {"rationale": ["\ud800"]}, "rationale"),
    "rationale too large": (GOOD | {"rationale": ["x" * MAX_EXTRA_BYTES]}, "rationale"),
    "the third dialect without a bar": (THIRD | {"bar_ts": None}, "timestamp"),
    "the third dialect without a model": (THIRD | {"model_id": None, "meta": {}}, "model_version"),
    "the third dialect with odd meta": (THIRD | {"meta": "x"}, "metadata"),
}


@pytest.mark.parametrize(("item", "place"), BAD.values(), ids=BAD)
def test_bad_row_takes_no_good_one_with_it(item: Any, place: str):
    """It is told by its place; its neighbours are kept in order."""
    found = read(GOOD, item, GOOD)
    assert [0, 2] == [row.row_no for row in found.good]
    assert [1] == list(found.bad)
    assert found.bad[1].startswith(place)


def test_row_with_many_faults_tells_five():
    """Enough to mend it."""
    found = read({"symbol": 1, "timeframe": 2, "decision": 3, "confidence": "x", "model_version": "", "rationale": 4})
    assert 5 == len(found.bad[0].split("; "))


def test_last_byte_of_metadata_is_kept():
    """The bound is one of bytes as they are stored."""
    fits = {"a": "x" * (MAX_EXTRA_BYTES - len('{"a":""}'))}
    found = read(GOOD | {"metadata": fits})
    assert {} == found.bad
    assert MAX_EXTRA_BYTES == len(found.good[0].metadata or "")


@pytest.mark.parametrize("text", ["\\u0000", "\\\\u0000", "a\\u0000b", "\x01", "é", "😀", "\\"])
def test_text_that_only_looks_like_nul_is_kept(text: str):
    """Six characters are not one."""
    found = read(GOOD | {"metadata": {"a": text}, "rationale": [text]})
    assert {} == found.bad
    assert ({"a": text}, [text]) == (
        json.loads(found.good[0].metadata or ""),
        json.loads(found.good[0].rationale or ""),
    )


@pytest.mark.parametrize(("offset", "good"), [(FUTURE, True), (FUTURE + SECOND, False), (FUTURE - SECOND, True)])
def test_future_is_five_minutes(offset: timedelta, good: bool):
    """To the second, by the bar's own time."""
    found = read(GOOD | {"event_time": (NOW + offset).isoformat()})
    assert good == (not found.bad)
    assert 300 == FUTURE.total_seconds()
    assert good or "more than 5 minutes in the future" in found.bad[0]


def test_future_timestamp_of_a_past_bar_is_no_matter():
    """The clock of the vendor may be wrong; the bar decides."""
    assert {} == read(GOOD | {"timestamp": "2027-01-01T00:00:00Z", "event_time": "2026-01-02T11:00:00Z"}).bad


@pytest.mark.parametrize(("timeframe", "seconds"), [("1m", 60), ("5m", 300), ("1h", 3600), ("1d", 86_400)])
@pytest.mark.parametrize(("beyond", "late"), [(-1, False), (0, False), (1, True)])
def test_late_begins_after_bar_and_grace(timeframe: str, seconds: int, beyond: int, late: bool):
    """To the second: the bar's end and the grace still count."""
    opened = NOW - timedelta(seconds=seconds) - GRACE - beyond * SECOND
    found = read(GOOD | {"timeframe": timeframe, "event_time": opened.isoformat()})
    assert [late] == [row.late for row in found.good]
    assert opened == found.good[0].event_time


def test_token_of_some_symbols_covers_no_other():
    """The row is rejected, its neighbours are not."""
    found = read(GOOD, GOOD | {"symbol": "USDJPY"}, symbols=["EURUSD"])
    assert {1: "symbol: the token does not cover USDJPY"} == found.bad
    assert {0: "symbol: the token does not cover EURUSD"} == read(GOOD, symbols=[]).bad


def test_dialects_stand_side_by_side():
    """0.1, 0.2 and the third in one batch."""
    full = GOOD | {"model_id": "m", "event_time": "2026-01-02T10:00:00Z", "rationale": ["a"], "metadata": {"b": 1}}
    found = read(GOOD, full, THIRD)
    assert {} == found.bad
    assert [11, 10, 11] == [row.event_time.hour for row in found.good]
    assert [None, "m", "momentum"] == [row.signal.model_id for row in found.good]
    assert ["1.0.0", "1.0.0", "2.1"] == [row.signal.model_version for row in found.good]
    assert [None, '["a"]', None] == [row.rationale for row in found.good]
    assert [None, '{"b":1}', '{"model_version":"2.1"}'] == [row.metadata for row in found.good]


@pytest.mark.parametrize("change", [{"vendor_id": "ven_2"}, {"deployment_id": "dep_2"}, {"vendor_id": ""}])
def test_contradicting_claim_is_refused(change: dict[str, str]):
    """The whole batch, by the row that claims it."""
    batch = read(GOOD, None, GOOD | change)
    with pytest.raises(AttributionError, match="Signal 2 claims another") as caught:
        check_claims(batch.good, vendor_id="ven_1", deployment_id="dep_1")
    assert [[2, next(iter(change))]] == [detail["loc"] for detail in caught.value.details]


def test_owner_of_the_third_dialect_is_a_claim():
    """As good as vendor_id."""
    with pytest.raises(AttributionError, match="another vendor"):
        check_claims(read(THIRD).good, vendor_id="ven_2", deployment_id="dep_1")
    check_claims(read(THIRD).good, vendor_id="ven_1", deployment_id="dep_1")


@pytest.mark.parametrize("claim", [{}, {"vendor_id": "ven_1", "deployment_id": "dep_1"}, {"vendor_id": None}])
def test_true_or_absent_claim_passes(claim: dict[str, Any]):
    """Nothing is rewritten."""
    batch = read(GOOD | claim)
    check_claims(batch.good, vendor_id="ven_1", deployment_id="dep_1")
    assert claim.get("vendor_id") == batch.good[0].signal.vendor_id


def test_house_signal_may_claim_no_vendor():
    """The operator's are unattributed."""
    with pytest.raises(AttributionError):
        check_claims(read(GOOD | {"vendor_id": "ven_1"}).good, vendor_id=None, deployment_id="dep_1")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
times = st.datetimes(timezones=st.timezones() | st.none()).map(datetime.isoformat) | st.sampled_from(
    ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-12:00", "2026-01-02T11:00:00Z", "1767351600"]
)
fields = {
    "symbol": st.sampled_from(["EURUSD", "EUR\n", ""]) | json_values,
    "timeframe": st.sampled_from(["1m", "1d", "2h"]) | json_values,
    "decision": st.sampled_from(["BUY", "HOLD", "buy"]) | json_values,
    "confidence": st.floats() | json_values,
    "model_version": st.text(max_size=5) | json_values,
    "timestamp": times | json_values,
}
optional = {
    "event_time": times | json_values,
    "bar_ts": times | json_values,
    "meta": json_values,
    "metadata": st.dictionaries(st.text(max_size=4), json_values, max_size=3) | json_values,
    "rationale": st.lists(st.text(max_size=5), max_size=3) | json_values,
    "model_id": json_values,
    "owner": json_values,
    "vendor_id": json_values,
}
likely = st.fixed_dictionaries({name: st.just(value) for name, value in GOOD.items()}, optional=optional)
rows = likely | st.fixed_dictionaries(fields, optional=optional) | json_values


@given(st.lists(rows, max_size=6))
def test_any_rows_are_good_or_bad(items: list[Any]):
    """Each exactly once, in order, and nothing but InvalidInputError is ever raised."""
    found = Read([], {})
    with contextlib.suppress(InvalidInputError):
        found = read(*items)
    assert (list(range(len(items))) if items else []) == sorted([row.row_no for row in found.good] + list(found.bad))
    assert all(sentence and sentence.isprintable() for sentence in found.bad.values())
    assert all(json.loads(row.metadata) == row.signal.metadata for row in found.good if row.metadata is not None)
    assert sorted(row.row_no for row in found.good) == [row.row_no for row in found.good]


@given(st.lists(rows, min_size=1, max_size=5))
def test_a_row_is_judged_by_itself(items: list[Any]):
    """Alone or among others, the same verdict."""
    together = read(*items)
    alone = [read(item) for item in items]
    assert [one.bad.get(0) for one in alone] == [together.bad.get(at) for at in range(len(items))]
