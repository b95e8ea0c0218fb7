"""From a finished run to a server that the marketplace runs here, its signals, and prod: over a real edge."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from mp_kit.contracts import DeploymentRequest, Task
from mp_kit.server.house import House
from mp_kit.server.providers.runpod_hosting import RunPodHost
from mp_kit.server.providers.runpod_pod_hosting import PodHost
from mp_kit.server.services import consensus, deployments, hostings, stray_servers
from mp_kit.server.services.hosting_keeper import Keeper, turn
from mp_kit.server.services.ids import new_id
from mp_kit.server.services.runs_artifacts import artifact_key
from mp_kit.serving.reference import write_reference
from mp_kit.testing.fake_runpod import Pace
from tests.support.gates import report
from tests.support.runpods import checked
from tests.support.servers import windows

KEY = "rpa_of_a_vendor_in_a_test"
RUN = """INSERT INTO training_runs (id, vendor_id, round_id, task, provider, state, body_sha256, finished_at)
         VALUES (:run, :vendor, :round, 'signal', 'local', 'succeeded', '', now())"""
ROUND = """INSERT INTO dataset_rounds
           (id, name, fingerprint, manifest, manifest_sha256, manifest_key_id, manifest_signature)
           VALUES (:round, 'r', :round, '', '', 'k', '')"""
FILE = """INSERT INTO run_artifacts (run_id, name, size_bytes, sha256, object_key, uploaded_at)
          VALUES (:run, :name, :size, :sha, :key, now())"""


@pytest.fixture
def run_id(edge_house: House, vendor: SimpleNamespace, tmp_path: Path) -> str:
    """A run that succeeded, with a model that is a published rule."""
    write_reference(Task.SIGNAL, tmp_path)
    run, round_id = new_id("run"), new_id("rnd")
    with edge_house.db.begin() as tx:
        tx.execute(text("INSERT INTO signing_keys (id, public_key) VALUES ('k', '') ON CONFLICT DO NOTHING"))
        tx.execute(text(ROUND), {"round": round_id})
        tx.execute(text(RUN), {"run": run, "vendor": vendor.id, "round": round_id})
        for path in tmp_path.iterdir():
            content, key = path.read_bytes(), artifact_key(run, path.name)
            edge_house.store.put_bytes(key, content)
            facts = {"run": run, "name": path.name, "size": len(content), "key": key}
            tx.execute(text(FILE), facts | {"sha": hashlib.sha256(content).hexdigest()})
    return run


@pytest.fixture
def keeper(edge_house: House) -> Iterator[Keeper]:
    """The keeper; whatever it started is ended."""
    made = Keeper(edge_house.db, edge_house.hosts, edge_house.tokens, edge_house.settings.base_url)
    yield made
    with edge_house.db.begin() as tx:
        tx.execute(text("UPDATE hostings SET wanted = 'removed'"))
        tx.execute(text("UPDATE hostings SET state = 'removed' WHERE state IN ('stopped', 'failed')"))
    until(made, lambda: not alive(edge_house))


def alive(house: House) -> int:
    with house.db.begin() as tx:
        return int(tx.execute(text("SELECT count(*) FROM hostings WHERE state <> 'removed'")).scalar_one())


def until(keeper: Keeper, done: Callable[[], Any]) -> Any:
    """Has the keeper look until something is so."""
    for _ in range(600):
        with keeper.db.begin() as tx:
            tx.execute(text("UPDATE hostings SET next_look_at = now()"))
        turn(keeper)
        if found := done():
            return found
        time.sleep(0.1)
    pytest.fail("it never came")


def test_from_a_run_to_prod(
    edge: httpx.Client, edge_house: House, vendor: SimpleNamespace, run_id: str, keeper: Keeper
):
    """Registered, deployed here, heard of, asked, blended; prod opens when its last gate does."""

    def call(method: str, path: str, body: Any = None, status: int = 200) -> Any:
        answer = edge.request(method, path, json=body, headers=vendor.headers)
        assert status == answer.status_code, answer.text
        return answer.json().get("data", answer.json())

    wanted = {"name": "trend", "task": "signal", "version": "1", "run_id": run_id}
    model = call("POST", "/api/vendors/models", wanted)["model_id"]
    version = f"/api/vendors/models/{model}/versions/1"
    call("PATCH", version, {"stage": "pilot"})
    made = call("POST", "/api/deployments", {"name": "live", "provider": "local", "model_id": model})
    where = f"/api/deployments/{made['deployment_id']}"
    ready = until(keeper, lambda: (seen := call("GET", where))["status"] == "ready" and seen)
    assert ("online", "running") == (ready["liveness"], ready["hosting"]["state"])

    window = windows(symbols=("EURUSD",)).tables["EURUSD"]
    bars = [
        [time_.timestamp(), *row]
        for time_, *row in zip(
            *(window[name].to_pylist() for name in ("timestamp", "open", "high", "low", "close", "volume")), strict=True
        )
    ]
    question = {"symbol": "EURUSD", "timeframe": "1h", "ohlcv": bars}
    answer = httpx.post(f"{ready['endpoint']}/infer", json=question, timeout=30)
    assert (200, "1") == (answer.status_code, answer.json()["model_version"]), answer.text
    [said] = until(keeper, lambda: call("GET", f"/api/signals?deployment_id={made['deployment_id']}"))
    assert answer.json()["decision"] == said["decision"]
    with edge_house.db.begin() as tx:
        consensus.refresh(tx)
    blended = edge.get("/api/consensus/latest", params={"symbol": "EURUSD", "timeframe": "1h"}).json()["data"]
    assert made["deployment_id"] in str(blended["contributions"])
    assert call("GET", f"{where}/logs")["lines"]

    refused = call("PATCH", version, {"stage": "prod"}, 409)
    assert ["validated", "scores", "approval"] == [one["loc"][0] for one in refused["details"]]
    call("POST", f"{version}/validations", report().model_dump(mode="json"))
    [found] = call("GET", f"/api/vendors/models/{model}/lineage")["versions"]
    assert (run_id, 2, 1) == (
        found["run"]["run_id"],
        len(found["run"]["artifacts"]),
        found["deployments"][0]["signals"],
    )
    assert {"validated": True, "heartbeats": True, "scores": False, "approval": False} == {
        gate["name"]: gate["met"] for gate in found["gates"]
    }

    call("PATCH", where, {"wanted": "stopped"})
    until(keeper, lambda: call("GET", where)["hosting"]["state"] == "stopped")
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{ready['endpoint']}/health", timeout=5)


def test_on_runpod_a_request_wakes_it_and_its_worker_answers(
    edge: httpx.Client, edge_house: House, vendor: SimpleNamespace, run_id: str, tmp_path: Path
):
    """An endpoint on the vendor's own account: asleep, woken, scaled, looked into, removed; the key never shows."""
    pace = Pace(provisioning=0, pull=0, restart=0.05, grace=0.2)
    with checked({KEY: 100}, pace=pace, folder=tmp_path / "pods", patience=(60, 60)) as fake:
        options = {"image": "mp-kit/trainer:1", "prefix": "mp-test", "api_url": edge_house.settings.base_url}
        host = RunPodHost(lambda _: KEY, base_url=fake.url, settle_seconds=0.2, **options)
        keeper = Keeper(edge_house.db, {("runpod", "endpoint"): host}, edge_house.tokens, edge_house.settings.base_url)
        wanted = {"name": "trend", "task": "signal", "version": "1", "run_id": run_id}
        model = edge.post("/api/vendors/models", json=wanted, headers=vendor.headers).json()["data"]["model_id"]
        order = DeploymentRequest(name="cloud", provider="runpod", model_id=model)
        with edge_house.db.begin() as tx:
            made = deployments.create(
                tx, edge_house.tokens, vendor.id, order, actor="test", hosts={("runpod", "endpoint"): host}
            )
        where = f"/api/deployments/{made.deployment_id}"

        def seen() -> Any:
            return edge.get(where, headers=vendor.headers).json()["data"]

        asleep = until(keeper, lambda: seen()["hosting"].get("detail") == "no worker" and seen())
        assert "sleeps" in asleep["words"]
        headers = {"Authorization": f"Bearer {KEY}"}
        question = {"symbol": "EURUSD", "timeframe": "1h", "ohlcv": windows().rows("EURUSD", 650)}
        answer = httpx.post(f"{asleep['endpoint']}/infer", json=question, headers=headers, timeout=60)
        assert (200, "1") == (answer.status_code, answer.json()["model_version"])
        until(keeper, lambda: seen()["hosting"]["workers"].get("idle") == 1 and seen()["liveness"] == "online")
        assert any(
            "listening" in line
            for line in hostings.logs(
                edge_house.db.begin, {("runpod", "endpoint"): host}, vendor.id, made.deployment_id, 50
            )
        )
        assert KEY not in edge.get(where, headers=vendor.headers).text
        edge.patch(where, json={"wanted": "removed"}, headers=vendor.headers)
        until(keeper, lambda: not alive(edge_house))
        assert [] == [one for one in fake.endpoints if not one.deleted]
        host.close()


def test_in_a_pod_it_answers_its_own_and_nobody_else(
    edge: httpx.Client,
    edge_house: House,
    vendor: SimpleNamespace,
    run_id: str,
    deployment: SimpleNamespace,
    tmp_path: Path,
):
    """A pod at a public address: what it costs is told, callers show a token, strays are swept, its end is the end."""
    pace = Pace(provisioning=0, pull=0, restart=0.05, grace=0.2)
    with checked({KEY: 100}, pace=pace, folder=tmp_path / "pods") as fake:
        urls = {"base_url": fake.url, "proxy_url": fake.proxy_url, "api_url": edge_house.settings.base_url}
        waits = {"settle_seconds": 0.2, "list_seconds": 0.0, "log_seconds": 0.2}
        host = PodHost(lambda _: KEY, image="mp-kit/trainer:1", prefix="mp-test", **urls, **waits)
        hosts = {("runpod", "pod"): host}
        keeper = Keeper(edge_house.db, hosts, edge_house.tokens, edge_house.settings.base_url)
        wanted = {"name": "trend", "task": "signal", "version": "1", "run_id": run_id}
        model = edge.post("/api/vendors/models", json=wanted, headers=vendor.headers).json()["data"]["model_id"]
        order = DeploymentRequest(name="pod", kind="pod", max_price_per_hour=0.1, model_id=model)
        with edge_house.db.begin() as tx:
            made = deployments.create(tx, edge_house.tokens, vendor.id, order, actor="test", hosts=hosts)
        where = f"/api/deployments/{made.deployment_id}"

        def seen() -> Any:
            return edge.get(where, headers=vendor.headers).json()["data"]

        ready = until(keeper, lambda: (now := seen())["hosting"]["workers"].get("running") == 1 and now)
        assert ("pod", 0.06, 0.1) == tuple(
            ready["hosting"][name] for name in ("kind", "price_per_hour", "max_price_per_hour")
        )
        question = {"symbol": "EURUSD", "timeframe": "1h", "ohlcv": windows().rows("EURUSD", 650)}

        def ask(**headers: str) -> httpx.Response:
            return httpx.post(f"{ready['endpoint']}/infer", json=question, headers=headers, timeout=60)

        assert [401, 403] == [ask().status_code, ask(**deployment.headers).status_code]
        own = ask(Authorization=f"Bearer {made.infra_token}")
        assert (200, "1") == (own.status_code, own.json()["model_version"])
        assert 200 == ask(**vendor.headers).status_code

        orphan = {"name": f"mp-test-serve-{made.deployment_id}-a7", "image": "x", "disk": 20}
        orphan |= {"cpu": {"id": "cpu3c", "vcpuCount": 2}, "args": '{"entrypoint": ["sleep", "60"]}'}
        stray = httpx.post(f"{fake.url}/pods", json=orphan, headers={"Authorization": f"Bearer {KEY}"}).json()["id"]
        swept = stray_servers.sweep(
            edge_house.db, hosts, [(("runpod", "pod"), vendor.id)], now=datetime.now(UTC), young=timedelta(0)
        )
        assert (2, [stray]) == (swept.seen, [one.ref for one in swept.strays if one.ended])
        assert ["RUNNING"] == [pod.status for pod in fake.pods if pod.id != stray]

        edge.patch(where, json={"wanted": "removed"}, headers=vendor.headers)
        until(keeper, lambda: not alive(edge_house))
        assert {"TERMINATED"} == {pod.status for pod in fake.pods}
        host.close()


def test_another_deployments_token_fetches_no_model(
    edge: httpx.Client, vendor: SimpleNamespace, deployment: SimpleNamespace, run_id: str
):
    """A token speaks for its own deployment; a credential of RunPod's has no place in an order."""
    wanted = {"name": "trend", "task": "signal", "version": "1", "run_id": run_id}
    model = edge.post("/api/vendors/models", json=wanted, headers=vendor.headers).json()["data"]["model_id"]
    body = {"name": "other", "provider": "local", "model_id": model}
    made = edge.post("/api/deployments", json=body, headers=vendor.headers).json()["data"]
    path = f"/api/deployments/{made['deployment_id']}/model"
    assert 404 == edge.get(path, headers=deployment.headers).status_code
    assert 200 == edge.get(path, headers=vendor.headers).status_code
    assert (
        422 == edge.post("/api/deployments", json=body | {"runpod_api_key": "rpa"}, headers=vendor.headers).status_code
    )


def test_a_dry_run_leaves_nothing(edge: httpx.Client, deployment: SimpleNamespace, vendor: SimpleNamespace):
    """The answer is the true one; afterwards there is no signal, and the same one is accepted again."""
    row = {"symbol": "EURUSD", "timeframe": "1h", "decision": "HOLD", "confidence": 0.5, "model_version": "1"}
    row |= {"timestamp": "2026-01-05T10:00:00Z", "event_time": "2026-01-05T10:00:00Z"}
    dry = deployment.headers | {"X-Marketplace-Dry-Run": "true"}
    for _ in range(2):
        told = edge.post("/api/signals/store", json=[row], headers=dry).json()["data"]
        assert ("accepted", 1) == (told["receipts"][0]["status"], told["accepted"])
    query = f"/api/signals?deployment_id={deployment.id}"
    assert [] == edge.get(query, headers=vendor.headers).json()["data"]
    assert [] == edge.get(query.replace("signals", "signals/receipts"), headers=vendor.headers).json()["data"]


def test_tokens_overlap_and_are_revoked(edge: httpx.Client, deployment: SimpleNamespace, vendor: SimpleNamespace):
    """Rotated, the former one lives on for a while; revoked, none does."""
    path = f"/api/deployments/{deployment.id}/infra-token"
    body = {"rotate": True, "overlap_seconds": 600}
    fresh = edge.post(path, json=body, headers=vendor.headers).json()["data"]["infra_token"]
    dry = {"X-Marketplace-Dry-Run": "true"}
    for token in (deployment.token, fresh):
        headers = {"Authorization": f"Bearer {token}"}
        assert 401 != edge.post("/api/signals/store", json=[], headers=headers | dry).status_code
    assert 2 == edge.delete(path, headers=vendor.headers).json()["data"]["revoked"]
    for token in (deployment.token, fresh):
        headers = {"Authorization": f"Bearer {token}"}
        for _ in range(100):
            if edge.post("/api/signals/store", json=[], headers=headers | dry).status_code == 401:
                break
            time.sleep(0.05)
        else:
            pytest.fail("a revoked token still works")
