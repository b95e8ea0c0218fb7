"""The card of a run, its words, its plain text and its plot."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import matplotlib as mpl
import pytest

from mp_kit.client import html
from mp_kit.client import run_words as words
from mp_kit.client.marketplace import Marketplace
from mp_kit.client.run_card import card
from mp_kit.client.run_events import EventView
from mp_kit.client.run_plot import plot_metrics
from mp_kit.contracts import RunStatus
from mp_kit.contracts.training import ArtifactFile, Artifacts, RunProgress, TrainingRun
from mp_kit.errors import ConflictError, InvalidInputError

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
EVIL = "<script>alert(1)</script>\"'&"
HISTORY = [{"step": step, "loss": 1 / step, "name": EVIL, "odd": None} for step in (1, 2, 4)]


def run(**changes: Any) -> TrainingRun:
    facts: dict[str, Any] = {
        "run_id": "run_1",
        "provider": "runpod",
        "status": "running",
        "state": "running",
        "created_at": NOW - timedelta(minutes=10),
        "started_at": NOW - timedelta(minutes=6),
        "deadline": NOW + timedelta(minutes=90),
        "logs_url": "x",
        "task": "signal",
        "round_id": "rnd_1",
        "cost_usd": 0.08214,
        "max_cost_usd": 2.0,
        "price_per_hour_usd": 0.69,
        "machine": "NVIDIA L4",
        "progress": RunProgress(step=3, total_steps=12),
        "metrics": {"loss": 0.25, "device": "cuda", "history": HISTORY},
    }
    return TrainingRun(**facts | changes)


class Tags(HTMLParser):
    """Names of all elements, and whether each is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Counts it."""
        assert not [name for name, _ in attrs if name.startswith("on")]
        self.names.add(tag)
        if tag not in {"polyline", "circle"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Must be the one that was opened last."""
        if tag not in {"polyline", "circle"}:
            assert tag == self.open.pop()


def text_of(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>|&ensp;", " ", page).split())


def test_card_says_what_people_ask_for():
    """State in words, steps, time left, money burned and left, deadline, machine, metrics, log."""
    said = text_of(card(run(), ["epoch 3"], now=NOW))
    for wanted in (
        "running training",
        "step 3 of 12 · 25% · about 18 min left",
        "$0.08 of at most $2.00, $1.92 left, at $0.69 an hour",
        "2026-01-05 13:30:00Z, in 1 h 30 min",
        "NVIDIA L4 on runpod",
        "device cuda",
        "epoch 3",
    ):
        assert wanted in said


@pytest.mark.parametrize("status", list(RunStatus))
def test_card_escapes_everything(status: RunStatus):
    """Whatever a job, a provider or a newer marketplace says, it stays text."""
    evil = {"run_id": EVIL, "round_id": EVIL, "machine": EVIL, "failure": EVIL, "state": EVIL}
    points = [{"step": 1, EVIL: 1.0}, {"step": 2, EVIL: 2.0}]
    metrics = {EVIL: 1.0, "a": EVIL, "b": EVIL, "history": points}
    files = Artifacts(hf_repo=EVIL, files=[ArtifactFile(name=EVIL, size_bytes=1, sha256="0")])
    page = card(run(**evil, status=status, metrics=metrics, artifacts=files), [EVIL], EVIL, NOW)
    tags = Tags(page)
    assert ([], True) == (tags.open, "svg" in tags.names)
    assert tags.names <= {"div", "b", "i", "span", "table", "tr", "td", "pre", "svg", "title", "polyline", "circle"}
    assert "<script" not in page
    assert 8 <= page.count("&lt;script&gt;")


def test_card_of_a_run_of_which_little_is_known():
    """A 0.1 marketplace tells five states and no more; nothing is invented."""
    bare = TrainingRun(run_id="run_1", provider="byoc", status="queued", created_at=NOW, logs_url="x")
    said = text_of(card(bare, now=NOW))
    assert "Run run_1 queued waiting for a machine machine byoc" == said


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, timedelta(minutes=18)),
        ({"progress": None}, None),
        ({"progress": RunProgress(step=0, total_steps=10)}, None),
        ({"progress": RunProgress(step=5)}, None),
        ({"progress": RunProgress(step=5, total_steps=0)}, None),
        ({"progress": RunProgress(step=30, total_steps=12)}, timedelta(0)),
        ({"started_at": None}, None),
        ({"started_at": NOW + timedelta(hours=1)}, timedelta(0)),
        ({"status": "succeeded"}, None),
    ],
)
def test_time_left(changes: dict[str, Any], wanted: timedelta | None):
    """By the steps so far; unknown where nobody can know; never negative."""
    assert wanted == words.time_left(run(**changes), NOW)


def test_attempts_are_told_while_it_is_tried():
    """A second attempt explains why the run waits."""
    assert "its machine is starting (attempt 2)" == words.doing(run(status="queued", state="launching", attempt=2))
    assert "training" == words.doing(run(state="a state of next year"))


@pytest.mark.parametrize(
    ("usd", "wanted"), [(0.0, "$0.00"), (0.0031, "$0.0031"), (0.01, "$0.01"), (1234.5, "$1,234.50")]
)
def test_money(usd: float, wanted: str):
    """Cents; small change keeps four places."""
    assert wanted == words.money(usd)


def test_passed_deadline():
    """It is not shown as minutes to go."""
    assert "passed" in (words.until(run(deadline=NOW - timedelta(seconds=1)), NOW) or "")


def test_history_keeps_numbers_only():
    """Steps as they were told, by their place where they were not; booleans and texts are no curve."""
    points = [{"step": 2, "a": 1}, {"a": 2.5, "b": True}, "x", {"step": None, "a": "3"}]
    assert {"a": [(2.0, 1.0), (1.0, 2.5)]} == words.history(run(metrics={"history": points}))
    assert {} == words.history(run(metrics={"history": {"a": 1}}))


def test_sparkline_of_odd_values():
    """Fewer than two finite values are no curve; equal ones are a line."""
    assert ["", ""] == [html.sparkline([1.0, float("nan")]), html.sparkline([])]
    assert "polyline" in html.sparkline([2.0, 2.0])


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, ""),
        ({"detail": {"failure": "It broke.", "exit_code": 3}}, "It broke."),
        ({"detail": {"outcome": "succeeded", "exit_code": 0}}, "succeeded, exit code 0"),
        (
            {"kind": "launched", "detail": {"gpu": "NVIDIA L4", "price_per_hour_usd": 0.43, "attempt": 2}},
            "NVIDIA L4, $0.43 an hour, attempt 2",
        ),
        ({"kind": "launched", "detail": {"price_per_hour_usd": 0.0, "attempt": 1}}, ""),
    ],
)
def test_why_of_an_event(changes: dict[str, Any], wanted: str):
    """The reason in one cell; a first attempt needs no word."""
    facts: dict[str, Any] = {"seq": 0, "at": NOW, "kind": "transition", "means": "x"}
    assert wanted == EventView(**facts | changes).why


def test_plain_repr(market: Marketplace):
    """Readable in a shell: the fine state, the money, the metrics."""
    text = repr(market.train.start("signal", max_cost_usd=2).wait())
    assert "Run run_1: succeeded\n  state       done" in text
    assert "$0.00 of at most $2.00" in text
    assert "accuracy=0.5" in text


@pytest.fixture
def agg() -> Iterator[None]:
    """Plots are drawn into memory, and closed."""
    mpl.use("agg")
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.mark.usefixtures("agg")
def test_plot_draws_each_metric():
    """The values against their steps."""
    [ax] = plot_metrics(run())
    assert ([1.0, 2.0, 4.0], [1.0, 0.5, 0.25]) == tuple(list(data) for data in ax.lines[0].get_data())
    many = [{"step": 1, **dict.fromkeys("abcdefgh", 1.0)}, {"step": 2, **dict.fromkeys("abcdefgh", 2.0)}]
    assert ["a", "b", "c", "d", "e", "f"] == [
        ax.get_title(loc="left") for ax in plot_metrics(run(metrics={"history": many}))
    ]
    assert ["h", "c"] == [ax.get_title(loc="left") for ax in plot_metrics(run(metrics={"history": many}), ["h", "c"])]


def test_plot_without_history(market: Marketplace):
    """The error says how to get one; a wrong name is told with the right ones."""
    with pytest.raises(ConflictError, match="has reported no metrics by step"):
        market.train.start("signal").plot()
    with pytest.raises(InvalidInputError, match="'los' is no metric"):
        plot_metrics(run(), ["los"])
