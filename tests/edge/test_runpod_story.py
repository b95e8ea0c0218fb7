"""A training at RunPod, order to artifacts: the real edge, supervisor, provider and wrapper, over the fake."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from edges import serving
from runpods import checked

from mp_kit.contracts import ManifestFile
from mp_kit.server.house import House
from mp_kit.server.processes import free_port
from mp_kit.server.services import rounds, supervisor, vendors
from mp_kit.server.storage import content_key
from mp_kit.server.wiring import build
from mp_kit.testing.fake_runpod import FakeRunPod, Fault

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

KEY = "rpa_0123456789abcdefghijklmnop"
FEATURES = ("ret_1", "vol_20")


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeRunPod]:
    """RunPod, with containers that really run."""
    with checked({KEY: 25}) as made:
        yield made


@pytest.fixture(scope="module")
def market(house: House, fake: FakeRunPod, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A marketplace whose RunPod is the fake, with a round, an edge and a supervisor."""
    given = {"runpod_url": fake.url, "trainer_image": "mp-trainer:1", "runpod_settle_seconds": 10}
    built = build(replace(house.settings, base_url=f"http://127.0.0.1:{free_port()}", **given))
    publish(built, tmp_path_factory.mktemp("round"))
    with serving(built), supervising(built):
        yield built
    built.close()


@contextmanager
def supervising(house: House) -> Iterator[None]:
    over = threading.Event()
    parts = (house.db, house.store, house.providers, house.tokens.run_token, house.settings.base_url, house.vault)
    desk = supervisor.Desk(*parts)
    thread = threading.Thread(target=supervisor.watch, args=(desk,), kwargs={"seconds": 120, "stop": over.is_set})
    thread.start()
    yield
    over.set()
    thread.join()


def publish(house: House, folder: Path) -> None:
    manifest = {"name": "test", "timeframe": "1h", "symbols": ["EURUSD"], "horizon": 5, "embargo": 5}
    files = [write(house, folder, role, count) for role, count in (("train", 2_000), ("validation", 500))]
    draft = rounds.Draft(manifest={**manifest, "source": {}, "code_version": "0"}, files=files)
    with house.db.begin() as tx:
        rounds.publish(tx, house.signer, draft, actor="test")


def write(house: House, folder: Path, role: str, count: int) -> ManifestFile:
    random = np.random.default_rng(count)
    columns: dict[str, Any] = {name: random.normal(size=count).astype(np.float32) for name in FEATURES}
    pull = columns["ret_1"] + random.normal(size=count)
    columns["label_direction"] = np.where(pull > 0.5, 1, np.where(pull < -0.5, -1, 0)).astype(np.int8)
    columns["label_return"] = pull * 1e-3
    path = folder / f"{role}-EURUSD.parquet"
    pq.write_table(pa.table(columns), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    house.store.put_file(content_key(digest), path)
    return ManifestFile(name=path.name, type=role, size_bytes=path.stat().st_size, sha256=digest, rows=count)


@pytest.fixture
def client(market: House) -> Iterator[httpx.Client]:
    """A new vendor at the edge."""
    with market.db.begin() as tx:
        made = vendors.create(tx, market.tokens, f"vendor {time.monotonic_ns()}", actor="test")
    headers = {"Authorization": f"Bearer {made.api_key}"}
    with httpx.Client(base_url=market.settings.base_url, headers=headers, timeout=30) as opened:
        yield opened


def order(client: httpx.Client, **changes: Any) -> str:
    body = {"round_id": "current", "task": "signal", "gpu": "L4", "hyperparams": {"epochs": 2}}
    response = client.post("/api/training/runs", json=body | {"budget": {"max_hours": 1, "max_cost_usd": 2}} | changes)
    assert 200 == response.status_code, response.text
    return str(response.json()["data"]["run_id"])


def wait_for(client: httpx.Client, run_id: str, done: Callable[[SimpleNamespace], bool]) -> SimpleNamespace:
    pause = threading.Event()
    for _ in range(400):
        run = SimpleNamespace(**client.get(f"/api/training/runs/{run_id}").json()["data"])
        if done(run):
            return run
        pause.wait(0.2)
    pytest.fail(f"it never came to that: {run}")


def is_final(run: SimpleNamespace) -> bool:
    """Nothing happens after this."""
    return run.status in {"succeeded", "failed", "cancelled"}


def connect(client: httpx.Client) -> None:
    response = client.put("/api/vendors/connections/runpod", json={"value": KEY})
    assert 200 == response.status_code, response.text


def test_vendor_without_an_account(client: httpx.Client, fake: FakeRunPod):
    """The run fails with the way out, and RunPod is not asked."""
    before = len(fake.requests)
    run = wait_for(client, order(client), is_final)
    assert "mp connections set runpod" in str(run.failure) or "not connected" in str(run.failure)
    assert before == len(fake.requests)


def test_training_through_a_lost_answer(client: httpx.Client, fake: FakeRunPod):
    """One pod although RunPod's answer was lost; a model at the end, the whole log, and nothing left."""
    connect(client)
    fake.faults.next("create", Fault.CREATED_BUT_500)
    run_id = order(client)
    run = wait_for(client, run_id, is_final)
    assert "succeeded" == run.status, run
    assert {"model.onnx", "model_card.json"} <= {file["name"] for file in run.artifacts["files"]}
    (pod,) = [pod for pod in fake.pods if run_id in pod.name]
    assert ("TERMINATED", "NVIDIA L4", 1) == (pod.status, pod.gpu, pod.starts)
    lines = client.get(f"/api/training/runs/{run_id}/logs").json()["data"]["lines"]
    assert [line["text"] for line in lines if line["text"].startswith("epoch 2/2")]
    assert KEY not in str(lines)


def test_run_without_a_gpu_of_that_name(client: httpx.Client):
    """It fails for good, and names a GPU that exists."""
    connect(client)
    run = wait_for(client, order(client, gpu="A1000"), is_final)
    assert "failed" == run.status
    assert "A100" in run.failure
