"""Scores over HTTP: the leaderboard for everybody, one's own for a vendor, and ``mp score`` on a laptop."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pandas as pd
import pytest
from sqlalchemy import text

import mp_kit
from mp_kit.contracts import Stage
from mp_kit.server.house import House
from mp_kit.server.services import models, publication, scores
from mp_kit.server.services.publication import RoundOrder

START = datetime(2024, 1, 1, tzinfo=UTC)
INSERT = text(
    "INSERT INTO signals (event_time, received_at, ts, batch_id, row_no, confidence, late, deployment_id, vendor_id,"
    " symbol, timeframe, model_version, decision) VALUES (:bar, :stored, :bar, 77, :row, :confidence, false,"
    " :deployment, :vendor, 'EURUSD', '1h', '1', :decision)"
)


@pytest.fixture(scope="module")
def published(edge_house: House, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A round of a random walk."""
    folder = tmp_path_factory.mktemp("bars")
    close = 1.1 * np.exp(np.cumsum(np.random.default_rng(0).normal(0, 1e-3, 2_400)))
    opened = np.r_[1.1, close[:-1]]
    bars = {
        "timestamp": pd.date_range(START, periods=2_400, freq="h"),
        "open": opened,
        "high": np.maximum(opened, close),
        "low": np.minimum(opened, close),
        "close": close,
        "volume": 1,
    }
    pd.DataFrame(bars).to_csv(folder / "EURUSD.csv", index=False)
    order = RoundOrder(source=str(folder), horizon=4, leakage="flag")
    done = publication.run(edge_house.db.begin, edge_house.store, edge_house.signer, order, actor="test")
    return done.round_id


@pytest.fixture
def scored(
    edge: httpx.Client, edge_house: House, published: str, deployment: SimpleNamespace, vendor: SimpleNamespace
) -> SimpleNamespace:
    """A deployment of a model in pilot whose signals were scored."""
    body = {"name": "trend", "task": "signal", "version": "1", "deployment_id": deployment.id}
    made = edge.post("/api/vendors/models", json=body, headers=vendor.headers).json()["data"]
    random = np.random.default_rng(5)
    rows = [
        {
            "bar": START + timedelta(hours=hour),
            "stored": START + timedelta(hours=hour, minutes=61 if hour % 7 == 0 else 40),
            "row": hour,
            "confidence": float(random.uniform()),
            "deployment": deployment.id,
            "vendor": vendor.id,
            "decision": str(random.choice(["BUY", "SELL", "HOLD"])),
        }
        for hour in range(1_600, 2_390)
    ]
    with edge_house.db.begin() as tx:
        models.change_stage(tx, vendor.id, made["model_id"], "1", Stage.PILOT, actor="test", reason=None)
        tx.execute(INSERT, rows)
        judge = next(one for one in scores.judges(tx) if one.round_id == published)
    market = scores.market_of(edge_house.store, judge)
    with edge_house.db.begin() as tx:
        found = scores.compute(market, scores.statements(tx, market))
        scores.keep(tx, judge, market, found)
    return SimpleNamespace(id=deployment.id, model_id=made["model_id"], vendor=vendor)


def test_leaderboard_is_public(edge: httpx.Client, scored: SimpleNamespace, new_vendor: Callable[[], SimpleNamespace]):
    """Everybody sees it, with intervals; one's own list is the vendor's alone."""
    found = edge.get("/api/leaderboard").json()["data"]
    entry = next(one for one in found if one["deployment_id"] == scored.id)
    sharpe = entry["card"]["sharpe"]
    assert sharpe["low"] < sharpe["value"] < sharpe["high"]
    assert (True, 1) == (entry["enough_data"], entry["card"]["tries"])
    assert "nobody else" in entry["standing"]["contribution"]["reason"]
    own = edge.get("/api/vendors/scores", headers=scored.vendor.headers).json()["data"]
    assert [scored.id] == [one["deployment_id"] for one in own]
    assert [] == edge.get("/api/vendors/scores", headers=new_vendor().headers).json()["data"]
    assert 401 == edge.get("/api/vendors/scores").status_code


@pytest.mark.parametrize("query", [{"timeframe": "2h"}, {"limit": 0}, {"limit": 100_000}])
def test_leaderboard_refuses_what_it_does_not_know(edge: httpx.Client, query: dict[str, str]):
    """422, as everywhere."""
    assert 422 == edge.get("/api/leaderboard", params=query).status_code


def test_catalogue_has_the_number_and_its_interval(edge: httpx.Client, scored: SimpleNamespace):
    """The old field as ever, and beside it what it is worth."""
    entry = next(one for one in edge.get("/api/catalog").json()["data"] if one["id"] == scored.model_id)
    assert entry["last_oos_sharpe"] == entry["sharpe"]["value"]
    assert entry["hit_rate"]["low"] < entry["hit_rate"]["value"]


def test_mp_score_is_the_servers_number(
    edge: httpx.Client,
    scored: SimpleNamespace,
    published: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """Signals listed, bars pulled, scored here: every float of the card equals the server's."""
    monkeypatch.setenv("MP_API_URL", str(edge.base_url))
    monkeypatch.setenv("MP_TOKEN", scored.vendor.key)
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    with mp_kit.connect() as market:
        listed = market.signals.list(limit=5_000)
        assert scored.id in repr(market.scores.own().to_pandas().deployment_id.tolist())
        assert "trend" in market.scores.leaderboard()._repr_html_()
        shown = repr(market.catalog())
    assert "[" in shown
    file = tmp_path / "signals.jsonl"
    file.write_text("\n".join(one.model_dump_json() for one in listed))
    mine = json.loads(shell("score", str(file), "--round", published, "--tries", "1", "--json"))
    own = edge.get("/api/vendors/scores", headers=scored.vendor.headers).json()["data"]
    theirs = own[0]["card"]

    def present(value: object) -> object:
        if isinstance(value, dict):
            return {name: present(part) for name, part in value.items() if part is not None}
        return [present(part) for part in value] if isinstance(value, list) else value

    assert present(theirs) == present(mine)
    assert mine["sharpe"]["value"] is not None


def test_mp_leaderboard(edge: httpx.Client, scored: SimpleNamespace, monkeypatch: pytest.MonkeyPatch):
    """A table with error bars."""
    monkeypatch.setenv("MP_API_URL", str(edge.base_url))
    monkeypatch.setenv("MP_TOKEN", scored.vendor.key)
    for arguments in (["leaderboard"], ["leaderboard", "--mine"], ["catalog"]):
        told = shell(*arguments)
        assert "trend" in told
        assert "[" in told


def shell(*arguments: str) -> str:
    """What ``mp`` prints, as a process of its own."""
    command = [sys.executable, "-c", "from mp_kit.cli.main import run; run()", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
