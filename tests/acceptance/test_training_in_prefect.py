"""Training runs in Prefect's pages: each is a flow run there, and a cancel given there is honoured."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PATIENCE_SECONDS = 120.0


@pytest.fixture
def prefect(marketplace: Any) -> Iterator[httpx.Client]:
    """The API of the marketplace's own Prefect."""
    state = json.loads((marketplace.home / "state.json").read_text())
    with httpx.Client(base_url=state["prefect_api_url"], timeout=30) as client:
        yield client


def shown(prefect: httpx.Client, run_id: str) -> dict[str, Any] | None:
    found = prefect.post("/flow_runs/filter", json={"flow_runs": {"name": {"any_": [run_id]}}}).json()
    return found[0] if found else None


def state_of(prefect: httpx.Client, run_id: str) -> str:
    return (shown(prefect, run_id) or {"state": {"name": "none"}})["state"]["name"]


def until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.5)


def start(marketplace: Any, *more: str) -> str:
    started = marketplace.vendor.json("train", "start", "--provider", "local", "--hp", "model_type=logistic", *more)
    return str(started["run_id"])


def test_run_is_shown_with_its_spec_and_result(marketplace: Any, prefect: httpx.Client):
    """Name, tags, end and artifacts; no secret and no signed URL among them."""
    run_id = start(marketplace, "--hp", "epochs=1")
    until(lambda: state_of(prefect, run_id) == "Completed")
    run = shown(prefect, run_id)
    assert run is not None
    assert sorted(run["tags"]) == ["local", "signal", "training-run", "vendor:ACME"]
    wanted = {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}}
    artifacts = {
        each["key"].partition("-")[0]: each["data"] for each in prefect.post("/artifacts/filter", json=wanted).json()
    }
    assert "logistic" in artifacts["spec"]
    (result,) = json.loads(artifacts["result"])
    assert (result["state"], result["exit_code"]) == ("succeeded", 0)
    assert "signature=" not in str(artifacts)


def test_failed_run_is_told_of_in_a_table(marketplace: Any, prefect: httpx.Client):
    """Two voices at least make a consensus: the run fails, and `tell-failures` shows it, by hand or by itself."""
    run_id = marketplace.vendor.json(
        "train", "start", "--provider", "local", "--task", "consensus", "--hp", "experts=none"
    )["run_id"]
    until(lambda: marketplace.vendor.json("train", "status", run_id)["status"] == "failed")
    assert "failed" in marketplace.operator.json("admin", "flow", "run", "tell-failures")["result"]
    wanted = {"artifacts": {"key": {"any_": ["failed-runs"]}}}
    assert any(run_id in each["data"] for each in prefect.post("/artifacts/filter", json=wanted).json())


def test_cancel_in_prefect_cancels_the_training(marketplace: Any, prefect: httpx.Client):
    """Somebody presses Cancel in Prefect: the job is told to stop, and both sides say cancelled."""
    run_id = start(marketplace, "--hp", "epochs=10000")
    until(lambda: state_of(prefect, run_id) == "Running")
    flow_run = shown(prefect, run_id)
    assert flow_run is not None
    wish = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
    assert prefect.post(f"/flow_runs/{flow_run['id']}/set_state", json=wish).is_success
    until(lambda: marketplace.vendor.json("train", "status", run_id)["status"] == "cancelled")
    until(lambda: state_of(prefect, run_id) == "Cancelled")
