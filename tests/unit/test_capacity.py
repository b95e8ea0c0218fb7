"""The capacity model: known sums, what is missing, and that more is never less."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mp_kit.contracts import Timeframe
from mp_kit.errors import InvalidInputError
from mp_kit.server import capacity
from mp_kit.server.capacity import Arrival, Plan

FIGURES = {
    "ingest.single_p50_ms": 5.0,
    "ingest.json_http_10k": 20_000.0,
    "ingest.arrow_http_10k": 50_000.0,
    "ingest.bytes_per_signal": 250.0,
    "ingest.bytes_per_push": 1_000.0,
    "score.seconds": 3.0,
    "score.peak_gib": 0.5,
    "consensus.seconds": 2.0,
    "watch.rss_gib": 0.3,
    "watch.cpu_share": 0.2,
    "watch.list_calls_per_cycle": 1.0,
}
PLAN = Plan(deployments=100, symbols=21, timeframe=Timeframe.H1, within_seconds=10, views=0)


def low(plan: Plan, name: str) -> float:
    return {one.name: one.low for one in capacity.needs(plan, FIGURES)}[name]


def test_missing_figures_are_named():
    """With the benchmark that measures them."""
    with pytest.raises(InvalidInputError, match=r"watch\.rss_gib is missing") as caught:
        capacity.needs(PLAN, {name: value for name, value in FIGURES.items() if name != "watch.rss_gib"})
    assert "python -m bench watch" in (caught.value.hint or "")


@pytest.mark.parametrize("written", ["", "no JSON", '{"name": "x"}\n', '["x"]\n'])
def test_file_without_figures_is_refused(tmp_path: Path, written: str):
    """A missing file too; an empty one has no figures and says so where one is wanted."""
    path = tmp_path / "figures.jsonl"
    with pytest.raises(InvalidInputError, match="holds no figures"):
        capacity.read(path)
    path.write_text(written)
    if written:
        with pytest.raises(InvalidInputError, match="holds no figures"):
            capacity.read(path)
    else:
        assert {} == capacity.read(path)


def test_read_takes_the_last_of_a_name(tmp_path: Path):
    """A figure that was measured again replaces the one before."""
    path = tmp_path / "figures.jsonl"
    path.write_text("\n".join(json.dumps({"name": "a", "value": value}) for value in (1, 2)))
    assert {"a": 2.0} == capacity.read(path)


def test_plan_of_nothing_is_refused():
    """Rather than divided by."""
    for none in (replace(PLAN, deployments=0), replace(PLAN, within_seconds=0)):
        with pytest.raises(InvalidInputError, match="A plan has"):
            capacity.needs(none, FIGURES)


def test_a_push_takes_its_first_row_and_the_further_ones():
    """5 ms, and 20 rows at 20,000 a second."""
    assert pytest.approx(0.006) == capacity.push_seconds(FIGURES, 21)
    assert pytest.approx(0.025) == capacity.push_seconds(FIGURES, 1_001, arrow=True)


def test_needs_are_the_sums_that_one_would_make():
    """100 pushes in 10 s, 50,400 signals a day."""
    assert 100 * 21 * 24 * 5 / 7 == low(PLAN, "signals")
    assert 1 == low(PLAN, "edges")
    assert pytest.approx(10 + 200 / 30) == low(PLAN, "commits of Postgres")
    assert pytest.approx((50_400 * (250 + 300) + 2_400 * 1_000) / 2**30) == low(PLAN, "disk of Postgres")
    assert pytest.approx(3 * 50_400 * 365 / 1e6) == low(PLAN, "a run of the flow score")
    assert 2_100 * 0.005 / 2 < low(replace(PLAN, batched=False, within_seconds=1), "edges")


@pytest.mark.parametrize("what", ["deployments", "symbols", "runs", "vendors", "views"])
def test_more_is_never_less(what: str):
    """Of every need, at both ends, and the high end is never below the low one."""
    few, many = (capacity.needs(replace(PLAN, **{what: count}), FIGURES) for count in (7, 7_000))
    for one, other in zip(few, many, strict=True):
        assert one.low <= one.high
        assert (one.low, one.high) <= (other.low, other.high)


def test_waiting_is_what_a_queue_makes_of_it():
    """Alone nobody waits but for hiccups; two that come at once wait for one another, in two lanes they do not."""
    alone = [Arrival(n * 1.0, 1) for n in range(100)]
    assert (pytest.approx(0.005), pytest.approx(0.005)) == capacity.felt(FIGURES, alone)
    uneven = FIGURES | {"ingest.single_p99_ms": 25.0}
    assert (pytest.approx(0.005), pytest.approx(0.025)) == capacity.felt(uneven, alone)
    pair = [Arrival(0, 1), Arrival(0, 1)]
    assert pytest.approx(0.010) == capacity.felt(FIGURES, pair, lanes=1)[1]
    assert pytest.approx(0.005) == capacity.felt(FIGURES, pair, lanes=2)[1]
    assert pytest.approx(0.105) == capacity.felt(FIGURES, [Arrival(0, 1, extra=0.1)])[0]
    assert pytest.approx(400) == capacity.most_per_second(FIGURES, alone, lanes=2)
