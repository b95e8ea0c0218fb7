"""score: what is pushed is counted, what later bars tell is scored, and again changes nothing."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import text

from flows.score import Scoring, count_signals, score_rounds
from mp_kit.contracts import Stage
from mp_kit.server.house import House
from mp_kit.server.services import publication
from mp_kit.server.services.publication import RoundOrder
from tests.support.voices import BAR, make_voice, say, signal

FIRST = BAR - timedelta(hours=2_000)


@pytest.fixture
def at_home(house: House, monkeypatch: pytest.MonkeyPatch) -> House:
    """The flow opens this house."""
    monkeypatch.setenv("MP_HOME", str(house.settings.home))
    monkeypatch.setenv("MP_DATABASE_URL", house.settings.database_url)
    return house


def publish(house: House, folder: Path) -> None:
    """A round whose bars go on after the signals."""
    close = 1.1 * np.exp(np.cumsum(np.random.default_rng(0).normal(0, 1e-3, 2_400)))
    bars = {"timestamp": pd.date_range(FIRST, periods=2_400, freq="h"), "close": close, "volume": 1}
    prices = {"open": close, "high": close * 1.001, "low": close * 0.999}
    pd.DataFrame(bars | prices).to_csv(folder / "EURUSD.csv", index=False)
    order = RoundOrder(source=str(folder), horizon=4, leakage="flag")
    publication.run(house.db.begin, house.store, house.signer, order, actor="test")


def test_without_rounds_there_is_nothing_to_score(at_home: House):
    """An empty marketplace is no error."""
    assert at_home.settings.home.is_dir()
    assert [] == score_rounds.fn(Scoring())


def test_counts_once_and_scores_what_was_in_time(at_home: House, tmp_path: Path):
    """Signals that were pushed long after their bars are late: counted for the catalogue, never scored."""
    publish(at_home, tmp_path)
    with at_home.db.begin() as tx:
        who = make_voice(tx, at_home, "One", Stage.PILOT)
        say(tx, who, signal(), signal(event_time=(BAR + timedelta(hours=1)).isoformat()))
    assert (1, 0) == (count_signals.fn(), count_signals.fn())
    for _ in range(2):
        board = score_rounds.fn(Scoring())
        assert [("One", 0, 1)] == [(line["vendor"], line["scored"], line["tries"]) for line in board]
        assert "not enough data" in board[0]["sharpe"]
    with at_home.db.begin() as tx:
        tx.execute(text("UPDATE signals SET late = false, received_at = event_time"))
    assert [2] == [line["scored"] for line in score_rounds.fn(Scoring(cost=1e-5))]
