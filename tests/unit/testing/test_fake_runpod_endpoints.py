from __future__ import annotations

import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
import runpod_orders
from runpod_orders import OPENAPI, eventually

from mp_kit.testing.fake_runpod import FakeRunPod, Fault, Pace
from mp_kit.testing.fake_runpod.openapi import OpenApi

SERVER = """
import http.server, json, os, time

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({"path": self.path, "pid": os.getpid()})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/exit":
            os._exit(1)
        self.answer({"heard": body.decode(), "key": self.headers.get("authorization"), "pid": os.getpid()})

    def answer(self, told):
        if self.path == "/slow":
            time.sleep(0.5)
        content = json.dumps(told).encode()
        self.send_response(200 if self.path != "/teapot?x=1" else 418)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


def deployment(**fields: Any) -> dict[str, Any]:
    """The body of an endpoint whose workers run a small server."""
    container = {key: runpod_orders.order(script=SERVER)[key] for key in ("image", "args", "disk")}
    scaling = {"type": "REQUEST_COUNT", "requestCount": 2}
    workers = {"min": 0, "max": 2, "idleTimeout": 5}
    body = {"name": "e", "type": "LOAD_BALANCER", "scaling": scaling, "workers": workers, "timeout": 60_000}
    return container | body | {"gpu": {"pools": ["AMPERE_24"], "count": 1}} | fields


@pytest.fixture
def live(tmp_path: Path) -> Iterator[FakeRunPod]:
    """A fake that runs workers, in a hurry."""
    pace = Pace(provisioning=0, pull=0, restart=0.05, grace=0.2)
    with FakeRunPod({"rp-key": 100}, pace=pace, folder=tmp_path / "d", patience=(15, 15)) as fake:
        yield fake


@pytest.fixture
def cloud(live: FakeRunPod) -> Iterator[httpx.Client]:
    """A client of its account."""
    with runpod_orders.client(live) as client:
        yield client


def test_request_starts_a_worker_and_reaches_it(live: FakeRunPod, cloud: httpx.Client) -> None:
    """Through the URL that the API tells; the account's key stays outside."""
    made = cloud.post("/serverless", json=deployment()).json()
    assert 0 == cloud.get(f"/serverless/{made['id']}/workers").json()["summary"]["total"]
    answer = cloud.post(f"{made['requestUrls']['base']}/infer", content=b"bars")
    assert ("bars", None) == tuple(answer.json()[name] for name in ("heard", "key"))
    assert 418 == cloud.get(f"{made['requestUrls']['base']}/teapot?x=1").status_code
    assert 1 == cloud.get(f"/serverless/{made['id']}/workers").json()["summary"]["idle"]
    live.violations.check()


def test_strangers_reach_no_worker(live: FakeRunPod, cloud: httpx.Client) -> None:
    """Neither without a key nor with another account's."""
    base = cloud.post("/serverless", json=deployment()).json()["requestUrls"]["base"]
    assert 401 == httpx.get(f"{base}/infer", headers={"User-Agent": "tests"}).status_code
    live.set_credit("other", 10)
    with runpod_orders.client(live, "other") as other:
        assert 404 == other.get(f"{base}/infer").status_code


def test_idle_worker_goes_and_the_next_request_starts_another(live: FakeRunPod, cloud: httpx.Client) -> None:
    """After ``idleTimeout``; ``workers.min`` stay."""
    made = cloud.post("/serverless", json=deployment()).json()
    first = cloud.get(f"{made['requestUrls']['base']}/x").json()["pid"]
    live.clock.advance(5)
    assert () == live.endpoints[0].workers
    assert first != cloud.get(f"{made['requestUrls']['base']}/x").json()["pid"]
    assert 2 == live.endpoints[0].started
    cloud.patch(f"/serverless/{made['id']}", json={"workers": {"min": 1}})
    cloud.get(f"{made['requestUrls']['base']}/x")
    live.clock.advance(100)
    assert 1 == len(live.endpoints[0].workers)


def test_busy_workers_get_help(live: FakeRunPod, cloud: httpx.Client) -> None:
    """More requests at once than ``requestCount`` start a second worker, never a third."""
    made = cloud.post("/serverless", json=deployment()).json()
    cloud.get(f"{made['requestUrls']['base']}/x")
    url = f"{made['requestUrls']['base']}/slow"
    threads = [threading.Thread(target=cloud.get, args=(url,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 2 == live.endpoints[0].started


def test_worker_that_dies_is_started_again(cloud: httpx.Client) -> None:
    """The request that it died of is 502; the next one waits for its new start."""
    base = cloud.post("/serverless", json=deployment()).json()["requestUrls"]["base"]
    first = cloud.get(f"{base}/x").json()["pid"]
    assert 502 == cloud.post(f"{base}/exit", content=b"").status_code
    assert first != cloud.get(f"{base}/x").json()["pid"]


def test_change_of_the_container_replaces_idle_workers(cloud: httpx.Client) -> None:
    """A new version; a change of the scaling is none."""
    made = cloud.post("/serverless", json=deployment(workers={"min": 1, "max": 2})).json()
    path = f"/serverless/{made['id']}"
    before = cloud.get(f"{path}/workers").json()
    cloud.patch(path, json={"name": "f", "scaling": {"type": "REQUEST_COUNT", "requestCount": 9}})
    assert before["workers"][0]["id"] == cloud.get(f"{path}/workers").json()["workers"][0]["id"]
    cloud.patch(path, json={"env": {"A": "1"}})
    after = cloud.get(f"{path}/workers").json()
    assert (1, 2, 1) == (before["endpointVersion"], after["endpointVersion"], after["summary"]["total"])
    assert before["workers"][0]["id"] != after["workers"][0]["id"]


def test_deleted_endpoint_is_gone_with_its_workers(live: FakeRunPod, cloud: httpx.Client) -> None:
    """Its URL, its logs and its cost end."""
    made = cloud.post("/serverless", json=deployment(workers={"min": 1, "max": 1})).json()
    cloud.get(f"{made['requestUrls']['base']}/x")
    assert 204 == cloud.delete(f"/serverless/{made['id']}").status_code
    assert 404 == cloud.get(f"/serverless/{made['id']}").status_code
    assert 404 == cloud.get(f"{made['requestUrls']['base']}/x").status_code
    cost = live.endpoints[0].cost
    live.clock.advance(3_600)
    assert (cost, True, ()) == (live.endpoints[0].cost, live.endpoints[0].deleted, live.endpoints[0].workers)


def test_crash_loop_is_unhealthy_and_the_request_ends(tmp_path: Path) -> None:
    """400 once the patience is over, and the logs say why."""
    pace = Pace(provisioning=0, pull=0, restart=0.02, grace=0.1)
    with FakeRunPod(pace=pace, folder=tmp_path / "d", patience=(1.5, 5)) as fake, runpod_orders.client(fake) as client:
        made = client.post("/serverless", json=deployment(args="python -c 'raise SystemExit(3)'")).json()
        assert 400 == client.get(f"{made['requestUrls']['base']}/x").status_code
        path = f"/serverless/{made['id']}/workers"
        assert eventually(lambda: client.get(path).json()["summary"]["unhealthy"] > 0)
        worker = client.get(path).json()["workers"][0]["id"]
        with client.stream("GET", f"{path}/{worker}/logs", params={"source": "system"}) as answer:
            assert any("exited with code 3" in line for line in answer.iter_lines() if line.startswith("data"))


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"timeouts": 1}, 422),
        ({"gpu": {"id": "NVIDIA L4", "count": 1}}, 422),
        ({"scaling": {"type": "QUEUE_DELAY", "queueDelay": 4.0}}, 422),
        ({"workers": {"idleTimeout": 0}}, 422),
        ({"gpu": {"pools": ["NVIDIA L4"]}}, 400),
        ({"workers": {"min": 3, "max": 2}}, 400),
        ({"type": "QUEUE", "scaling": {"type": "QUEUE_DELAY", "queueDelay": 4.0}}, 400),
        ({"templateId": "nope"}, 404),
    ],
)
def test_bad_endpoints_are_refused(api: httpx.Client, fields: dict[str, Any], status: int) -> None:
    """GPU types instead of pools among them."""
    assert status == api.post("/serverless", json=deployment(**fields)).status_code


def test_throttled_workers(fake: FakeRunPod, api: httpx.Client) -> None:
    """They wait for capacity for ever, which costs nothing to know."""
    fake.faults.next("endpoint_create", Fault.STUCK)
    made = api.post("/serverless", json=deployment(workers={"min": 1, "max": 1})).json()
    fake.clock.advance(1_000)
    assert 1 == api.get(f"/serverless/{made['id']}/workers").json()["summary"]["throttled"]


def test_unused_endpoint_is_cut(fake: FakeRunPod, api: httpx.Client) -> None:
    """After three days to two workers, after seven to none; raising it by hand mends it."""
    path = f"/serverless/{api.post('/serverless', json=deployment(workers={'min': 0, 'max': 5})).json()['id']}"
    seen = []
    for days in (2, 1, 4):
        fake.clock.advance(days * 86_400)
        seen.append(api.get(path).json()["workers"]["max"])
    assert [5, 2, 0] == seen
    assert 5 == api.patch(path, json={"workers": {"max": 5}}).json()["workers"]["max"]


def test_timeout_that_was_not_sent_is_stored_as_zero(api: httpx.Client) -> None:
    """Whatever the contract says."""
    body = deployment()
    del body["timeout"]
    assert 0 == api.post("/serverless", json=body).json()["timeout"]


def test_workers_are_billed_to_the_endpoint(fake: FakeRunPod, api: httpx.Client) -> None:
    """At the serverless price, not among the pods."""
    fake.set_credit("rp-key", None)
    made = api.post("/serverless", json=deployment(workers={"min": 2, "max": 2}, disk=1)).json()
    fake.clock.advance(7_200)
    bill = api.get("/billing/serverless", params={"bucketSize": "hour"}).json()
    assert {made["id"]} == {record["serverlessId"] for record in bill["records"]}
    total = Decimal(str(bill["metadata"]["totals"]["totalAmount"]))
    assert Decimal("3.44") == round(fake.endpoints[0].cost, 2) == round(total, 2)
    assert ([], []) == (api.get("/billing/pods").json()["records"], api.get("/pods").json()["pods"])


@pytest.mark.skipif(not OPENAPI.exists(), reason="RunPod's OpenAPI document is not part of mp-kit")
def test_endpoints_agree_with_the_document() -> None:
    """Requests and answers."""
    contract = OpenApi(OPENAPI)
    with FakeRunPod(openapi=OPENAPI, run_containers=False) as fake, runpod_orders.client(fake) as api:
        made = api.post("/serverless", json=deployment(workers={"min": 1, "max": 2})).json()
        assert [] == contract.broken_answer("POST", "/serverless", 201, made)
        one = f"/serverless/{made['id']}"
        fake.clock.advance(60)
        for path in ("/serverless", one, f"{one}/workers", "/billing/serverless", "/serverless/nope"):
            answer = api.get(path)
            assert [] == contract.broken_answer("GET", path, answer.status_code, answer.json()), path
        changed = api.patch(one, json={"workers": {"max": 3}, "gpu": {"pools": ["ADA_24"]}})
        assert [] == contract.broken_answer("PATCH", one, changed.status_code, changed.json())
        assert [] == contract.broken_answer("DELETE", one, api.delete(one).status_code, None)
        fake.violations.check()
