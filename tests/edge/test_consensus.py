"""The consensus over HTTP: signals in, the blend out, and vendors' own models beside it."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from mp_kit.client.marketplace import Marketplace
from mp_kit.errors import InvalidInputError
from mp_kit.server.house import House
from mp_kit.server.services import consensus

BAR = "2026-01-05T10:00:00Z"
PARTS = {"a": {"decision": "SELL", "weight": 1.0, "confidence": 0.5}}


def row(symbol: str, **changes: Any) -> dict[str, Any]:
    said = {"symbol": symbol, "timeframe": "1h", "decision": "BUY", "confidence": 0.75, "model_version": "1"}
    return said | {"timestamp": BAR} | changes


@pytest.fixture
def model(edge: httpx.Client, deployment: SimpleNamespace, vendor: SimpleNamespace) -> str:
    """Id of the deployment's model, in pilot."""
    wanted = {"name": "m", "task": "consensus", "version": "1", "deployment_id": deployment.id}
    made = edge.post("/api/vendors/models", json=wanted, headers=vendor.headers).json()["data"]
    stage = f"/api/vendors/models/{made['model_id']}/versions/1"
    assert 200 == edge.patch(stage, json={"stage": "pilot"}, headers=vendor.headers).status_code
    return str(made["model_id"])


def refresh(house: House) -> None:
    with house.db.begin() as tx:
        while consensus.refresh(tx):
            pass


def latest(edge: httpx.Client, symbol: str, **query: str) -> dict[str, Any]:
    answer = edge.get("/api/consensus/latest", params={"symbol": symbol, "timeframe": "1h", **query})
    assert 200 == answer.status_code, answer.text
    found: dict[str, Any] = answer.json()["data"]
    return found


@pytest.mark.usefixtures("model")
def test_names_the_vendor_and_what_it_moved(
    edge: httpx.Client, edge_house: House, deployment: SimpleNamespace, vendor: SimpleNamespace
):
    """After a refresh the public consensus says who moved it, and by how much."""
    edge.post("/api/signals/store", json=[row("CHFJPY")], headers=deployment.headers)
    refresh(edge_house)
    told = latest(edge, "CHFJPY")
    assert ("BUY", 0.75, "confidence_skill") == (told["decision"], told["confidence"], told["method"])
    part = told["contributions"][deployment.id]
    assert (vendor.name, 1.0, 0.75, 1.0) == (part["vendor"], part["weight"], part["value"], part["swing"])
    assert 404 == edge.get("/api/consensus/latest", params={"symbol": "NONE"}).status_code


def test_signals_of_a_deployment_without_a_model_are_not_blended(
    edge: httpx.Client, edge_house: House, deployment: SimpleNamespace
):
    """They are stored, and wait for a version in pilot."""
    sent = edge.post("/api/signals/store", json=[row("NOKSEK")], headers=deployment.headers)
    assert 1 == sent.json()["data"]["accepted"]
    refresh(edge_house)
    assert [] == edge.get("/api/consensus", params={"symbol": "NOKSEK"}).json()["data"]


def test_unknown_method(edge: httpx.Client):
    """422 with the place and those that there are."""
    answer = edge.get("/api/consensus", params={"method": "median"})
    told = answer.json()
    assert (422, ["query", "method"]) == (answer.status_code, told["details"][0]["loc"])
    assert "confidence_skill" in told["hint"]


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("path", ["/api/consensus", "/api/consensus/latest"])
def test_answers_may_be_kept_for_seconds(edge: httpx.Client, edge_house: House, deployment: SimpleNamespace, path: str):
    """A public cache may answer the crowd; an error is never kept."""
    edge.post("/api/signals/store", json=[row("CADCHF")], headers=deployment.headers)
    refresh(edge_house)
    assert "max-age=5, public" == edge.get(path).headers["cache-control"]
    assert "cache-control" not in edge.get(path, params={"method": "median"}).headers


def test_own_consensus_is_stored_once_and_shown(
    edge: httpx.Client, edge_house: House, deployment: SimpleNamespace, vendor: SimpleNamespace, model: str
):
    """Receipts as for signals; shown under the model's method, with whose it is."""
    said = [row("EURNOK", contributions=PARTS, decision="SELL"), row("EURSEK", contributions={})]
    first = edge.post("/api/consensus/store", json=said, headers=deployment.headers).json()["data"]
    assert ["accepted", "rejected"] == [receipt["status"] for receipt in first["receipts"]]
    again = edge.post("/api/consensus/store", json=said[0], headers=deployment.headers).json()["data"]
    assert (0, 1) == (again["accepted"], again["duplicates"])
    refresh(edge_house)
    told = latest(edge, "EURNOK", method=f"vendor:{model}")
    assert ("SELL", vendor.name, deployment.id) == (told["decision"], told["vendor"], told["deployment_id"])
    assert {"a": PARTS["a"]} == told["contributions"]


def test_lines_are_taken(edge: httpx.Client, deployment: SimpleNamespace):
    """One JSON document a line."""
    body = "\n".join(json.dumps(row(symbol, contributions=PARTS)) for symbol in ("AUDNOK", "AUDSEK"))
    headers = deployment.headers | {"Content-Type": "application/x-ndjson"}
    told = edge.post("/api/consensus/store", content=body, headers=headers).json()["data"]
    assert 2 == told["accepted"]


@pytest.mark.parametrize(
    ("media", "body", "status"),
    [
        ("application/json", b"{", 400),
        ("application/json", b"7", 422),
        ("application/json", b"[]", 422),
        ("application/vnd.apache.arrow.stream", b"ARROW1", 415),
    ],
)
def test_broken_bodies(edge: httpx.Client, deployment: SimpleNamespace, media: str, body: bytes, status: int):
    """A clear 4xx, and nothing stored."""
    headers = deployment.headers | {"Content-Type": media}
    answer = edge.post("/api/consensus/store", content=body, headers=headers)
    assert (status, False) == (answer.status_code, answer.json()["success"])


def test_atomic_and_claims(edge: httpx.Client, deployment: SimpleNamespace):
    """All or none with reasons; a claim against the token is 403."""
    rows = [row("EURCZK", contributions=PARTS), row("EURCZK", contributions=PARTS, confidence=7)]
    answer = edge.post("/api/consensus/store?atomic=true", json=rows, headers=deployment.headers)
    assert (422, [1]) == (answer.status_code, answer.json()["details"][0]["loc"])
    claim = [row("EURCZK", contributions=PARTS, vendor_id="ven_other")]
    refused = edge.post("/api/consensus/store", json=claim, headers=deployment.headers)
    assert (403, "attribution_mismatch") == (refused.status_code, refused.json()["code"])


def test_vendor_key_may_not_store(edge: httpx.Client, vendor: SimpleNamespace):
    """A consensus comes from a deployment."""
    assert 403 == edge.post("/api/consensus/store", json=[row("EURUSD")], headers=vendor.headers).status_code
    assert 401 == edge.post("/api/consensus/store", json=[row("EURUSD")]).status_code


def test_client_pushes_and_reads(
    edge: httpx.Client, edge_house: House, deployment: SimpleNamespace, vendor: SimpleNamespace, model: str
):
    """The notebook's lines: push, again, and read back by method."""
    with Marketplace(str(edge.base_url), vendor.key) as market:
        said = row("USDHUF", contributions=PARTS)
        assert 1 == market.consensus.push([said], token=deployment.token).accepted
        assert 1 == market.consensus.push([said], token=deployment.token).duplicates
        refresh(edge_house)
        found = market.consensus.list("USDHUF", "1h", method=f"vendor:{model}", start="2026-01-05", end="2026-01-06")
        assert [("BUY", vendor.name)] == [(bar.decision, bar.vendor) for bar in found]
        assert [] == list(market.consensus.list("USDHUF", "1h", start="2026-01-06"))
        assert "Consensus USDHUF" in repr(market.consensus.latest("USDHUF", "1h", f"vendor:{model}"))
        with pytest.raises(InvalidInputError, match="contributions"):
            market.consensus.push([row("USDHUF")], token=deployment.token)
        with pytest.raises(InvalidInputError, match="there is none"):
            market.consensus.push([], token=deployment.token)
