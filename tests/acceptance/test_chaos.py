"""Trainings at a RunPod that misbehaves, while supervisors, edge and Postgres are killed: a small ``bench.chaos``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from bench.chaos import Weather, rehearse
from bench.chaos_parts import Rules
from bench.chaos_verdict import wrong_lines

pytestmark = [pytest.mark.hardening, pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.mark.parametrize(
    ("lines", "whole", "fault"),
    [
        (["start 1 line 0", "start 1 line 1"], True, None),
        (["start 1 line 0"], False, None),
        (["start 1 line 0", "start 2 line 0", "start 2 line 1"], False, None),
        ([], False, None),
        ([], True, "[] lines of 2"),
        (["start 1 line 0"], True, "[1] lines of 2"),
        (["start 1 line 1"], False, "start 1 said [1]"),
        (["start 1 line 0", "start 1 line 0"], False, "start 1 said [0, 0]"),
        (["start 1 line 1", "start 1 line 0"], True, "start 1 said [1, 0]"),
        (["start 1 line 0", "start 2 line 0", "start 1 line 1"], True, "[2, 1] lines of 2"),
    ],
)
def test_wrong_lines_are_seen(lines: list[str], whole: bool, fault: str | None):
    """What is lost, doubled or out of order."""
    assert fault == wrong_lines(lines, 2, whole=whole)


def test_everything_ends_right_and_is_paid_once(tmp_path: Path):
    """Twelve runs of every kind: right ends, one pod per attempt, bills to the cent, whole logs, nothing left."""
    rules = Rules(seed=3, settle=6, overdue=5, grace=10, young=8, sweep=3, lease=8, lasting=False)
    times = {"job_seconds": 1.0, "short_hours": 12 / 3_600, "calm_seconds": (2.0, 6.0), "patience": 200.0}
    weather = Weather(runs=12, at_once=12, rules=rules, **times)
    verdict, kills = rehearse(tmp_path, weather)
    assert [] == verdict.complaints
    assert 12 == sum(verdict.states.values())
    assert {"success", "exit", "hang", "crash", "cancel"} == {
        name.partition(":")[0] for name in Counter(verdict.states)
    }
    assert " x " in kills
