"""poll-inference: asks about bars of its source, rests where nobody wants it, and is woken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from polls import MINUTE, answering, newest, stored, vendor, wanting
from receivers import receiving
from sqlalchemy import text

from flows.maintain import look_after
from flows.poll_inference import Polling, ask
from mp_kit.server import prefect_api
from mp_kit.server.house import House
from mp_kit.server.services import publication
from mp_kit.server.services.publication import RoundOrder


@pytest.fixture
def at_home(house: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """The flow opens this house; vendors' servers may be on this machine."""
    monkeypatch.setenv("MP_HOME", str(house.settings.home))
    monkeypatch.setenv("MP_DATABASE_URL", house.settings.database_url)
    monkeypatch.setenv("MP_WEBHOOK_ALLOW_PRIVATE", "1")
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    yield house
    with house.db.begin() as tx:
        tx.execute(text("TRUNCATE pollings, polls, poll_budgets"))


def bars(rows: int, every: str, until: Any) -> pd.DataFrame:
    close = 1.1 * np.exp(np.cumsum(np.random.default_rng(0).normal(0, 1e-3, rows)))
    prices = {"open": close, "high": close * 1.001, "low": close * 0.999, "close": close, "volume": 1}
    return pd.DataFrame({"timestamp": pd.date_range(end=until, periods=rows, freq=every), **prices})


def test_where_nobody_wants_it_nothing_is_done(at_home: House):
    """Not even the source is opened."""
    assert at_home.settings.home.is_dir()
    assert ask.fn(Polling(source="/no/such/place")) is None


def test_asks_about_a_live_source_and_the_current_round(at_home: House, tmp_path: Path):
    """A source's newest bar is in time; a round's is late; what was asked about is not asked about again."""
    at = newest() - MINUTE
    bars(60, "min", at).to_csv(tmp_path / "EURUSD.csv", index=False)
    with receiving() as server:
        server.misdeed = answering()
        made = wanting(at_home, vendor(at_home), server.url)
        order = Polling(source=str(tmp_path), settle_seconds=0)
        did = ask.fn(order)
        assert did is not None
        assert ["accepted"] == [one.outcome for one in did[0]]
        assert ([], {}) == ask.fn(order)
        assert ([], {}) == ask.fn(Polling())
        history = tmp_path / "history"
        history.mkdir()
        bars(2_400, "h", at.replace(minute=0) - timedelta(days=2)).to_csv(history / "GBPUSD.csv", index=False)
        round_ = RoundOrder(source=str(history), horizon=4, leakage="flag")
        publication.run(at_home.db.begin, at_home.store, at_home.signer, round_, actor="test")
        did = ask.fn(Polling())
        assert did is not None
        assert [("GBPUSD", "1h", "accepted")] == [(one.symbol, one.timeframe, one.outcome) for one in did[0]]
        assert ([], {}) == ask.fn(Polling())
        question = json.loads(server.got[-1][1])
    assert (True, 640 < len(question["ohlcv"])) == (len(question["ohlcv"]) <= 700, True)
    assert {"EURUSD": False, "GBPUSD": True} == {signal.symbol: signal.late for signal in stored(at_home, made)}


def test_the_schedule_rests_and_is_woken(at_home: House, monkeypatch: pytest.MonkeyPatch):
    """Paused where it runs for nobody; maintain wakes it once somebody wants it, and not before."""
    state = {"paused": False}

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            state["paused"] = request.url.path.endswith("pause_deployment")
        return httpx.Response(200, json={"id": "d1", "paused": state["paused"]})

    transport = httpx.MockTransport(answer)
    made = prefect_api.PrefectApi
    monkeypatch.setattr(prefect_api, "PrefectApi", lambda url: made(url, transport=transport))
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect.test/api")
    name = "poll-inference/poll-inference"
    assert "its schedule was paused" == prefect_api.set_schedule(name, active=False)
    assert "its schedule is paused" == prefect_api.set_schedule(name, active=False)
    look_after.fn()
    assert state["paused"]
    wanting(at_home, vendor(at_home), "https://models.example.com/infer")
    look_after.fn()
    assert not state["paused"]
