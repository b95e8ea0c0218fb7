from __future__ import annotations

import sys

import pytest
from IPython.core.interactiveshell import InteractiveShell

from mp_kit.client import display


def test_progress_piped_says_nothing(capsys: pytest.CaptureFixture[str]):
    """No terminal, no bar."""
    with display.progress("Pulling") as report:
        assert report is None
    assert ("", "") == tuple(capsys.readouterr())


def test_progress_own_callable_is_used():
    """Whoever passes a reporter gets the calls."""
    seen = []

    def own(done_bytes: int, total_bytes: int, file: str) -> None:
        seen.append((done_bytes, total_bytes, file))

    with display.progress("Pulling", wanted=own) as report:
        report(1, 2, "a")
    assert [(1, 2, "a")] == seen


def test_progress_on_a_terminal_draws_on_stderr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Stdout is for results."""
    monkeypatch.setattr(display, "on_terminal", lambda: True)
    with display.progress("Pulling") as report:
        report(5, 10, "a.parquet")
    assert "" == capsys.readouterr().out


@pytest.mark.parametrize(("quiet", "drawn"), [(-1.0, True), (60.0, False)])
def test_progress_in_a_kernel_updates_html(monkeypatch: pytest.MonkeyPatch, quiet: float, drawn: bool):
    """What takes its time is drawn, not faster than an eye sees, and goes at the end; what is quick leaves nothing."""
    shown: list[str] = []

    class Handle:
        def update(self, html: str) -> None:
            shown.append(html)

    monkeypatch.setattr(display, "in_kernel", lambda: True)
    monkeypatch.setattr(display, "live_html", Handle)
    monkeypatch.setattr(display, "QUIET_SECONDS", quiet)
    monkeypatch.setattr(display, "REFRESH_SECONDS", 0.0)
    with display.progress("Pushing", unit="signals") as report:
        for done in range(0, 2001, 1000):
            report(done, 2000, "<a>")
    assert drawn == bool(shown)
    if drawn:
        assert "Pushing: &lt;a&gt;, 2,000 of 2,000 signals" in shown[-2]
        assert ("100%" in shown[-2], "") == (True, shown[-1])


def test_in_kernel_is_false_in_a_plain_shell(monkeypatch: pytest.MonkeyPatch):
    """IPython in a terminal is no kernel; neither is no IPython at all."""
    shell = InteractiveShell.instance()
    assert not display.in_kernel()
    monkeypatch.setattr(shell.__class__, "kernel", object(), raising=False)
    assert display.in_kernel()
    monkeypatch.delitem(sys.modules, "IPython")
    assert not display.in_kernel()
    InteractiveShell.clear_instance()
