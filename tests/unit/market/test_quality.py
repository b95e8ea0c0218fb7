"""Checking bars: every kind of fault, every policy, and what must never be called a fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mp_kit.errors import BarsError
from mp_kit.market.bars import PRICES, Bars, column, make_table
from mp_kit.market.quality import KINDS, Policy, check, missing_bars
from mp_kit.market.sources import open_source

HOUR = 3_600_000_000


def edited(bars: Bars, name: str, row: int, value: float) -> Bars:
    """The bars with one value changed."""
    columns = {one: column(bars.table, one).copy() for one in (*PRICES, "volume")}
    times = bars.times().copy()
    if name == "timestamp":
        times[row] = value
    else:
        columns[name][row] = value
    return Bars(bars.symbol, bars.timeframe, make_table(times, columns))


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("close", np.nan, "non_finite"),
        ("high", np.inf, "non_finite"),
        ("volume", np.nan, "non_finite"),
        ("low", 0.0, "non_positive"),
        ("open", -1.0, "non_positive"),
        ("volume", -1.0, "non_positive"),
        ("high", 0.5, "ohlc_inconsistent"),
        ("low", 9.0, "ohlc_inconsistent"),
    ],
)
def test_check_faulty_value(make_bars: Callable[..., Bars], name: str, value: float, kind: str):
    """Values that cannot be true reject the symbol by default, named with time and value; dropping takes the row."""
    bars = edited(make_bars(50), name, 7, value)
    with pytest.raises(BarsError, match=rf"EURUSD: 1 of 50 1h bars are {kind}; first 2024-01-01T07:00:00Z") as caught:
        check(bars)
    assert f"{name}={float(value)!r}" in caught.value.message
    assert kind in caught.value.hint
    checked = check(bars, Policy(**{kind: "drop"}))
    assert checked.bars.rows == 49
    assert checked.report.findings[kind].count == 1


def test_check_null_timestamp(make_bars: Callable[..., Bars]):
    """A bar without a time is rejected as not finite."""
    table = make_bars(20).table
    times = pa.array([None, *table.column(0).to_pylist()[1:]], type=table.schema.field(0).type)
    with pytest.raises(BarsError, match="non_finite; first no timestamp"):
        check(Bars("EURUSD", "1h", table.set_column(0, "timestamp", times)))


def test_check_duplicates(make_bars: Callable[..., Bars]):
    """The first of two bars with one timestamp stays; the report says whether they differ."""
    bars = make_bars(30)
    doubled = Bars("EURUSD", "1h", pa.concat_tables([bars.table, bars.table.slice(3, 1)]))
    checked = check(doubled)
    assert bars.table == checked.bars.table
    assert checked.report.findings["duplicate"].offenders == (("2024-01-01T03:00:00Z", "the same bar again"),)
    other = check(edited(bars, "timestamp", 4, bars.times()[3]))
    assert other.report.findings["duplicate"].offenders[0][1] == "another bar with the same timestamp"


def test_check_duplicates_rejected(make_bars: Callable[..., Bars]):
    """The policy decides."""
    bars = make_bars(30)
    with pytest.raises(BarsError, match="duplicate"):
        check(edited(bars, "timestamp", 4, bars.times()[3]), Policy(duplicate="reject"))


@pytest.mark.parametrize(("rule", "rows"), [("flag", 30), ("drop", 29)])
def test_check_unsorted(make_bars: Callable[..., Bars], rule: str, rows: int):
    """Rows out of order are put in order, or left out."""
    bars = make_bars(30)
    order = [*range(5), *range(6, 12), 5, *range(12, 30)]
    checked = check(Bars("EURUSD", "1h", bars.table.take(order)), Policy(unsorted=rule))
    assert checked.report.findings["unsorted"].count == 1
    assert rows == checked.bars.rows
    assert np.all(np.diff(checked.bars.times()) > 0)


def test_check_off_grid(make_bars: Callable[..., Bars]):
    """The grid is the most common offset, so bars that open at half past are no fault by themselves."""
    bars = make_bars(30)
    half_past = Bars("EURUSD", "1h", make_bars(30, start=int(bars.times()[0]) + HOUR // 2).table)
    assert check(half_past).report.findings["off_grid"].count == 0
    assert check(edited(bars, "timestamp", 9, bars.times()[9] + 1)).report.findings["off_grid"].count == 1


def test_check_gap(make_bars: Callable[..., Bars]):
    """Missing bars on a weekday are counted and stay flagged; the policy may reject them."""
    bars = make_bars(30)
    holed = Bars("EURUSD", "1h", pa.concat_tables([bars.table.slice(0, 10), bars.table.slice(14)]))
    found = check(holed).report.findings["gap"]
    assert found.offenders == (("2024-01-01T14:00:00Z", "4 bars missing since 2024-01-01T09:00:00Z"),)
    with pytest.raises(BarsError, match="gap"):
        check(holed, Policy(gap="reject"))


def test_missing_bars_weekend():
    """Friday's last bar and Sunday's first are neighbours, in both halves of the year."""
    friday_evening = 5 * 24 - 3  # hours since Monday 2024-01-01: Friday 21:00
    for close, reopen in ((friday_evening - 1, 6 * 24 + 21), (friday_evening, 6 * 24 + 22)):
        times = 1_704_067_200_000_000 + HOUR * np.array([close, reopen])
        assert missing_bars(times, 3600).tolist() == [0, 0]


def test_missing_bars_friday_and_monday():
    """What is missing on the open sides of a weekend counts."""
    times = 1_704_067_200_000_000 + HOUR * np.array([4 * 24 + 9, 7 * 24 + 2])
    assert missing_bars(times, 3600).tolist() == [0, 10 + 1 + 2]


def test_missing_bars_daily_weekend():
    """Daily bars may leave Saturday and Sunday out, or have Sunday's."""
    days = 1_704_067_200_000_000 + 24 * HOUR * np.array([3, 4, 7, 8, 10, 13])
    assert missing_bars(days, 86_400).tolist() == [0, 0, 0, 0, 1, 1]


def test_check_nothing_left(make_bars: Callable[..., Bars]):
    """A symbol without usable bars is an error, not an empty file."""
    with pytest.raises(BarsError, match="no usable bar is left of 0"):
        check(Bars("EURUSD", "1h", make_bars(5).table.slice(0, 0)))


def test_check_zero_volume_is_legal(make_bars: Callable[..., Bars]):
    """Quotes have no volume."""
    bars = make_bars(20)
    for row in range(20):
        bars = edited(bars, "volume", row, 0.0)
    assert check(bars).report.kept_rows == 20


def test_policy_offers_no_impossible_choice():
    """A gap cannot be dropped, a duplicate cannot stay."""
    with pytest.raises(ValidationError):
        Policy(gap="drop")
    with pytest.raises(ValidationError):
        Policy(duplicate="flag")


def test_report_is_json(make_bars: Callable[..., Bars]):
    """Every kind is in the report, and the report survives JSON."""
    report = check(make_bars(20)).report.to_json()
    assert report == json.loads(json.dumps(report))
    assert set(KINDS) == set(report["findings"])


def test_offenders_are_bounded(make_bars: Callable[..., Bars]):
    """Five offenders are named, all are counted."""
    bars = make_bars(40)
    every_other = Bars("EURUSD", "1h", bars.table.take(list(range(0, 40, 2))))
    found = check(every_other).report.findings["gap"]
    assert (found.count, len(found.offenders)) == (19, 5)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from([1.0, 2.0, np.nan, -1.0])), min_size=1, max_size=40))
def test_check_invariant(rows: list[tuple[int, float]]):
    """Whatever comes in, what leaves is ordered, unique, finite and positive."""
    times = HOUR * np.array([hour for hour, _ in rows], dtype=np.int64)
    price = np.array([value for _, value in rows])
    columns = {**dict.fromkeys(PRICES, price), "volume": np.zeros(price.size)}
    policy = Policy(non_finite="drop", non_positive="drop")
    try:
        checked = check(Bars("X", "1h", make_table(times, columns)), policy)
    except BarsError as error:
        assert "no usable bar" in error.message  # noqa: PT017 - the only refusal that these bars can meet
        return
    assert np.all(np.diff(checked.bars.times()) > 0)
    assert np.all(column(checked.bars.table, "close") > 0)


def test_check_real_hourly_bars(shared_fx: Path):
    """The real hourly set: 148,890 bars, nothing rejected or dropped."""
    source = open_source(str(shared_fx / "1h"))
    reports = [check(source.load(symbol).bars).report for symbol in source.symbols()]
    assert sum(report.input_rows for report in reports) == 148_890
    assert sum(report.kept_rows for report in reports) == 148_890
    assert all(report.findings["gap"].count < 40 for report in reports)
