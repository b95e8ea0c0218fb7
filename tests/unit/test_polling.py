"""The breaker, what an answer may be, and which bars are asked about: no database, no network."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from mp_kit.contracts import DeploymentChange, Manifest, ManifestFile, PollBreaker
from mp_kit.errors import InvalidInputError, NotFoundError
from mp_kit.server.services import poll_windows
from mp_kit.server.services.poll_breaker import Breaker, Rules
from mp_kit.server.services.poll_calls import read_answer
from mp_kit.server.storage.local import LocalStore

NOW = datetime(2026, 1, 5, 10, 0, 30, tzinfo=UTC)
RULES = Rules(failures=3, first_seconds=120, longest_seconds=3_600)
GOOD = {"decision": "BUY", "confidence": 0.75, "model_version": "1", "timestamp": "2026-01-05T10:00:00Z"}


def test_the_breaker_opens_after_so_many_failures():
    """And not before; what was still under way then changes no wait."""
    breaker = Breaker()
    seen = []
    for _ in range(5):
        breaker = breaker.failed(RULES, NOW, probe=False)
        seen.append((breaker.failures, breaker.opens, breaker.state(NOW)))
    closed, opened = PollBreaker.CLOSED, PollBreaker.OPEN
    assert [(1, 0, closed), (2, 0, closed), (3, 1, opened), (4, 1, opened), (5, 1, opened)] == seen
    assert NOW + timedelta(seconds=120) == breaker.retry_at


def test_each_failed_probe_doubles_the_wait_up_to_the_longest():
    """Half open when the wait is over."""
    breaker, now, waits = Breaker(3, 1, NOW), NOW, []
    assert PollBreaker.HALF_OPEN is breaker.state(NOW)
    for _ in range(7):
        breaker = breaker.failed(RULES, now, probe=True)
        assert breaker.retry_at is not None
        waits.append((breaker.retry_at - now).total_seconds())
        now = breaker.retry_at
    assert [240, 480, 960, 1920, 3600, 3600, 3600] == waits


SPOILT: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "no JSON"),
    "no JSON": (b"<html>hello", "no JSON"),
    "cut short": (json.dumps(GOOD).encode()[:-5], "no JSON"),
    "not UTF-8": (b'{"decision": "\xff"}', "no JSON"),
    "too deep": (b"[" * 100_000, "no JSON"),
    "NaN": (json.dumps(GOOD | {"confidence": float("nan")}).encode(), "no JSON"),
    "infinity inside": (json.dumps(GOOD | {"metadata": {"x": float("inf")}}).encode(), "no JSON"),
    "a number of many digits": (b'{"confidence": ' + b"1" * 10_000 + b"}", "no JSON"),
    "a list": (json.dumps([GOOD]).encode(), "the answer"),
    "another word": (json.dumps(GOOD | {"decision": "MAYBE"}).encode(), "decision"),
    "too sure": (json.dumps(GOOD | {"confidence": 1.5}).encode(), "confidence"),
    "no zone": (json.dumps(GOOD | {"timestamp": "2026-01-05T10:00:00"}).encode(), "timestamp"),
    "the marketplace's envelope": (json.dumps({"success": True, "data": GOOD}).encode(), "decision"),
    "another version": (json.dumps(GOOD | {"model_version": "2"}).encode(), "set MODEL_VERSION"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_spoilt_answer_is_refused(case: str):
    """In our words: nothing of what the server sent stands in them."""
    body, said = SPOILT[case]
    with pytest.raises(InvalidInputError, match=said) as caught:
        read_answer(body, "1")
    assert "MAYBE" not in str(caught.value)
    assert "hello" not in str(caught.value)


def test_any_version_is_good_where_the_deployment_names_none():
    """It says which one it is."""
    assert "2" == read_answer(json.dumps(GOOD | {"model_version": "2"}).encode(), None).model_version


@pytest.mark.parametrize(
    "change", [{}, {"poll": None}, {"infer_url": "x"}, {"poll_symbols": ["A B"]}, {"poll_timeframes": ["2h"]}]
)
def test_a_change_that_says_nothing_or_nonsense(change: dict[str, Any]):
    """It is refused before anything is sent."""
    with pytest.raises(ValidationError):
        DeploymentChange.model_validate(change)


def frame(until: str, rows: int, every: str) -> pd.DataFrame:
    close = np.linspace(1.1, 1.2, rows)
    prices = {"open": close, "high": close * 1.001, "low": close * 0.999, "close": close, "volume": 1}
    return pd.DataFrame({"timestamp": pd.date_range(end=until, periods=rows, freq=every, tz="UTC"), **prices})


def event_times(live: poll_windows.Live) -> dict[str, str]:
    return {window.symbol: f"{window.timeframe} {window.event_time:%H:%M}" for window in live.windows}


def test_only_closed_bars_are_asked_about(tmp_path: Path):
    """The bar that is under way is left out, and a question ends with the bar before it."""
    frame("2026-01-05T10:00Z", 50, "min").to_csv(tmp_path / "EURUSD.csv", index=False)
    live = poll_windows.of_source(str(tmp_path), NOW)
    assert {"EURUSD": "1m 09:59"} == event_times(live)
    question = json.loads(live.windows[0].question())
    opened = datetime.fromtimestamp(question["ohlcv"][-1][0], UTC)
    assert ("EURUSD", "1m", 49, NOW - timedelta(seconds=90)) == (
        question["symbol"],
        question["timeframe"],
        len(question["ohlcv"]),
        opened,
    )


@pytest.mark.parametrize(("until", "expected"), [("09:59", "1h 09:00"), ("09:58", "1h 08:00"), ("10:00", "1h 09:00")])
def test_a_bar_that_its_source_has_not_reached_the_end_of(tmp_path: Path, until: str, expected: str):
    """Resampled, it closes with its last minute, and not by the clock alone."""
    frame(f"2026-01-05T{until}Z", 600, "min").to_csv(tmp_path / "EURUSD.csv", index=False)
    live = poll_windows.of_source(str(tmp_path), NOW, timeframe="1h")
    assert {"EURUSD": expected} == event_times(live)


def test_a_symbol_whose_bars_are_faulty_takes_no_other_with_it(tmp_path: Path):
    """It is named, with what is wrong."""
    frame("2026-01-05T10:00Z", 50, "min").to_csv(tmp_path / "EURUSD.csv", index=False)
    faulty = frame("2026-01-05T10:00Z", 50, "min")
    faulty.loc[7, "close"] = -1.0
    faulty.to_csv(tmp_path / "GBPUSD.csv", index=False)
    live = poll_windows.of_source(str(tmp_path), NOW)
    assert ({"EURUSD": "1m 09:59"}, ["GBPUSD"]) == (event_times(live), list(live.problems))
    assert "non_positive" in live.problems["GBPUSD"]


def test_a_rounds_window_is_read_only_when_it_is_asked_for(tmp_path: Path):
    """Its newest bar stands in the manifest; a file that is gone is found by who asks for it."""
    file = ManifestFile(
        name="features-EURUSD.parquet",
        type="features",
        symbol="EURUSD",
        size_bytes=1,
        sha256="0" * 64,
        rows=700,
        max_time=datetime(2026, 1, 5, 8, tzinfo=UTC),
    )
    facts = {"name": "r", "timeframe": "1h", "symbols": ["EURUSD"], "horizon": 4, "embargo": 0, "source": {}}
    manifest = Manifest(round_id="r", created_at=NOW, code_version="0", files=[file], **facts)
    store = LocalStore(tmp_path, base_url="http://x.test", url_key="k" * 32)
    live = poll_windows.of_round(store, manifest, NOW)
    assert {"EURUSD": "1h 08:00"} == event_times(live)
    with pytest.raises(NotFoundError):
        live.windows[0].question()
    young = poll_windows.of_round(store, manifest, datetime(2026, 1, 5, 8, 59, tzinfo=UTC))
    assert ([], ["EURUSD"]) == (list(young.windows), list(young.problems))
