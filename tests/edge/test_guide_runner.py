"""A client that was written years ago against the guide, byte for byte as its runtime sends: nothing of it is lost."""

from __future__ import annotations

import http.client
import json
import time
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from mp_kit.server.house import House


class Runner:
    """The guide's ML runner: one batch, fixed headers, a key made of the symbol, the timeframe and the 5 s slot."""

    def __init__(self, base: str, deployment: SimpleNamespace, vendor_id: str) -> None:
        self._host, self._port = base.removeprefix("http://").split(":")
        self._token, self._vendor_id, self._deployment_id = deployment.token, vendor_id, deployment.id

    def signal(self, **changes: Any) -> dict[str, Any]:
        """As ``generateSignalsWithMarketplaceHeaders`` makes it; JavaScript's instants have milliseconds."""
        now = datetime.now(UTC)
        return {
            "symbol": "EURUSD",
            "timeframe": "5m",
            "decision": "HOLD",
            "confidence": 1.0,
            "model_version": "marketplace_test_v1.0.0",
            "timestamp": f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03}Z",
            "vendor_id": self._vendor_id,
            "deployment_id": self._deployment_id,
            "rationale": ["ML team marketplace integration test"],
            **changes,
        }

    def write(self, signals: list[dict[str, Any]], slot: int) -> tuple[int, dict[str, Any]]:
        """As ``writeToInfrastructure`` posts it, with the headers that its runtime adds."""
        body = json.dumps(signals, separators=(",", ":"), ensure_ascii=False).encode()
        headers = {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {self._token}",
            "X-Marketplace-Contracts-Version": "0.1.0",
            "X-Idempotency-Key": f"EURUSD:5m:{slot}",
            "accept": "*/*",
            "accept-language": "*",
            "sec-fetch-mode": "cors",
            "user-agent": "node",
            "accept-encoding": "gzip, deflate",
        }
        connection = http.client.HTTPConnection(self._host, int(self._port), timeout=30)
        connection.request("POST", "/api/signals/store", body, headers)
        answer = connection.getresponse()
        told = answer.status, json.loads(answer.read())
        connection.close()
        return told


@pytest.fixture
def runner(edge: httpx.Client, deployment: SimpleNamespace, vendor: SimpleNamespace) -> Runner:
    """The runner, linked to the deployment."""
    return Runner(str(edge.base_url), deployment, vendor.id)


def stored(house: House, deployment: SimpleNamespace) -> list[tuple[str, str, str]]:
    with house.db.begin() as tx:
        found = text(
            "SELECT symbol, decision, vendor_id FROM signals WHERE deployment_id = :id ORDER BY received_at, row_no"
        )
        return [tuple(row) for row in tx.execute(found, {"id": deployment.id})]


def test_two_batches_in_one_slot_lose_nothing(
    runner: Runner, edge_house: House, deployment: SimpleNamespace, vendor: SimpleNamespace
):
    """Both are stored, each is acknowledged, and a retry of either is answered for itself."""
    slot = int(time.time()) // 5
    first = [runner.signal()]
    second = [runner.signal(symbol="GBPUSD", decision="BUY"), runner.signal(symbol="USDJPY", decision="SELL")]
    answers = [runner.write(batch, slot) for batch in (first, second, first, second)]
    assert [200] * 4 == [status for status, _ in answers]
    told = [answer["data"] for _, answer in answers]
    assert [True] * 4 == [answer["success"] for _, answer in answers]
    assert [(1, 0), (2, 0), (1, 0), (0, 2)] == [(data["accepted"], data["duplicates"]) for data in told]
    assert [None, True, None, True] == [data.get("idempotency_key_reused") for data in told]
    ids = [[receipt["signal_id"] for receipt in data["receipts"]] for data in told]
    assert (ids[0], ids[1]) == (ids[2], ids[3])
    expected = [("EURUSD", "HOLD"), ("GBPUSD", "BUY"), ("USDJPY", "SELL")]
    assert [(*row, vendor.id) for row in expected] == stored(edge_house, deployment)


def test_next_slot_is_another_key(runner: Runner, edge_house: House, deployment: SimpleNamespace):
    """The same signals in the next slot are told as duplicates, and stay one."""
    slot = int(time.time()) // 5
    batch = [runner.signal()]
    told = [runner.write(batch, number)[1]["data"] for number in (slot, slot + 1)]
    assert [(1, 0), (0, 1)] == [(data["accepted"], data["duplicates"]) for data in told]
    assert 1 == len(stored(edge_house, deployment))


def test_what_the_guide_s_curl_sends(runner: Runner, edge_house: House, deployment: SimpleNamespace):
    """Its row has neither timeframe nor version: it is told what is missing, and no error of ours."""
    status, answer = runner.write([{"symbol": "EURUSD", "decision": "BUY", "confidence": 0.8}], 1)
    (receipt,) = answer["data"]["receipts"]
    assert (200, "rejected") == (status, receipt["status"])
    assert all(name in receipt["error"] for name in ("timeframe", "model_version", "timestamp"))
    assert [] == stored(edge_house, deployment)
