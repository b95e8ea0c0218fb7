"""From signals to receipts and pages, and from a model to the catalogue, over HTTP."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import httpx
import pyarrow as pa
import pytest

BAR = "2026-01-05T10:00:00Z"


def signal(symbol: str = "EURUSD", **changes: Any) -> dict[str, Any]:
    row = {"symbol": symbol, "timeframe": "1h", "decision": "BUY", "confidence": 0.75, "model_version": "1"}
    return row | {"timestamp": BAR} | changes


def push(edge: httpx.Client, deployment: SimpleNamespace, rows: list[dict[str, Any]], **headers: str) -> dict[str, Any]:
    response = edge.post("/api/signals/store", json=rows, headers=deployment.headers | headers)
    assert 200 == response.status_code, response.text
    data: dict[str, Any] = response.json()["data"]
    return data


def test_second_push_is_refused_as_duplicates(edge: httpx.Client, deployment: SimpleNamespace):
    """The receipts of a repeated batch name the first signals."""
    first = push(edge, deployment, [signal(), signal("GBPUSD")])
    again = push(edge, deployment, [signal(), signal("GBPUSD")])
    assert (2, 0) == (first["accepted"], first["duplicates"])
    assert (0, 2) == (again["accepted"], again["duplicates"])
    assert [r["signal_id"] for r in first["receipts"]] == [r["signal_id"] for r in again["receipts"]]


def test_two_honest_batches_in_one_slot(edge: httpx.Client, deployment: SimpleNamespace):
    """The guide's client sends two batches under one 5 s key: both are stored."""
    key = {"X-Idempotency-Key": "EURUSD:1h:353521440", "X-Marketplace-Contracts-Version": "0.1.0"}
    assert 1 == push(edge, deployment, [signal()], **key)["accepted"]
    second = push(edge, deployment, [signal("GBPUSD")], **key)
    assert (1, True) == (second["accepted"], second["idempotency_key_reused"])
    assert 1 == push(edge, deployment, [signal()], **key)["accepted"]  # the first answer again


def test_atomic_refuses_all_with_reasons(edge: httpx.Client, deployment: SimpleNamespace, vendor: SimpleNamespace):
    """One bad row, nothing stored, every reason told."""
    rows = [signal(), signal(confidence=7)]
    response = edge.post("/api/signals/store?atomic=true", json=rows, headers=deployment.headers)
    assert (422, [1]) == (response.status_code, response.json()["details"][0]["loc"])
    assert [] == edge.get("/api/signals", headers=vendor.headers).json()["data"]


def as_ndjson(rows: list[dict[str, Any]]) -> bytes:
    return b"\n".join(json.dumps(row).encode() for row in rows) + b"\n"


def as_arrow(rows: list[dict[str, Any]]) -> bytes:
    typed = [{**row, "timestamp": datetime(2026, 1, 5, 10, tzinfo=UTC)} for row in rows]
    table, sink = pa.Table.from_pylist(typed), io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


BULK: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "application/x-ndjson": as_ndjson,
    "application/vnd.apache.arrow.stream": as_arrow,
}


@pytest.mark.parametrize("media", BULK)
def test_bulk_formats_keep_the_same_rules(edge: httpx.Client, deployment: SimpleNamespace, media: str):
    """Rows in other clothes: the same identity, the same receipts."""
    body = BULK[media]([signal(), signal("GBPUSD"), signal("AUDUSD", confidence=9.0)])
    response = edge.post("/api/signals/store", content=body, headers={**deployment.headers, "Content-Type": media})
    data = response.json()["data"]
    assert (2, 1) == (data["accepted"], data["rejected"])
    assert 2 == push(edge, deployment, [signal(), signal("GBPUSD")])["duplicates"]


@pytest.mark.parametrize(
    ("media", "body"),
    [
        ("application/x-ndjson", b'{"a":1}\n{bad'),
        ("application/vnd.apache.arrow.stream", b"ARROW1"),
        ("application/json", b"7"),
    ],
)
def test_broken_bulk_bodies(edge: httpx.Client, deployment: SimpleNamespace, media: str, body: bytes):
    """A body that is not what it says is a clear 4xx."""
    response = edge.post("/api/signals/store", content=body, headers={**deployment.headers, "Content-Type": media})
    assert response.status_code in {400, 422}
    assert response.json()["success"] is False


def test_own_signals_page_by_cursor(
    edge: httpx.Client, deployment: SimpleNamespace, vendor: SimpleNamespace, new_vendor: Callable[[], SimpleNamespace]
):
    """All own signals by pages, none twice; another vendor sees none."""
    push(edge, deployment, [signal(f"S{n:02}") for n in range(25)])
    seen, cursor = [], None
    while True:
        params = {"limit": 10, **({"cursor": cursor} if cursor else {})}
        page = edge.get("/api/signals", params=params, headers=vendor.headers).json()
        seen += [entry["symbol"] for entry in page["data"]]
        cursor = page.get("next_cursor")
        if cursor is None:
            break
    assert sorted(seen) == [f"S{n:02}" for n in range(25)]
    assert [] == edge.get("/api/signals", headers=new_vendor().headers).json()["data"]
    assert 422 == edge.get("/api/signals", params={"cursor": "zzz"}, headers=vendor.headers).status_code


def test_model_appears_in_the_catalogue_at_pilot(
    edge: httpx.Client, deployment: SimpleNamespace, vendor: SimpleNamespace
):
    """Shadow is private, pilot is public; measured fields are null, not absent, until measured."""
    body = {"name": "trend", "task": "signal", "version": "1.0.0", "deployment_id": deployment.id}
    made = edge.post("/api/vendors/models", json=body, headers=vendor.headers).json()["data"]
    assert made == edge.post("/api/vendors/models", json=body, headers=vendor.headers).json()["data"]

    def entry() -> dict[str, Any] | None:
        return next((m for m in edge.get("/api/catalog").json()["data"] if m["id"] == made["model_id"]), None)

    assert entry() is None
    stage = f"/api/vendors/models/{made['model_id']}/versions/{made['version_id']}"
    assert 409 == edge.patch(stage, json={"stage": "prod"}, headers=vendor.headers).status_code
    assert 200 == edge.patch(stage, json={"stage": "pilot"}, headers=vendor.headers).status_code
    shown = entry()
    assert shown is not None
    assert (vendor.name, "pilot", None) == (shown["vendor"], shown["stage"], shown["last_oos_sharpe"])
    push(edge, deployment, [signal("EURCHF"), signal("EURGBP")])
    shown = entry()
    assert shown is not None
    assert (2, 0.75, ["EURCHF", "EURGBP"]) == (
        shown["total_predictions"],
        shown["avg_confidence"],
        shown["supported_symbols"],
    )


def test_heartbeat_and_status(
    edge: httpx.Client, deployment: SimpleNamespace, vendor: SimpleNamespace, new_vendor: Callable[[], SimpleNamespace]
):
    """A heartbeat moves the status; one for another deployment is refused."""
    beat = {"deployment_id": deployment.id, "status": "ready", "timestamp": BAR, "metrics": {"p99_ms": 3, "mine": "x"}}
    assert 200 == edge.post("/api/vendors/heartbeats", json=beat, headers=deployment.headers).status_code
    status = edge.get(f"/api/deployments/{deployment.id}/status", headers=vendor.headers).json()["data"]
    assert "ready" == status["status"]
    other = {**beat, "deployment_id": "dep_other"}
    assert 403 == edge.post("/api/vendors/heartbeats", json=other, headers=deployment.headers).status_code
    assert 404 == edge.post("/api/vendors/heartbeats", json=beat, headers=new_vendor().headers).status_code


def test_runpod_key_in_a_deployment_is_refused(edge: httpx.Client, vendor: SimpleNamespace):
    """Old clients send the provider's key here: refused on purpose, and never echoed."""
    body = {"name": "x", "provider": "byoc", "image": "i", "runpod_api_key": "rp_secret_value"}
    response = edge.post("/api/deployments", json=body, headers=vendor.headers)
    assert 422 == response.status_code
    assert "on purpose" in response.text
    assert "rp_secret_value" not in response.text
