"""The fake against RunPod's own document, where this checkout has it."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
import runpod_orders
from runpod_orders import OPENAPI, order

from mp_kit.errors import MissingExtraError
from mp_kit.testing.fake_runpod import Clock, FakeRunPod, Pace
from mp_kit.testing.fake_runpod.openapi import OpenApi

needs_document = pytest.mark.skipif(not OPENAPI.exists(), reason="RunPod's OpenAPI document is not part of mp-kit")
POD = "/pods/{pod}"
CALLS = [
    ("POST", "/pods", order()),
    ("POST", "/pods", order(gpu={"id": "?", "count": 1})),
    ("POST", "/pods", {"name": "c", "image": "x", "disk": 20, "cpu": {"id": "cpu5c", "vcpuCount": 4}}),
    (
        "POST",
        "/pods",
        order(mounts={"persistent": {"size": 10, "path": "/w"}}, env={"A": "b"}, ports=["22/tcp", "8000/http"]),
    ),
    ("GET", "/pods", None),
    ("GET", POD, None),
    ("GET", "/pods/nope", None),
    ("PATCH", POD, {"name": "b", "locked": True}),
    ("POST", f"{POD}/action", {"action": "stop"}),
    ("POST", f"{POD}/action", {"action": "stop"}),
    ("POST", f"{POD}/action", {"action": "start"}),
    ("GET", "/catalog/gpus", None),
    ("GET", "/catalog/gpus?include=AVAILABILITY&product=POD,SERVERLESS&count=1&cloud=SECURE&countryCodes=RO", None),
    ("GET", "/catalog/gpus/NVIDIA%20L4", None),
    ("GET", "/catalog/cpus", None),
    ("GET", "/catalog/cpus?include=AVAILABILITY&product=POD&vcpuCount=4", None),
    ("GET", "/catalog/datacenters?include=GPU_AVAILABILITY&regions=EUROPE", None),
    ("GET", "/billing/pods?bucketSize=hour&lastN=3", None),
    ("POST", "/templates", {"name": "t", "image": "x", "env": {"A": "1"}}),
    ("GET", "/templates", None),
    ("DELETE", POD, None),
]


@needs_document
@pytest.mark.parametrize("running", [False, True])
def test_every_answer_and_every_request_agree_with_the_document(running: bool) -> None:
    """Good answers and refusals, of pods that wait and of pods that run."""
    contract = OpenApi(OPENAPI)
    clock = Clock(running=False)
    with FakeRunPod(openapi=OPENAPI, clock=clock, run_containers=False) as fake, runpod_orders.client(fake) as api:
        pod_id = ""
        for method, path, body in CALLS:
            answer = api.request(method, path.format(pod=pod_id), json=body)
            told = answer.json() if answer.content else None
            plain = path.format(pod=pod_id).partition("?")[0]
            assert [] == contract.broken_answer(method, plain, answer.status_code, told), f"{method} {path}"
            pod_id = pod_id or told["id"]
            clock.advance(60 if running else 0)
        assert len(CALLS) == len(fake.requests)
        fake.violations.check()


@needs_document
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/pods", order(volumeInGb=20)),
        ("POST", "/pods", order(gpu={"id": "x", "count": 0})),
        ("POST", "/pods", {"gpu": {"id": "x", "count": 1}, "image": "x"}),
        ("POST", "/pods/x/action", {"action": "reset"}),
        ("GET", "/pods/x/logs?tail=9999", None),
        ("GET", "/catalog/gpus?include=STOCK&product=POD", None),
    ],
)
def test_document_and_models_agree_on_bad_requests(method: str, path: str, body: object) -> None:
    """What the document refuses is on record with its words; bodies are refused by the models as well."""
    found = []
    for document in (OPENAPI, None):
        with FakeRunPod(openapi=document, run_containers=False) as fake, runpod_orders.client(fake) as api:
            api.request(method, path, json=body)
            found.append(bool(fake.violations))
    assert [True, body is not None] == found


@needs_document
def test_later_keys_are_violations_unless_allowed() -> None:
    """``entrypoint`` came after the document."""
    body = order(entrypoint=["python"], args="")
    for later, violations in ((False, 1), (True, 0)):
        options = {"openapi": OPENAPI, "run_containers": False, "later": later}
        with FakeRunPod(**options) as fake, runpod_orders.client(fake) as api:  # type: ignore[arg-type]
            api.post("/pods", json=body)
            assert violations == len(fake.violations)


def test_document_without_jsonschema_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the line to install it."""
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps({"paths": {}}))

    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(MissingExtraError) as caught:
        OpenApi(document)
    assert "pip install jsonschema" == caught.value.hint


def test_hundreds_of_pods_share_one_list(tmp_path: Path) -> None:
    """A scripted life costs no process and no thread."""
    with FakeRunPod(run_containers=False, pace=Pace(0, 0), folder=tmp_path / "d") as fake:
        with runpod_orders.client(fake) as api:
            made = [api.post("/pods", json=order(f"pod-{number}")) for number in range(300)]
            listed: list[dict[str, object]] = api.get("/pods").json()["pods"]
        assert {201} == {answer.status_code for answer in made}
        assert [f"pod-{number}" for number in range(300)] == [pod["name"] for pod in listed]
