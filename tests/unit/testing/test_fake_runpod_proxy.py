"""The fake's public addresses of pods."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import runpod_orders
from runpod_orders import eventually, order

from mp_kit.testing.fake_runpod import FakeRunPod, Fault, Pace

SERVER = """
import http.server, json, os

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        content = json.dumps({"path": self.path, "heard": body, "who": self.headers.get("authorization")}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


@pytest.fixture
def live(tmp_path: Path) -> Iterator[FakeRunPod]:
    """A fake that runs pods, in a hurry."""
    pace = Pace(provisioning=0, pull=0, restart=0.05, grace=0.2)
    with FakeRunPod({"rp-key": 100}, pace=pace, folder=tmp_path / "d") as fake:
        yield fake
        fake.violations.check()


def address(live: FakeRunPod, pod_id: str, port: int = 8000) -> str:
    return live.proxy_url.replace("{pod}", pod_id).replace("{port}", str(port))


def test_anybody_reaches_a_pods_http_port(live: FakeRunPod):
    """Without a key of RunPod's; the caller's own token goes on to the server. Two pods have two servers."""
    with runpod_orders.client(live) as api:
        body = order(script=SERVER, env={"PORT": "8000"}, ports=["8000/http", "22/tcp"])
        made = [api.post("/pods", json=body | {"name": name}).json()["id"] for name in ("a", "b")]
        told = api.get(f"/pods/{made[0]}").json()
        assert "8000" == told["env"]["PORT"]
    headers = {"Authorization": "Bearer sit_x"}
    for pod_id in made:
        url = address(live, pod_id)
        assert eventually(lambda url=url: httpx.post(url, content=b"").status_code == 200)
        answer = httpx.post(f"{url}/infer?x=1", content=b"bars", headers=headers)
        assert {"path": "/infer?x=1", "heard": "bars", "who": "Bearer sit_x"} == answer.json()


def test_what_is_not_open_is_not_reached(live: FakeRunPod):
    """No such pod, no such port, a port that is not http, a pod that is gone."""
    with runpod_orders.client(live) as api:
        body = order(script="import time; time.sleep(60)", ports=["8000/http", "22/tcp"])
        pod_id = api.post("/pods", json=body).json()["id"]
        assert eventually(lambda: httpx.get(address(live, pod_id)).status_code == 502)
        assert [404, 404, 404] == [
            httpx.get(url).status_code
            for url in (address(live, "nobody"), address(live, pod_id, 22), address(live, pod_id, 9000))
        ]
        api.delete(f"/pods/{pod_id}")
        assert 404 == httpx.get(address(live, pod_id)).status_code


def test_its_faults_are_set_as_any_others(live: FakeRunPod):
    """By the operation's name."""
    live.faults.next("pod_request", Fault.SERVER_ERROR, status=503)
    assert 503 == httpx.get(address(live, "x")).status_code
