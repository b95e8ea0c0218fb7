"""Requests that are well-formed and yet cannot be served: they get a sentence of 4xx, never a 500."""

from __future__ import annotations

import base64
import json
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

NUL = "\x00"
INSTANT = "2026-01-05T10:00:00Z"


@pytest.mark.parametrize(
    "path",
    [
        "/api/rounds/%00",
        "/api/rounds/a%00b/manifest",
        "/api/training/runs/%00",
        "/api/deployments/%00",
        "/api/signals?symbol=%00",
        "/api/signals?deployment_id=%00",
        "/api/consensus?symbol=%00",
        "/api/consensus/latest?symbol=%00",
    ],
)
def test_nul_in_a_url(edge: httpx.Client, vendor: SimpleNamespace, path: str):
    """Postgres has no NUL in its texts: that is the caller's fault, and said so."""
    response = edge.get(path, headers=vendor.headers)
    assert (422, "invalid_input") == (response.status_code, response.json()["code"])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/deployments", {"name": "n", "provider": "byoc", "model_id": NUL}),
        ("/api/deployments", {"name": "n", "provider": "byoc", "image": NUL}),
        ("/api/vendors/models", {"name": "n", "task": "signal", "version": "1", "description": NUL}),
        ("/api/vendors/models", {"name": "n", "task": "signal", "version": "1", "run_id": NUL}),
        ("/api/vendors/heartbeats", {"deployment_id": NUL, "status": "ready", "timestamp": INSTANT}),
    ],
)
def test_nul_in_a_body(edge: httpx.Client, vendor: SimpleNamespace, path: str, body: dict[str, Any]):
    """The same in a body, and the answer bears no SQL."""
    response = edge.post(path, json=body, headers=vendor.headers)
    assert (422, "invalid_input") == (response.status_code, response.json()["code"])
    assert "INSERT" not in response.text


@pytest.mark.parametrize("metrics", ['{"a":"\\u0000"}', '{"\\u0000":1}'])
def test_metrics_that_no_json_column_takes(edge: httpx.Client, deployment: SimpleNamespace, metrics: str):
    """A heartbeat's metrics are free, but they have to be storable."""
    body = f'{{"deployment_id":"{deployment.id}","status":"ready","timestamp":"{INSTANT}","metrics":{metrics}}}'
    response = edge.post("/api/vendors/heartbeats", content=body, headers=deployment.headers)
    assert (422, "invalid_input") == (response.status_code, response.json()["code"])


def test_a_body_too_deep_to_read(edge: httpx.Client, deployment: SimpleNamespace):
    """A body that no parser follows is malformed."""
    response = edge.post("/api/vendors/heartbeats", content='{"a":' * 5_000, headers=deployment.headers)
    assert (400, "malformed_json") == (response.status_code, response.json()["code"])


@pytest.mark.parametrize("place", ["[" * 20_000, json.dumps(["2026-01-01T00:00:00+00:00", "a\x00"])])
def test_foreign_cursor_of_runs(edge: httpx.Client, vendor: SimpleNamespace, place: str):
    """A cursor that was never ours is refused, whatever it unpacks to."""
    cursor = base64.urlsafe_b64encode(place.encode()).decode()
    response = edge.get("/api/training/runs", params={"cursor": cursor}, headers=vendor.headers)
    assert (422, "invalid_input") == (response.status_code, response.json()["code"])


def test_a_version_named_as_another_one_s_id(edge: httpx.Client, vendor: SimpleNamespace):
    """The id wins over the name, and neither breaks the route."""
    wanted = {"name": "m", "task": "signal", "version": "1"}
    first = edge.post("/api/vendors/models", json=wanted, headers=vendor.headers).json()["data"]
    twin = wanted | {"version": first["version_id"]}
    assert 200 == edge.post("/api/vendors/models", json=twin, headers=vendor.headers).status_code
    path = f"/api/vendors/models/{first['model_id']}/versions/{first['version_id']}"
    moved = edge.patch(path, json={"stage": "pilot"}, headers=vendor.headers).json()["data"]
    assert (first["version_id"], "pilot") == (moved["version_id"], moved["stage"])
