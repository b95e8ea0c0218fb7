"""Columns by the names that people use; what can't be matched is told with what would do."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mp_kit.client.columns import NAMES, match, plain, settle
from mp_kit.client.rows import Reading, signal_writes
from mp_kit.contracts import SignalWrite
from mp_kit.errors import InvalidInputError

polars = pytest.importorskip("polars", reason="polars is not installed")

BAR = datetime(2026, 1, 5, tzinfo=UTC)
WANTED = [("EURUSD", "1h", "BUY", 0.6, BAR), ("GBPUSD", "1h", "SELL", 0.7, BAR + timedelta(hours=1))]
OTHER = {
    "Pair": ["EURUSD", "GBPUSD"],
    "side": [1, -1],
    "Prob": [0.6, 0.7],
    "Date-Time": [BAR, BAR + timedelta(hours=1)],
    "note": ["x", "y"],
}
FILL = {"timeframe": "1h", "model_version": "1"}


def said(signals: list[SignalWrite]) -> list[tuple[Any, ...]]:
    return [(s.symbol, s.timeframe.value, s.decision.value, s.confidence, s.timestamp) for s in signals]


MAKERS = {
    "pandas": pd.DataFrame,
    "pandas index": lambda rows: pd.DataFrame(rows).set_index("Date-Time"),
    "pandas unnamed index": lambda rows: pd.DataFrame(rows).set_index("Date-Time").rename_axis(None),
    "pandas two levels": lambda rows: pd.DataFrame(rows).set_index(["Pair", "Date-Time"]),
    "polars": polars.DataFrame,
    "arrow": pa.table,
    "dictionaries": lambda rows: pd.DataFrame(rows).to_dict("records"),
}


@pytest.mark.parametrize("name", MAKERS)
def test_other_names_are_found(name: str):
    """Whatever the table is made of."""
    assert WANTED == said(signal_writes(MAKERS[name](OTHER), Reading(fill=FILL)))


def test_own_name_wins():
    """A column with the field's own name leaves other candidates alone."""
    assert {"decision": "decision"} == match(["signal", "decision", "side"], {})


def test_two_candidates_are_told():
    """Both, and how to choose."""
    with pytest.raises(InvalidInputError, match="signal and side could both be decision") as caught:
        match(["signal", "side"], {})
    assert "columns={'signal': 'decision'}" in caught.value.hint


def test_choice_wins_over_names():
    """Also over the field's own name."""
    assert {"yhat": "decision"} == match(["decision", "yhat"], {"yhat": "decision"})


@pytest.mark.parametrize("chosen", [{"nope": "decision"}, {"yhat": "nope"}])
def test_choice_of_nothing_is_told(chosen: dict[str, str]):
    """What there is instead is named."""
    with pytest.raises(InvalidInputError, match="nope") as caught:
        match(["yhat"], chosen)
    assert "yhat" in caught.value.hint or "decision" in caught.value.hint


def test_missing_columns_are_told_with_what_would_do():
    """Those that are missing, those that there are, and a line to pass."""
    with pytest.raises(InvalidInputError) as caught:
        signal_writes(pd.DataFrame({**OTHER, "conf_idence": [0, 1]}).drop(columns=["side", "Prob"]))
    assert "timeframe or decision or confidence or model_version" in caught.value.message
    assert "Pair, Date-Time, note" in caught.value.message
    assert "columns={'conf_idence': 'confidence'}" in caught.value.hint
    assert "fill={'timeframe': '1h'}" in caught.value.hint


NAIVE = {
    "pandas column": (
        pd.DataFrame({**OTHER, "Date-Time": pd.to_datetime(["2026-01-05", "2026-01-06"])}),
        "tz_localize",
    ),
    "pandas index": (
        pd.DataFrame(OTHER).drop(columns="Date-Time").set_index(pd.to_datetime(["2026-01-05", "2026-01-06"])),
        'frame.index = frame.index.tz_localize("UTC")',
    ),
    "polars": (
        polars.DataFrame(OTHER).with_columns(polars.col("Date-Time").dt.replace_time_zone(None)),
        "replace_time_zone",
    ),
    "polars dates": (polars.DataFrame({**OTHER, "Date-Time": [date(2026, 1, 5)] * 2}), "cast"),
    "arrow": (pa.table({**OTHER, "Date-Time": pa.array([0, 1], pa.timestamp("us"))}), "assume_timezone"),
    "arrow dates": (pa.table({**OTHER, "Date-Time": pa.array([0, 1], pa.date32())}), "cast"),
}


@pytest.mark.parametrize("name", NAIVE)
def test_times_without_a_zone_are_refused_with_the_fix(name: str):
    """The whole column, before any row."""
    frame, fix = NAIVE[name]
    with pytest.raises(InvalidInputError, match="no zone") as caught:
        signal_writes(frame, Reading(fill=FILL))
    assert fix in caught.value.hint


def test_fix_for_pandas_works():
    """Copied from the hint, it mends the frame."""
    frame, _ = NAIVE["pandas index"]
    frame = frame.copy()
    frame.index = frame.index.tz_localize("UTC")
    assert 2 == len(signal_writes(frame, Reading(fill=FILL)))


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("buy", "BUY"),
        (" Long ", "BUY"),
        (1, "BUY"),
        (1.0, "BUY"),
        ("+1", "BUY"),
        (-1, "SELL"),
        ("SHORT", "SELL"),
        (0, "HOLD"),
        (-0.0, "HOLD"),
        ("flat", "HOLD"),
        (True, True),
        (0.5, 0.5),
        ("maybe", "maybe"),
    ],
)
def test_spellings_of_decisions(given_: Any, expected: Any):
    """Common ones; others stay, for the contract to refuse."""
    assert expected == settle("decision", given_)


@pytest.mark.parametrize(
    ("given_", "expected"),
    [("1H", "1h"), ("60min", "1h"), ("D", "1d"), ("M15", "15m"), ("1M", "1M"), ("2h", "2h"), (60, 60)],
)
def test_spellings_of_timeframes(given_: Any, expected: Any):
    """A month is no minute."""
    assert expected == settle("timeframe", given_)


def test_percentages_are_told():
    """With what to do."""
    with pytest.raises(InvalidInputError) as caught:
        signal_writes(pd.DataFrame({**OTHER, "Prob": [60, 70]}), Reading(fill=FILL))
    assert "divide percentages by 100" in caught.value.hint


def test_row_fills_only_what_it_lacks():
    """A column's own value stands."""
    rows = pd.DataFrame({**OTHER, "timeframe": ["4h", None]})
    assert ["4h", "1h"] == [signal.timeframe.value for signal in signal_writes(rows, Reading(fill=FILL))]


def test_every_other_name_is_one_fields_only():
    """No word could be two fields."""
    words = [word for field, others in NAMES.items() for word in (field, *others)]
    assert len(words) == len(set(words))
    assert words == [plain(word) for word in words]


@given(st.lists(st.text(max_size=8), max_size=6, unique=True))
def test_match_never_guesses(columns: list[str]):
    """Any columns: each matched one is a field by its own or another known name, and no field is matched twice."""
    try:
        found = match(columns, {})
    except InvalidInputError:
        return
    assert len(set(found.values())) == len(found)
    assert all(plain(column) in {field, *NAMES.get(field, ())} for column, field in found.items())
