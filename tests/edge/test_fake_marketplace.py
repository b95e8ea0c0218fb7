"""The fake marketplace beside the real edge: the same routes, the same answers, the same refusals.

Vendors test against the fake, so whatever it knows better or worse than the edge is a wrong test of theirs.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from jsonschema import Draft202012Validator

from mp_kit.testing import FakeMarketplace
from mp_kit.testing.routing import Who
from tests.support.gates import report

BAR = "2026-01-05T10:00:00Z"
JOB = "reports of a job: the trainer is tested at the edge, and a fake job would report to itself"
DELIBERATE = {
    "POST /api/training/runs/{run_id}/heartbeat": JOB,
    "POST /api/training/runs/{run_id}/logs": JOB,
    "POST /api/training/runs/{run_id}/artifacts": JOB,
    "POST /api/training/runs/{run_id}/finish": JOB,
}
"""Routes of the edge that the fake does not answer, and why."""


@pytest.fixture(scope="module")
def document(edge: httpx.Client) -> dict[str, Any]:
    """What the edge says of itself."""
    found: dict[str, Any] = edge.get("/openapi.json").json()
    return found


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """``METHOD /path`` of the API, and what the document says of it."""
    return {
        f"{method.upper()} {path}": operation
        for path, item in document["paths"].items()
        if path.startswith("/api/")
        for method, operation in item.items()
        if "operationId" in operation
    }


def client_of(fake: FakeMarketplace) -> httpx.Client:
    return httpx.Client(base_url=fake.url, transport=fake.transport)


def test_fake_answers_every_route(document: dict[str, Any]):
    """Asked with a vendor's key, and with a deployment's token, no route of the edge is unknown to it."""
    fake = FakeMarketplace()
    bearer = {"Authorization": f"Bearer {fake.api_key}"}
    unknown = set()
    with client_of(fake) as http:
        for name in operations(document):
            method, path = name.split()
            answer = http.request(method, path.replace("{", "").replace("}", ""), headers=bearer)
            if answer.status_code >= 400 and answer.json()["code"] in {"route_not_found", "method_not_allowed"}:
                unknown.add(name)
    assert set(DELIBERATE) == unknown


def test_fake_has_no_route_of_its_own(document: dict[str, Any]):
    """What works against it works against the edge."""
    own = {f"{route.method} {route.path}" for route in FakeMarketplace().routes if route.path.startswith("/api/")}
    assert set() == own - set(operations(document))


def test_fake_asks_for_a_token_where_the_edge_does(document: dict[str, Any]):
    """Public routes are public in both, the others in neither."""
    public = {
        f"{route.method} {route.path}": route.who is Who.EVERYBODY
        for route in FakeMarketplace().routes
        if route.path.startswith("/api/")
    }
    told = {name: operation["security"] == [] for name, operation in operations(document).items() if name in public}
    assert told == public


@dataclass(frozen=True)
class Side:
    """One of the two marketplaces, its vendor and a deployment that the vendor runs."""

    http: httpx.Client
    vendor: dict[str, str]
    deployment_id: str
    token: dict[str, str]

    def call(self, method: str, path: str, body: Any = None, *, status: int = 200, **more: Any) -> Any:
        """A request as the vendor; the data of its answer, or the whole refusal."""
        more = {"headers": self.vendor} | more
        answer = self.http.request(method, path, **({} if body is None else {"json": body}) | more)
        assert status == answer.status_code, f"{method} {path}: {answer.text}"
        said = answer.json()
        return said["data"] if said["success"] else said

    def push(self, path: str, rows: Any, **query: str) -> dict[str, Any]:
        """Rows as the deployment."""
        found: dict[str, Any] = self.call("POST", path, rows, headers=self.token, params=query)
        return found


@pytest.fixture(params=["edge", "fake"])
def side(request: pytest.FixtureRequest) -> Iterator[Side]:
    """Each in turn."""
    if request.param == "edge":
        vendor: SimpleNamespace = request.getfixturevalue("vendor")
        made: SimpleNamespace = request.getfixturevalue("deployment")
        yield Side(request.getfixturevalue("edge"), vendor.headers, made.id, made.headers)
        return
    fake = FakeMarketplace()
    with client_of(fake) as http:
        headers = {"Authorization": f"Bearer {fake.api_key}"}
        body = {"name": "live", "provider": "byoc", "image": "none"}
        placed = http.post("/api/deployments", json=body, headers=headers).json()["data"]
        token = {"Authorization": f"Bearer {placed['infra_token']}"}
        yield Side(http, headers, placed["deployment_id"], token)


def row(symbol: str = "EURUSD", **changes: Any) -> dict[str, Any]:
    said = {"symbol": symbol, "timeframe": "1h", "decision": "BUY", "confidence": 0.75, "model_version": "1"}
    return said | {"timestamp": BAR} | changes


def statuses(told: dict[str, Any]) -> list[str]:
    return [receipt["status"] for receipt in told["receipts"]]


PARTS = {"a": {"decision": "BUY", "weight": 1.0, "confidence": 0.5}}


@pytest.mark.parametrize(("path", "more"), [("signals", {}), ("consensus", {"contributions": PARTS})])
def test_rows_are_stored_exactly_once(side: Side, path: str, more: dict[str, Any]):
    """Accepted, duplicate, conflict, rejected; all or none on demand; a wrong claim fails the request."""
    where = f"/api/{path}/store"
    rows = [row(**more), row("EURJPY", **more), row(confidence=2, **more), row("bad symbol", **more)]
    assert ["accepted", "accepted", "rejected", "rejected"] == statuses(side.push(where, rows))
    again = side.push(where, [rows[0], rows[1] | {"decision": "SELL"}, row("EURGBP", **more)])
    assert ["duplicate", "conflict", "accepted"] == statuses(again)
    fresh, ahead = row("EURCHF", **more), row("EURAUD", **more, event_time="2099-01-01T00:00:00Z")
    self_made = {"headers": side.token, "params": {"atomic": "true"}}
    assert "invalid_input" == side.call("POST", where, [fresh, ahead], status=422, **self_made)["code"]
    claim = [fresh | {"vendor_id": "ven_other"}]
    assert "attribution_mismatch" == side.call("POST", where, claim, status=403, headers=side.token)["code"]
    assert ["accepted"] == statuses(side.push(where, fresh))
    assert 403 == side.http.post(where, json=[fresh], headers=side.vendor).status_code


def test_a_key_used_twice_gives_the_first_answer(side: Side):
    """The same bytes again change nothing; others under the key are processed, and it is said."""
    headers = side.token | {"X-Idempotency-Key": "slot-1", "Content-Type": "application/json"}

    def push(symbol: str) -> dict[str, Any]:
        content = f'[{{"contributions":{{"a":{{"decision":"BUY","weight":1}}}},"symbol":"{symbol}","timeframe":"1h",'
        content += f'"decision":"BUY","confidence":1,"model_version":"1","timestamp":"{BAR}"}}]'
        found: dict[str, Any] = side.call("POST", "/api/consensus/store", content=content, headers=headers)
        return found

    first = push("EURUSD")
    assert first == push("EURUSD")
    other = push("EURJPY")
    assert (1, True) == (other["accepted"], other["idempotency_key_reused"])


def test_dialects_of_signals(side: Side):
    """The third one, lines, and an Arrow stream are the same signals; a dry run leaves none."""
    old = {"owner": None, "symbol": "EURUSD", "timeframe": "1h", "bar_ts": BAR, "decision": "BUY", "confidence": 0.75}
    old |= {"model_id": "m", "meta": {"model_version": "1"}}
    dry = side.token | {"X-Marketplace-Dry-Run": "true"}
    told = side.call("POST", "/api/signals/store", [row()], headers=dry)
    assert (["accepted"], True) == (statuses(told), "batch_receipt" in told)
    assert [] == side.call("GET", "/api/signals", params={"deployment_id": side.deployment_id})
    assert ["accepted"] == statuses(side.push("/api/signals/store", [old]))
    sink = io.BytesIO()
    table = pa.Table.from_pylist([row()])
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    for kind, content in (
        ("application/x-ndjson", httpx.Request("POST", "http://x", json=row()).content + b"\n"),
        ("application/vnd.apache.arrow.stream", sink.getvalue()),
    ):
        headers = side.token | {"Content-Type": kind}
        assert ["duplicate"] == statuses(side.call("POST", "/api/signals/store", content=content, headers=headers))
    headers = side.token | {"Content-Type": "text/csv"}
    assert "unsupported_media_type" == side.call("POST", "/api/signals/store", status=415, headers=headers)["code"]
    assert 1 == len(side.call("GET", "/api/signals/receipts", params={"deployment_id": side.deployment_id}))


def test_stages_and_gates(side: Side):
    """The steps that there are, the gates by name, and what a model stands on."""
    wanted = {"name": "m", "task": "signal", "version": "1", "deployment_id": side.deployment_id}
    made = side.call("POST", "/api/vendors/models", wanted)
    assert made == side.call("POST", "/api/vendors/models", wanted)
    version = f"/api/vendors/models/{made['model_id']}/versions/1"
    assert 409 == side.http.patch(version, json={"stage": "prod"}, headers=side.vendor).status_code
    assert "pilot" == side.call("PATCH", version, {"stage": "pilot", "reason": "to be heard"})["stage"]
    refused = side.call("PATCH", version, {"stage": "prod"}, status=409)
    names = ["validated", "heartbeats", "scores", "approval"]
    assert ("conflict", names) == (refused["code"], [one["loc"][0] for one in refused["details"]])
    said = report().model_dump(mode="json")
    noted = side.call("POST", f"{version}/validations", said)
    assert noted == side.call("POST", f"{version}/validations", said)
    assert (
        422 == side.http.post(f"{version}/validations", json=said | {"passed": False}, headers=side.vendor).status_code
    )
    beat = {"deployment_id": side.deployment_id, "status": "ready", "timestamp": BAR}
    side.call("POST", "/api/vendors/heartbeats", beat, headers=side.token)
    [found] = side.call("GET", f"/api/vendors/models/{made['model_id']}/lineage")["versions"]
    assert ["shadow", "pilot"] == [step["to_stage"] for step in found["history"]]
    assert {"validated"} <= {gate["name"] for gate in found["gates"] if gate["met"]}
    assert [(side.deployment_id, 0)] == [(one["deployment_id"], one["signals"]) for one in found["deployments"]]
    [entry] = [one for one in side.call("GET", "/api/catalog") if one["id"] == made["model_id"]]
    assert ("pilot", None, 1) == (entry["stage"], entry["last_oos_sharpe"], entry["deployment_count"])


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PATCH", "/api/deployments/{id}", {"wanted": "stopped"}, 404),
        ("PATCH", "/api/deployments/{id}", {}, 422),
        ("GET", "/api/deployments/{id}/logs", None, 404),
        ("GET", "/api/deployments/{id}/model", None, 404),
        ("GET", "/api/deployments/{id}/status", None, 200),
        ("GET", "/api/deployments/dep_none", None, 404),
        ("POST", "/api/deployments", {"name": "live", "provider": "byoc"}, 409),
        ("POST", "/api/deployments", {"name": "hosted", "provider": "local", "model_id": "mod_none"}, 404),
        ("PUT", "/api/deployments", {}, 405),
        ("GET", "/api/consensus?method=median", None, 422),
        ("GET", "/api/consensus?timeframe=7m", None, 422),
        ("GET", "/api/consensus/latest?symbol=NONE", None, 404),
        ("GET", "/api/signals?from=2026-01-01T00:00:00", None, 422),
        ("GET", "/api/leaderboard", None, 200),
        ("GET", "/api/vendors/scores", None, 200),
        ("POST", "/api/training/runs/run_none/environment", None, 404),
        ("POST", "/api/signals/drops", {"name": "d", "size_bytes": 1, "sha256": "0" * 64}, 403),
        ("POST", "/api/vendors/login", {"api_key": "vk_wrong"}, 401),
    ],
)
def test_refusals(side: Side, method: str, path: str, body: Any, status: int):
    """As a vendor meets them: absent, not the marketplace's to run, against the contract."""
    side.call(method, path.replace("{id}", side.deployment_id), body, status=status)


def test_tokens_are_told_rotated_and_revoked(side: Side):
    """Introspection, an overlap, the end of all; a session by a key, and whether a key is good."""
    where = f"/api/deployments/{side.deployment_id}/infra-token"
    fresh = side.call("POST", where, {"rotate": True, "overlap_seconds": 600, "symbols": ["EURUSD"]})
    bounded = {"Authorization": f"Bearer {fresh['infra_token']}"}
    told = side.call("POST", "/api/tokens/introspect", {"token": fresh["infra_token"]})
    assert (True, side.deployment_id) == (told["active"], told["deployment_id"])
    told = side.call("POST", "/api/signals/store", [row(), row("EURJPY")], headers=bounded)
    assert ["accepted", "rejected"] == statuses(told)
    assert {"revoked": 2} == side.call("DELETE", where)
    assert {"active": False} == side.call("POST", "/api/tokens/introspect", {"token": fresh["infra_token"]})
    key = {"api_key": side.vendor["Authorization"].removeprefix("Bearer ")}
    session = {"Authorization": f"Bearer {side.call('POST', '/api/vendors/login', key)['token']}"}
    me = side.call("GET", "/api/vendors/me", headers=session)
    checked = side.call("POST", "/api/marketplace/vendor/auth/validate", key)
    assert (me["id"], True) == (checked["vendor_id"], checked["valid"])
    assert {"valid": False} == side.call("POST", "/api/marketplace/vendor/auth/validate", {"api_key": "vk_wrong"})


def dropped() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([row(), row(confidence=2.0), row("EURJPY")]), sink)
    return sink.getvalue()


def test_drops_are_announced(side: Side):
    """A URL for exactly these bytes; announced again it is the same drop."""
    body = dropped()
    wanted = {"name": "d1", "size_bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    target = side.call("POST", "/api/signals/drops", wanted, headers=side.token)
    assert ("awaited", 0) == (target["drop"]["state"], target["drop"]["rows"])
    assert target["drop"]["name"] == side.call("POST", "/api/signals/drops", wanted, headers=side.token)["drop"]["name"]
    assert ["d1"] == [one["name"] for one in side.call("GET", "/api/signals/drops", params={"name": "d1"})]
    putting = httpx.put if target["url"].startswith("http://127") else side.http.put
    assert "integrity" == putting(target["url"], content=body[:-1]).json()["code"]
    assert 200 == putting(target["url"], content=body).status_code


@pytest.fixture
def lived() -> tuple[FakeMarketplace, dict[str, str]]:
    """A fake in which much has happened, and what stands in place of the names in paths."""
    fake = FakeMarketplace()
    with client_of(fake) as http:
        vendor = {"Authorization": f"Bearer {fake.api_key}"}
        run = post(http, vendor, "/api/training/runs", {"round_id": "current", "task": "signal"})["run_id"]
        for _ in range(3):
            http.get(f"/api/training/runs/{run}", headers=vendor)
        wanted = {"name": "trend", "task": "signal", "version": "1", "run_id": run}
        model = post(http, vendor, "/api/vendors/models", wanted)["model_id"]
        version = f"/api/vendors/models/{model}/versions/1"
        assert http.patch(version, json={"stage": "pilot"}, headers=vendor).is_success
        post(http, vendor, f"{version}/validations", report().model_dump(mode="json"))
        fake.models.approve(model, "1")
        order = {"name": "live", "provider": "local", "model_id": model}
        made = post(http, vendor, "/api/deployments", order)
        token = {"Authorization": f"Bearer {made['infra_token']}"}
        post(http, token, "/api/signals/store", [row(), row("EURJPY", event_time=BAR, timestamp=BAR)])
        post(http, token, "/api/consensus/store", [row(contributions=PARTS)])
        body = dropped()
        drop = {"name": "d1", "size_bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
        http.put(post(http, token, "/api/signals/drops", drop)["url"], content=body)
        assert http.put("/api/vendors/connections/runpod", json={"value": "rpa_" + "x" * 30}, headers=vendor).is_success
        hook = {"url": "https://hooks.example.com/x", "events": ["run.finished"]}
        names = {"webhook_id": post(http, vendor, "/api/vendors/webhooks", hook)["id"], "name": "runpod"}
    return (
        fake,
        names | {"run_id": run, "model_id": model, "deployment_id": made["deployment_id"], "round_id": "current"},
    )


def post(http: httpx.Client, headers: dict[str, str], path: str, body: Any) -> Any:
    answer = http.post(path, json=body, headers=headers)
    assert 200 == answer.status_code, answer.text
    return answer.json()["data"]


def test_answers_of_the_fake_fit_the_document(document: dict[str, Any], lived: tuple[FakeMarketplace, dict[str, str]]):
    """Every GET that there is, about things that are there, answered as the edge's own schema says."""
    fake, names = lived
    with client_of(fake) as http:
        for name, operation in operations(document).items():
            method, path = name.split()
            if method != "GET":
                continue
            query = {"symbol": "EURUSD"} if path.endswith("latest") else {}
            answer = http.get(path.format(**names), params=query, headers={"Authorization": f"Bearer {fake.api_key}"})
            assert 200 == answer.status_code, f"{name}: {answer.text}"
            content = operation["responses"]["200"].get("content", {}).get("application/json", {})
            schema = {**content.get("schema", {}), "components": document["components"]}
            assert [] == [
                f"{name}: {e.json_path} {e.message}" for e in Draft202012Validator(schema).iter_errors(answer.json())
            ]
