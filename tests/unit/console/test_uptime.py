"""How long a deployment was heard: never more than it has lived."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mp_kit.server.console.uptime import heard

NOW = datetime(2026, 1, 5, 10, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mp_kit.server.clock.now", lambda: NOW)


def test_nothing_is_heard_of_no_hour():
    """None, where there is nothing to tell."""
    assert heard([], NOW) is None


def test_young_deployment_has_no_day():
    """What is said is about the minutes that it has lived."""
    found = heard([(NOW.replace(minute=0), 0.99)], NOW - timedelta(minutes=5))
    assert found is not None
    assert ("its first 5 min", 0.99) == (found.when, pytest.approx(found.share))


def test_hours_count_by_their_length():
    """Six minutes of a new hour do not weigh as much as the whole one before."""
    ten = NOW.replace(minute=0)
    found = heard([(ten - HOUR, 1.0), (ten, 0.0)], NOW - timedelta(days=3))
    assert found is not None
    assert ("the last 24 h", 60 / 66) == (found.when, pytest.approx(found.share))
    assert ["", "low"] == [bar.kind for bar in found.bars]


def test_clock_that_is_behind_breaks_nothing():
    """A deployment that was made in a moment."""
    found = heard([(NOW.replace(minute=0), 1.0)], NOW + timedelta(seconds=2))
    assert found is not None
    assert ("its first less than a second", 1.0) == (found.when, found.share)
