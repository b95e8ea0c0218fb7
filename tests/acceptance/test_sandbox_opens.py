"""A sandbox, short: it opens, a model of one's own speaks beside the house's, and the board counts what they said."""

from __future__ import annotations

from pathlib import Path

import pytest
from walks import write_bars

import mp_kit
from mp_kit.cli.app import main
from mp_kit.rehearsal.moment import Moment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def test_mp_sandbox_names_no_dead_address(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The marketplace is gone when the command ends: only --keep says where to look."""
    walk = str(write_bars(tmp_path / "bars", "EURUSD"))
    command = ["sandbox", "--bars", walk, "--start", "2024-03-01", "--days", "0.1", "--vendors", "1"]
    assert 0 == main(command)
    assert "127.0.0.1" not in capsys.readouterr().out


def test_half_a_day_in_a_sandbox(tmp_path: Path):
    """Whoever is there speaks at each close, and the rounds that follow score it."""
    closes = []

    def model(moment: Moment) -> dict[str, tuple[str, float]]:
        closes.append(moment.now)
        return dict.fromkeys(moment.symbols, ("BUY", 0.6))

    walk = write_bars(tmp_path / "bars", "EURUSD")
    with mp_kit.sandbox(walk, start="2024-03-01", vendors=1, round_every="3h") as box:
        done = box.run(days=0.5, model=model, progress=False)
    assert 12 == len(closes)
    assert 24 == done.signals
    assert 2 == len(done.board)
    assert all(0 < entry.card.basis.signals for entry in done.board)
