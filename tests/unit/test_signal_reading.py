"""Reading by columns and by the rules: the same verdicts, the same rows, whatever a batch came as."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mp_kit.errors import AttributionError, MalformedJsonError, MarketplaceError
from mp_kit.server.services.signal_reading import FEW, Items, Reading, Rules, by_columns, by_rules, read
from mp_kit.server.store.signal_columns import Columns, Words, instant, micros

NOW = datetime(2026, 1, 2, 12, 0, 0, 250_000, tzinfo=UTC)
RULES = Rules(NOW, timedelta(seconds=90), "dep_1", "ven_1", model_id="default")
GOOD: dict[str, Any] = {
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
    "symbol": "GBPUSD",
    "timeframe": "5m",
    "bar_ts": "2026-01-02T11:00:00+01:00",
    "decision": "SELL",
    "confidence": 0.4,
    "meta": {"model_version": "2.1"},
}


def shown(reading: Reading) -> tuple[dict[str, Any], dict[int, str]]:
    """A reading as plain values."""
    return reading.good.arrays(), dict(reading.bad)


def verdict(how: Any, items: Items, rules: Rules = RULES) -> Any:
    """What reading gives, an error as its words."""
    try:
        return shown(how(items, rules))
    except MarketplaceError as error:
        return type(error), str(error)


def table(rows: Sequence[dict[str, Any]], **types: pa.DataType) -> pa.Table:
    """Rows as an Arrow table; instants of the names given are parsed into those types."""
    columns = {}
    for name in {name: None for row in rows for name in row}:
        values = [row.get(name) for row in rows]
        if name in types and pa.types.is_timestamp(types[name]):
            values = [None if value is None else datetime.fromisoformat(value) for value in values]
        columns[name] = pa.array(values, types.get(name))
    return pa.table(columns)


ODD_VALUES: dict[str, list[Any]] = {
    "symbol": ["EURUSD", "eur/usd", "EUR\n", "", "x" * 33, "ÉUR", None, 1, True, ["EURUSD"], {}, b"EURUSD", "\ud800"],
    "timeframe": ["1h", "1d", "2h", "1H", "1h ", None, 1, [], "1h\x00"],
    "decision": ["BUY", "HOLD", "buy", "", None, 0, False, {"a": 1}],
    "confidence": [0, 1, 0.5, -0.0, 1.0000001, -1e-9, 1e400, 10**400, "0.5", "x", True, None, [], float("nan")],
    "model_version": ["1.0.0", "é", "a b", "x" * 128, "x" * 129, "1\n", "\x7f", None, 7, "\ud800"],
    "timestamp": [
        "2026-01-02T11:00:00Z",
        "2026-01-02T11:00:00.123456+14:00",
        "2026-01-02T11:00:00.1234567Z",
        "2026-01-02 11:00:00-03:30",
        "2026-01-02t11:00:00z",
        "2026-02-30T11:00:00Z",
        "2026-01-02T24:00:00Z",
        "2026-01-02T11:00:60Z",
        "2026-01-02T11:00:00+24:00",
        "2026-01-02T11:00:00",
        "2026-01-02",
        "2026-01-02T11:00Z",
        "2026-01-02T11:00:00Z\n",
        "0000-01-02T11:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "1969-12-31T23:59:59.999999Z",
        "9999-12-31T23:59:59Z",
        "9999-12-31T23:59:59-12:00",
        "1767351600",
        1767351600,
        "٢٠٢٦-01-02T11:00:00Z",
        NOW,
        NOW.replace(tzinfo=None),
        None,
        [],
        True,
    ],
    "event_time": [
        "2026-01-02T12:05:00.250000Z",
        "2026-01-02T12:05:00.250001Z",
        "2026-01-02T10:58:30.250000Z",
        "2026-01-02T10:58:30.249999Z",
        "2027-01-01T00:00:00Z",
        None,
        "soon",
        3,
    ],
    "model_id": [None, "m", "m 1", "", 5, {}, "_x"],
    "rationale": [None, [], ["a"], ["a"] * 51, "a", [1], ["\x00"], ["\ud800"], ["x" * 20_000], {}, ("a",)],
    "metadata": [None, {}, {"a": 1}, {"a": float("nan")}, {"a": "\x00"}, {1: 2}, [], "x", {"a": {"b": [None, "é"]}}],
    "vendor_id": [None, "ven_1", 5],
    "deployment_id": [None, "dep_1", []],
}
EVERY_ODD_ROW = [GOOD | {name: value} for name, values in ODD_VALUES.items() for value in values]


def test_every_odd_value_alone():
    """Each value that the rules know in a row of its own, all in one batch: the same verdicts both ways."""
    items = [*EVERY_ODD_ROW, None, 5, "x", [], {}, THIRD, THIRD | {"bar_ts": None}]
    assert verdict(by_rules, items) == verdict(by_columns, items)
    assert len(items) > len(shown(by_columns(items, RULES))[1]) > 60


@given(st.lists(st.fixed_dictionaries({}, optional={n: st.sampled_from(v) for n, v in ODD_VALUES.items()}), max_size=8))
def test_odd_values_together(changes: list[dict[str, Any]]):
    """However they meet in a row and in a batch."""
    items = [GOOD, *({**GOOD, **change} for change in changes), THIRD]
    assert verdict(by_rules, items) == verdict(by_columns, items)


@pytest.mark.parametrize("symbols", [None, [], ["EURUSD"], ["GBPUSD"]])
def test_scope_of_symbols(symbols: list[str] | None):
    """The token's symbols are kept both ways."""
    rules = replace(RULES, symbols=symbols)
    assert verdict(by_rules, [GOOD, THIRD], rules) == verdict(by_columns, [GOOD, THIRD], rules)


@pytest.mark.parametrize("claim", [{"vendor_id": "ven_2"}, {"deployment_id": "dep_2"}, {"vendor_id": ""}])
def test_contradicting_claim(claim: dict[str, str]):
    """The same refusal, by the row's number in the whole batch."""
    items = [GOOD, GOOD | {"symbol": ""}, GOOD | claim]
    assert (AttributionError, verdict(by_rules, items)[1]) == verdict(by_columns, items)
    assert "Signal 2 claims" in verdict(by_columns, items)[1]


def arrow_rows(count: int = 40) -> list[dict[str, Any]]:
    """Rows with every column that Arrow has a type for, some of them bad."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        {
            "symbol": ["EURUSD", "GBP/USD", None, "no good"][n % 4 if n % 5 else 0],
            "timeframe": ["1h", "1d", "7m"][n % 3 if n % 7 else 0],
            "decision": ["BUY", "SELL", "HOLD", "buy"][n % 4 if n % 3 else 0],
            "confidence": None if n == 3 else n / 30,
            "model_version": f"1.{n % 2}",
            "timestamp": (start + timedelta(minutes=n, microseconds=n)).isoformat(),
            "event_time": None if n % 3 else (start + timedelta(hours=n)).isoformat(),
            "model_id": None if n % 2 else "m",
            "rationale": None if n % 4 else [f"because {n}"],
            "metadata": None if n % 6 else {"n": n, "text": "\x00" if n == 12 else "é"},
        }
        for n in range(count)
    ]


ARROW_TYPES: dict[str, dict[str, pa.DataType]] = {
    "texts": {},
    "large texts": {name: pa.large_string() for name in ("symbol", "timeframe", "timestamp")},
    "text views": {"symbol": pa.string_view()},
    "dictionaries": {name: pa.dictionary(pa.int8(), pa.string()) for name in ("symbol", "decision", "timestamp")},
    "seconds": {"timestamp": pa.timestamp("s", "UTC")},
    "microseconds elsewhere": {name: pa.timestamp("us", "America/New_York") for name in ("timestamp", "event_time")},
    "nanoseconds": {name: pa.timestamp("ns", "UTC") for name in ("timestamp", "event_time")},
    "naive instants": {"timestamp": pa.timestamp("us")},
    "naive bars": {"event_time": pa.timestamp("us")},
    "narrow numbers": {"confidence": pa.float32()},
}


@pytest.mark.parametrize("types", ARROW_TYPES.values(), ids=ARROW_TYPES)
def test_arrow_in_every_type(types: dict[str, pa.DataType]):
    """Whatever type a column has, the verdicts are those of its rows as Python has them."""
    rows = arrow_rows()
    if "timestamp" in types and types["timestamp"] == pa.timestamp("s", "UTC"):
        rows = [row | {"timestamp": row["timestamp"][:19] + "+00:00"} for row in rows]
    items = table(rows, **types)
    assert verdict(by_rules, items.to_pylist()) == verdict(by_columns, items)
    chunked = pa.concat_tables([items.slice(0, 7), items.slice(7, 20), items.slice(27)])
    assert verdict(by_columns, items) == verdict(by_columns, chunked)


ODD_TABLES = {
    "no column at all": pa.table({"x": [1, 2]}),
    "a column of nothing": table([GOOD]).append_column("event_time", pa.nulls(1)),
    "texts that are numbers": table([GOOD | {"symbol": 5}]),
    "texts that are bytes": table([GOOD | {"symbol": b"EURUSD"}]),
    "a dictionary of numbers": table([GOOD | {"symbol": 5}], symbol=pa.dictionary(pa.int8(), pa.int64())),
    "a dictionary with a hole": pa.table(
        {n: [v] for n, v in GOOD.items() if n != "symbol"}
        | {"symbol": pa.DictionaryArray.from_arrays(pa.array([0]), pa.array([None, "A"], pa.string()))}
    ),
    "confidence as text": table([GOOD | {"confidence": "0.5"}]),
    "confidence as truth": table([GOOD | {"confidence": True}]),
    "confidence as a whole number": table([GOOD | {"confidence": 1}]),
    "a name twice": pa.Table.from_arrays([*table([GOOD]).columns, pa.array(["X"])], [*GOOD, "symbol"]),
    "metadata as text": table([GOOD | {"metadata": "{}"}]),
    "the third dialect": table([{**THIRD, "meta": None}]),
    "a date for an instant": pa.table(
        {n: [v] for n, v in GOOD.items() if n != "timestamp"} | {"timestamp": pa.array([1], pa.date32())}
    ),
}


@pytest.mark.parametrize("items", ODD_TABLES.values(), ids=ODD_TABLES)
def test_odd_tables(items: pa.Table):
    """Columns of unexpected types, or missing."""
    assert verdict(by_rules, items) == verdict(by_columns, items)


@pytest.mark.parametrize("kind", [pa.timestamp("s", "Nowhere/Bad"), pa.timestamp("s", "UTC")])
def test_arrow_value_that_cannot_be_read(kind: pa.DataType):
    """A zone that nobody knows, a time beyond the calendar: refused as a whole, both ways."""
    items = table([GOOD]).drop(["timestamp"]).append_column("timestamp", pa.array([2**40], kind))
    assert MalformedJsonError == verdict(by_rules, items)[0] == verdict(by_columns, items)[0]


def test_many_rows_go_by_columns():
    """A large batch, all of it plain but one, keeps its numbers."""
    rows = [GOOD | {"symbol": f"S{n}"} for n in range(FEW * 3)]
    rows[50] = GOOD | {"decision": "UP"}
    found = read(rows, RULES)
    assert [50] == list(found.bad)
    assert [n for n in range(FEW * 3) if n != 50] == found.good.row_no.tolist()
    assert [f"S{n}" for n in range(FEW * 3) if n != 50] == found.good.texts["symbol"].list()
    assert {"default"} == set(found.good.texts["model_id"].list())


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)))  # noqa: DTZ001 - its bounds are naive
def test_micros_and_back(when: datetime):
    """To the last microsecond."""
    assert when == instant(micros(when))


def test_many_different_texts_are_encoded():
    """Combinations beyond a 64-bit code are told apart all the same."""
    count = 1 << 13
    words = Words(np.arange(count), [*(f"w{n}" for n in range(count)), None])
    zeros = np.zeros(count, np.int64)
    columns = Columns(
        zeros, zeros, zeros, np.zeros(count), zeros.astype(bool), dict.fromkeys(map(str, range(5)), words)
    )
    encoded = columns.copy_bytes()
    assert all(encoded.count(b"".join([b"\x00\x00\x00\x05w%d" % n] * 5)) == 1 for n in (1000, 8191))
