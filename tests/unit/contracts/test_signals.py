"""Signals on the wire: bad documents by place, the three dialects."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mp_kit.contracts import Decision, SignalWrite, StoreResult, Timeframe, translate

GOOD = {
    "symbol": "EURUSD",
    "timeframe": "1h",
    "decision": "BUY",
    "confidence": 0.7,
    "model_version": "1.0.0",
    "timestamp": "2026-01-02T15:04:05Z",
}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "symbol with a space": ({"symbol": "EUR USD"}, "symbol"),
    "timeframe unknown": ({"timeframe": "2h"}, "timeframe"),
    "timeframe upper case": ({"timeframe": "1H"}, "timeframe"),
    "decision lower case": ({"decision": "buy"}, "decision"),
    "decision unknown": ({"decision": "STRONG_BUY"}, "decision"),
    "confidence in percent": ({"confidence": 70}, "confidence"),
    "confidence below": ({"confidence": -0.1}, "confidence"),
    "confidence no number": ({"confidence": float("nan")}, "confidence"),
    "confidence endless": ({"confidence": float("inf")}, "confidence"),
    "version empty": ({"model_version": ""}, "model_version"),
    "version with a line's end": ({"model_version": "1\n2"}, "model_version"),
    "timestamp naive": ({"timestamp": "2026-01-02T15:04:05"}, "timestamp"),
    "timestamp a number": ({"timestamp": 1_767_366_245}, "timestamp"),
    "event_time naive": ({"event_time": "2026-01-02T15:00:00"}, "event_time"),
    "model_id a path": ({"model_id": "../a"}, "model_id"),
    "rationale a text": ({"rationale": "because"}, "rationale"),
    "rationale of 51": ({"rationale": ["x"] * 51}, "rationale"),
    "metadata a list": ({"metadata": [1]}, "metadata"),
    "vendor_id a number": ({"vendor_id": 7}, "vendor_id"),
}


@pytest.mark.parametrize(("change", "place"), BAD.values(), ids=BAD)
def test_bad_signal_names_the_place(change: dict[str, Any], place: str, refused: Any):
    """One finding, at the field that is wrong."""
    assert [place] == list(refused(SignalWrite, GOOD | change))


@pytest.mark.parametrize("field", GOOD)
def test_each_required_field_is_missed(field: str, refused: Any):
    """By its name."""
    rest = {name: value for name, value in GOOD.items() if name != field}
    assert {field: "Field required"} == refused(SignalWrite, rest)


@pytest.mark.parametrize("document", [None, 7, "x", [], [GOOD]])
def test_no_object_is_refused(document: Any, refused: Any):
    """The place is the row itself."""
    assert [""] == list(refused(SignalWrite, document))


def test_signal_of_0_1_speaks_of_its_timestamp():
    """No event_time, no model_id: the bar is the timestamp."""
    signal = SignalWrite.model_validate(GOOD)
    assert datetime(2026, 1, 2, 15, 4, 5, tzinfo=UTC) == signal.bar_time
    assert (None, None) == (signal.event_time, signal.model_id)


def test_event_time_wins_over_timestamp():
    """It is what the identity is made of."""
    signal = SignalWrite.model_validate(GOOD | {"event_time": "2026-01-02T15:00:00Z"})
    assert datetime(2026, 1, 2, 15, tzinfo=UTC) == signal.bar_time


def test_unknown_fields_are_ignored():
    """A newer client may say more."""
    assert SignalWrite.model_validate(GOOD) == SignalWrite.model_validate(GOOD | {"horizon": 3})


THIRD = {
    "owner": "ven_1",
    "model_id": "momentum",
    "symbol": "EURUSD",
    "timeframe": "1h",
    "bar_ts": "2026-01-02T15:00:00Z",
    "decision": "SELL",
    "confidence": 0.4,
    "meta": {"model_version": "2.1", "note": "x"},
}


def test_third_dialect_is_mapped():
    """Field by field."""
    bar = datetime(2026, 1, 2, 15, tzinfo=UTC)
    wanted = SignalWrite(
        symbol="EURUSD",
        timeframe=Timeframe.H1,
        decision=Decision.SELL,
        confidence=0.4,
        model_version="2.1",
        timestamp=bar,
        event_time=bar,
        model_id="momentum",
        metadata={"model_version": "2.1", "note": "x"},
        vendor_id="ven_1",
    )
    assert wanted == SignalWrite.model_validate(translate(THIRD))


@pytest.mark.parametrize("meta", [None, {}, {"model_version": ""}, {"model_version": None}])
def test_third_dialect_without_version_has_the_models_id(meta: Any):
    """It must have one: the identity needs it."""
    assert "momentum" == SignalWrite.model_validate(translate(THIRD | {"meta": meta})).model_version


@pytest.mark.parametrize("meta", ["x", [1], 3])
def test_third_dialect_with_odd_meta_names_metadata(meta: Any, refused: Any):
    """It is mapped, then refused like any other."""
    assert ["metadata"] == list(refused(SignalWrite, translate(THIRD | {"meta": meta})))


def test_rows_without_bar_ts_pass_unchanged():
    """The very same object."""
    assert translate(GOOD) is GOOD


@given(
    symbol=st.from_regex(r"\A[A-Z0-9]{1,12}\Z"),
    timeframe=st.sampled_from(Timeframe),
    decision=st.sampled_from(Decision),
    confidence=st.floats(0, 1),
    version=st.from_regex(r"\A[a-z0-9.]{1,20}\Z"),
)
def test_signal_survives_the_wire(
    symbol: str, timeframe: Timeframe, decision: Decision, confidence: float, version: str
):
    """Every bit of the confidence too."""
    signal = SignalWrite(
        symbol=symbol,
        timeframe=timeframe,
        decision=decision,
        confidence=confidence,
        model_version=version,
        timestamp=datetime(2026, 1, 2, tzinfo=UTC),
    )
    assert signal == SignalWrite.model_validate_json(signal.model_dump_json())


def test_receipts_name_a_known_status(refused: Any):
    """A client branches on four words."""
    document = {
        "accepted": 1,
        "duplicates": 0,
        "conflicts": 0,
        "rejected": 0,
        "receipts": [{"index": 0, "status": "ok"}],
    }
    assert ["receipts.0.status"] == list(refused(StoreResult, document))
