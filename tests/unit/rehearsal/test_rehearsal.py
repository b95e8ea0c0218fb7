"""What a sandbox refuses before it starts anything, and what its parts show and say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from walks import write_bars

import mp_kit
from mp_kit.contracts.common import Timeframe
from mp_kit.errors import BarsError, ConflictError, InvalidInputError, MissingExtraError, SetupError
from mp_kit.rehearsal import process
from mp_kit.rehearsal.moment import Moment, rows_of
from mp_kit.rehearsal.rules import BARS, RULES
from mp_kit.rehearsal.spans import span, usual_days
from mp_kit.rehearsal.tape import Tape
from mp_kit.scoring.performance import FEWEST_BARS

OPENS = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """2,000 hours of a walk from :data:`OPENS` on."""
    return str(write_bars(tmp_path_factory.mktemp("bars"), "EURUSD"))


@pytest.fixture(scope="module")
def tape(folder: str) -> Tape:
    return Tape.read(folder)


def test_sandbox_without_its_extra(folder: str, monkeypatch: pytest.MonkeyPatch):
    """Says the exact line that installs it."""
    monkeypatch.setattr(process, "_NEEDED", ("not_installed_here",))
    with pytest.raises(MissingExtraError) as refused:
        mp_kit.sandbox(folder, start="2024-02-20")
    assert "pip install 'mp-kit[server]'" == refused.value.hint


def test_sandbox_without_bars(tmp_path: Path):
    """Names the place that has none."""
    with pytest.raises(BarsError, match="nowhere"):
        mp_kit.sandbox(tmp_path / "nowhere", start="2024-02-20")


def test_usual_days_suffice_for_a_score():
    """Weekends have no bars: a month of days has 22 of them, and 30 are needed."""
    assert FEWEST_BARS < usual_days(Timeframe.D1) * 5 / 7
    assert 30 == usual_days(Timeframe.H1)


def test_sandbox_starts_after_the_bars(folder: str):
    """Says where they end."""
    with pytest.raises(BarsError, match="end at 2024-03-24T08:00Z"):
        mp_kit.sandbox(folder, start="2024-03-25")


def test_sandbox_starts_before_there_is_enough(folder: str):
    """Says how many are needed and from when on there are so many: and that instant is good."""
    with pytest.raises(BarsError, match="24 bars of EURUSD close before") as refused:
        mp_kit.sandbox(folder, start="2024-01-02")
    first = str(refused.value.hint).split()[4]
    Tape.read(folder).check_start(datetime.fromisoformat(first))


def test_sandbox_starts_in_the_future(folder: str):
    """There are no bars of it."""
    with pytest.raises(InvalidInputError, match="in the future"):
        mp_kit.sandbox(folder, start=datetime.now(UTC) + timedelta(days=2))


@pytest.mark.parametrize("vendors", [-1, len(RULES) + 1])
def test_sandbox_of_too_many_vendors(folder: str, vendors: int):
    """The house has so many."""
    with pytest.raises(InvalidInputError, match=f"0 to {len(RULES)}"):
        mp_kit.sandbox(folder, start="2024-02-20", vendors=vendors)


def test_homes_that_will_not_do(folder: str, tmp_path: Path):
    """One with something in it, and one that is a file."""
    (tmp_path / "file").touch()
    with pytest.raises(ConflictError, match="not empty"):
        mp_kit.sandbox(folder, start="2024-02-20", home=tmp_path)
    with pytest.raises(SetupError, match="cannot be used"):
        mp_kit.sandbox(folder, start="2024-02-20", home=tmp_path / "file")


@pytest.mark.parametrize("given", ["", "1", "d", "-1d", "1y", "1.5h", timedelta(0), timedelta(-1)])
def test_span_refuses(given: str | timedelta):
    """What is no length of time, or goes back."""
    with pytest.raises(InvalidInputError, match="no length of time"):
        span(given)


def test_span_reads_what_people_write():
    """Minutes, hours, days, weeks."""
    assert [timedelta(minutes=90), 12 * HOUR, timedelta(1), timedelta(14)] == [*map(span, ("90m", "12h", "1d", "2w"))]


def test_tape_shows_a_bar_from_its_close_on(tape: Tape):
    """A moment before it, the bar is not there; at its close it is."""
    close = OPENS + 800 * HOUR
    assert 799 == tape.until("EURUSD", close - timedelta(microseconds=1)).num_rows
    assert 800 == tape.until("EURUSD", close).num_rows
    assert ({}, {"EURUSD": close - HOUR}) == (tape.closing(close - HOUR / 2), tape.closing(close))
    assert [close + HOUR, close + 2 * HOUR] == tape.closes(close, close + 2 * HOUR)


def test_tape_has_no_other_symbol(tape: Tape):
    """It names those that it has."""
    with pytest.raises(BarsError, match="no GBPUSD"):
        tape.until("GBPUSD", OPENS)


def test_answers_become_rows(tape: Tape):
    """A decision alone, with a confidence, or whole rows; each about the bar that has just closed."""
    close = OPENS + 800 * HOUR
    moment = Moment(close, tape.closing(close), "1h", tape)
    whole = {"symbol": "EURUSD", "event_time": OPENS, "decision": "HOLD", "confidence": 0.1}
    told = [rows_of(answer, moment) for answer in (None, {"EURUSD": "BUY"}, {"EURUSD": ("SELL", 0.7)}, [whole])]
    row = {"symbol": "EURUSD", "event_time": close - HOUR}
    expected = [[], [row | {"decision": "BUY", "confidence": 0.5}], [row | {"decision": "SELL", "confidence": 0.7}]]
    assert [*expected, [whole]] == told
    assert [799, 3] == [int(moment.bars("EURUSD", last).shape[0]) - (last is None) for last in (None, 3)]


@pytest.mark.parametrize("answer", ["BUY", 1, {"GBPUSD": "BUY"}])
def test_answers_that_say_nothing(tape: Tape, answer: object):
    """Refused with what to say instead."""
    close = OPENS + 800 * HOUR
    with pytest.raises(InvalidInputError):
        rows_of(answer, Moment(close, tape.closing(close), "1h", tape))  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rules_say_the_same_again(rule: object):
    """And nothing out of bounds, on a walk and on a flat line."""
    closes = np.exp(np.cumsum(np.random.default_rng(1).normal(0, 1e-3, BARS)))
    for series in (closes, np.ones(BARS)):
        decision, confidence = rule.say(series, "EURUSD", OPENS)  # type: ignore[attr-defined]
        assert (decision, confidence) == rule.say(series, "EURUSD", OPENS)  # type: ignore[attr-defined]
        assert 0 <= confidence <= 1


def test_rules_follow_and_oppose():
    """On a line that only rises, momentum buys and reversal sells."""
    rising = np.exp(np.linspace(0, 0.1, BARS) + np.resize([0, 1e-5], BARS))
    said = {rule.name: rule.say(rising, "EURUSD", OPENS)[0].value for rule in RULES}
    assert ("BUY", "SELL") == (said["momentum-24"], said["reversal-24"])
