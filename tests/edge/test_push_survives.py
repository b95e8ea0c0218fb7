"""Pushing processes are killed at any instant, two at a time over one outbox: nothing is lost, nothing is doubled."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from mp_kit.client.marketplace import Marketplace
from mp_kit.contracts import DeploymentRequest
from mp_kit.server.house import House
from mp_kit.server.processes import free_port
from mp_kit.server.services import deployments, vendors
from mp_kit.server.wiring import build
from tests.support.edges import serving

PUSHER = """
import sys
from datetime import datetime, timedelta, timezone
from mp_kit.client.http import Patience
from mp_kit.client.marketplace import Marketplace
url, token, deployment, who = sys.argv[1:]
m = Marketplace(url, token, patience=Patience(attempts=2, first_wait=0.05))
start = datetime(2020, 1, 1, tzinfo=timezone.utc)
print("ready", flush=True)
for n in range(100000):
    rows = [
        {"symbol": f"P{who}", "timeframe": "1m", "decision": "BUY", "confidence": 0.5, "model_version": "1",
         "timestamp": start + timedelta(minutes=2 * n + k)}
        for k in range(2)
    ]
    m.signals.push(rows, deployment_id=deployment)
    print(n, flush=True)
"""
ROUNDS = 5


@pytest.fixture(scope="module")
def shop(house: House) -> Iterator[House]:
    built = build(replace(house.settings, base_url=f"http://127.0.0.1:{free_port()}"))
    yield built
    built.close()


def start_pusher(shop: House, token: str, deployment: str, who: str, home: Path) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", PUSHER, shop.settings.base_url, token, deployment, who]
    env = os.environ | {"HOME": str(home), "XDG_STATE_HOME": str(home / "state"), "XDG_CONFIG_HOME": str(home / "c")}
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=env)
    assert child.stdout is not None
    assert "ready\n" == child.stdout.readline()
    return child


def kill(child: subprocess.Popen[str]) -> list[int]:
    """Kills it and returns what it said was pushed."""
    child.send_signal(signal.SIGKILL)
    said, _ = child.communicate()
    return [int(line) for line in said.splitlines()]


def test_killed_pushers_lose_and_double_nothing(shop: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What push returned for is stored exactly once, in a chain that holds, and the outbox is empty afterwards."""
    with shop.db.begin() as tx:
        vendor = vendors.create(tx, shop.tokens, "Survivor", actor="test")
        request = DeploymentRequest(name="live", provider="byoc")
        made = deployments.create(tx, shop.tokens, vendor.vendor_id, request, actor="test")
    token, deployment = made.infra_token or "", made.deployment_id
    told: set[tuple[str, int]] = set()
    dice = random.Random(7)
    for round_ in range(ROUNDS):
        names = [f"{round_}{place}" for place in "ab"]
        children = [start_pusher(shop, token, deployment, name, tmp_path) for name in names]
        if round_ == 2:  # nobody answers this time
            time.sleep(0.5)
        else:
            with serving(shop):
                time.sleep(dice.uniform(0.1, 0.7))
                told |= {(names[0], n) for n in kill(children[0])}
                time.sleep(dice.uniform(0.0, 0.3))
                told |= {(names[1], n) for n in kill(children[1])}
        for name, child in zip(names, children, strict=True):
            if child.poll() is None:
                told |= {(name, n) for n in kill(child)}
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "c"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with serving(shop), Marketplace(shop.settings.base_url, vendor.api_key) as market:
        market.signals.flush(token, deployment_id=deployment)
        assert 0 == len(market.signals.pending())
        assert 0 == len(market.signals.rejected())
        assert market.signals.verify(deployment).ok
    with shop.db.begin() as tx:
        rows = tx.execute(text("SELECT symbol, event_time FROM signals WHERE deployment_id = :d"), {"d": deployment})
        minutes = [(row.symbol, round((row.event_time.timestamp() - 1577836800) / 60)) for row in rows]
    assert len(told) > ROUNDS
    assert len(set(minutes)) == len(minutes)
    assert {(f"P{who}", 2 * n + k) for who, n in told for k in range(2)} <= set(minutes)
