"""Watching a run: the card, the lines, the end, the interrupt, the outage."""

from __future__ import annotations

import pytest
from IPython.core.interactiveshell import InteractiveShell

from mp_kit.client import run_watch
from mp_kit.client.marketplace import Marketplace
from mp_kit.client.run_watch import StoppedWaiting
from mp_kit.contracts import RunStatus
from mp_kit.errors import ForbiddenError, TimeoutExceededError, UnavailableError
from mp_kit.testing import FakeMarketplace

RUN = "/api/training/runs/run_1"


class Handle:
    """Keeps what was shown."""

    shown: list[str]

    def __init__(self) -> None:
        self.shown = []

    def update(self, html: str) -> None:
        """Shows this instead."""
        self.shown.append(html)


@pytest.fixture
def handle(monkeypatch: pytest.MonkeyPatch) -> Handle:
    """We are in a kernel, and this is its output."""
    made = Handle()
    monkeypatch.setattr(run_watch, "in_kernel", lambda: True)
    monkeypatch.setattr(run_watch, "live_html", lambda: made)
    return made


def interrupted(fake: FakeMarketplace) -> Marketplace:
    """A client whose user presses the key while it waits."""

    def pressed(_: float) -> None:
        raise KeyboardInterrupt

    return Marketplace(fake.url, fake.api_key, transport=fake.transport, sleep=pressed)


def test_watch_in_a_kernel_updates_one_card(market: Marketplace, handle: Handle):
    """State and the log's tail, in one piece of output; it ends with the run."""
    assert "succeeded" == market.train.start("signal").watch().status.value
    first, second, last = handle.shown
    assert ["queued" in first, "running" in second, "step 0\nstep 1\nstep 2" in last] == [True] * 3
    assert "succeeded" in last


def test_watch_shows_the_tail_only(market: Marketplace, fake: FakeMarketplace, handle: Handle):
    """A long log does not make a long card."""
    fake.runs.statuses = [RunStatus.RUNNING] * 40 + [RunStatus.SUCCEEDED]
    market.train.start("signal").watch()
    assert ["step 40\n" in handle.shown[-1] + "\n", "step 20" in handle.shown[-1]] == [False, False]
    assert run_watch.TAIL_LINES == handle.shown[-1].count("step ")


def test_watch_piped_says_states_only(market: Marketplace, capsys: pytest.CaptureFixture[str]):
    """Nothing on stdout, no log, each state once."""
    market.train.start("signal").watch()
    out, err = capsys.readouterr()
    states = ["queued: waiting for a machine", "running: training", "succeeded: done"]
    assert ("", [f"run run_1: {state}" for state in states]) == (out, err.splitlines())


def test_watch_on_a_terminal_prints_the_log(
    market: Marketplace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """On stderr, each line once."""
    monkeypatch.setattr(run_watch, "on_terminal", lambda: True)
    market.train.start("signal").watch()
    out, err = capsys.readouterr()
    assert ("", ["step 0", "step 1", "step 2"]) == (out, [row.strip() for row in err.splitlines() if "step" in row])


def test_interrupt_leaves_the_run_going(fake: FakeMarketplace, handle: Handle):
    """The card says so, the exception too, and nothing was sent that ends the run."""
    fake.runs.statuses = [RunStatus.RUNNING]
    with pytest.raises(StoppedWaiting, match=r"run run_1 goes on.*attach\('run_1'\)"):
        interrupted(fake).train.start("signal").watch()
    assert "goes on" in handle.shown[-1]
    assert not [line for line in fake.requests if "cancel" in line]
    assert "running" == interrupted(fake).train.attach("run_1").status.value


def test_interrupt_is_one_sentence_in_ipython(capsys: pytest.CaptureFixture[str]):
    """No traceback through our code; and it is an interrupt, so that the next cells do not run."""
    shell = InteractiveShell.instance()
    shell.user_ns["stop"] = StoppedWaiting("run_7")
    done = shell.run_cell("raise stop")
    InteractiveShell.clear_instance()
    assert isinstance(done.error_in_exec, KeyboardInterrupt)
    told = capsys.readouterr()
    assert "run_7 goes on" in told.out + told.err
    assert "Traceback" not in told.out + told.err


def test_watch_goes_on_through_an_outage(market: Marketplace, fake: FakeMarketplace, handle: Handle):
    """The card says that the marketplace does not answer; the run's end is still seen."""
    run = market.train.start("signal")
    fake.fail(UnavailableError("Down."), times=10, path=RUN)
    assert "succeeded" == run.watch().status.value
    assert "The marketplace does not answer; the run goes on. Down." in handle.shown[1]
    assert "does not answer" not in handle.shown[-1]


def test_watch_does_not_wait_out_a_refusal(market: Marketplace, fake: FakeMarketplace):
    """What trying again does not mend is raised at once."""
    run = market.train.start("signal")
    fake.fail(ForbiddenError("No."), path=RUN)
    with pytest.raises(ForbiddenError):
        run.wait()


def test_watch_timeout_is_said_on_the_card(market: Marketplace, fake: FakeMarketplace, handle: Handle):
    """The run goes on."""
    fake.runs.statuses = [RunStatus.RUNNING]
    with pytest.raises(TimeoutExceededError):
        market.train.start("signal").watch(timeout=0)
    assert "still running after 0 s" in handle.shown[-1]
