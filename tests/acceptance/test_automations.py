"""Automations with a real Prefect: they are there, they fire end to end, and making them again changes nothing."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import yaml

from mp_kit.errors import InvalidInputError, NotFoundError
from mp_kit.server import automations
from mp_kit.server.prefect_api import PrefectApi

pytestmark = [pytest.mark.hardening, pytest.mark.slow, pytest.mark.timeout(300)]
PATIENCE_SECONDS = 150.0
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def url(marketplace: Any) -> str:
    """Of the marketplace's own Prefect."""
    state = json.loads((marketplace.home / "state.json").read_text())
    return str(state["prefect_api_url"])


@pytest.fixture
def prefect(url: str) -> Iterator[PrefectApi]:
    """Its API."""
    api = PrefectApi(url)
    yield api
    api.close()


def until(happened: Callable[[], Any]) -> Any:
    end = time.monotonic() + PATIENCE_SECONDS
    while not (found := happened()):
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.5)
    return found


def named(prefect: PrefectApi) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in prefect.send("POST", "/automations/filter", {})}


def declared(name: str) -> dict[str, Any]:
    """A deployment as ``prefect.yaml`` has it."""
    told = yaml.safe_load((ROOT / "deployments/prefect.yaml").read_text())
    [found] = [one for one in told["deployments"] if one["name"] == name]
    return dict(found)


def runs_of(prefect: PrefectApi, name: str) -> dict[str, Any]:
    """A query for its newest flow runs that went well."""
    deployment = prefect.send("GET", f"/deployments/name/{name}/{name}")["id"]
    wanted = {"deployment_id": {"any_": [deployment]}, "state": {"type": {"any_": ["COMPLETED"]}}}
    return {"flow_runs": wanted, "limit": 50, "sort": "START_TIME_DESC"}


def operators_reports(marketplace: Any) -> list[str]:
    """Links to the reports that the operator sees on the console, signed in with the service key."""
    key = json.loads((marketplace.home / "secrets.json").read_text())["MP_SERVICE_KEY"]
    with httpx.Client(base_url=marketplace.url, follow_redirects=True) as browser:
        form = browser.get("/marketplace/login").text
        [csrf] = set(re.findall(r'name="csrf" value="([^"]+)"', form))
        from_there = {"Referer": f"{marketplace.url}/marketplace/login"}
        page = browser.post("/marketplace/login", data={"api_key": key, "csrf": csrf}, headers=from_there).text
    return re.findall(r'href="(/marketplace/operator/reports/[^"]+)"', page)


def tell(prefect: PrefectApi, event: str, resource: dict[str, str]) -> None:
    """An event of Prefect's own, as its server would send it."""
    now = datetime.now(UTC).isoformat()
    prefect.send("POST", "/events", [{"id": str(uuid4()), "event": event, "occurred": now, "resource": resource}])


def test_ensure_changes_nothing_and_respects_the_switch(marketplace: Any, prefect: PrefectApi):
    """`mp up` made them; the command finds them, repairs what was changed, and leaves off what was switched off."""
    there = named(prefect)
    assert set(automations.NAMES) == set(there)
    known = there[automations.SWEEP]
    prefect.send("PATCH", f"/automations/{known['id']}", {"enabled": False})
    kept = ("name", "description", "trigger", "actions")
    prefect.send("PUT", f"/automations/{known['id']}", {**{key: known[key] for key in kept}, "enabled": False,
                                                       "description": "broken"})  # fmt: skip
    made = marketplace.operator.json("admin", "flow", "automations")
    assert [False] * len(automations.NAMES) == [one["created"] for one in made]
    again = named(prefect)
    assert {name: one["id"] for name, one in there.items()} == {name: one["id"] for name, one in again.items()}
    assert (False, known["description"]) == (
        again[automations.SWEEP]["enabled"],
        again[automations.SWEEP]["description"],
    )
    prefect.send("PATCH", f"/automations/{known['id']}", {"enabled": True})


@pytest.mark.parametrize(("block", "error"), [("ops", InvalidInputError), ("slack-webhook/none", NotFoundError)])
def test_ensure_with_a_block_that_is_not_there(prefect: PrefectApi, block: str, error: type[Exception]):
    """Refused before anything is made."""
    with pytest.raises(error):
        automations.ensure(prefect, block=block)


def test_published_round_is_reported_on(marketplace: Any, prefect: PrefectApi):
    """A new round's event runs the report on its quality, with its id; the round is an asset."""
    published = marketplace.operator.json("admin", "round", "publish", "--symbols", "EURUSD", "--no-current")
    assert published["created"]
    deployment = prefect.send("GET", "/deployments/name/report/report")["id"]
    wanted = {"flow_runs": {"deployment_id": {"any_": [deployment]}}, "limit": 50}

    def started() -> list[dict[str, Any]]:
        runs = prefect.send("POST", "/flow_runs/filter", wanted)
        return [run for run in runs if published["round_id"] in str(run["parameters"])]

    [run] = until(started)
    order = {"name": "round_quality", "parameters": {"round_id": published["round_id"]}}
    assert order == run["parameters"]["order"]
    asset = {"filter": {"event": {"name": ["prefect.asset.materialization.succeeded"]}}, "limit": 50}
    key = f"mp://rounds/{published['round_id']}"
    until(lambda: key in [one["resource"]["prefect.resource.id"]
                          for one in prefect.send("POST", "/events/filter", asset)["events"]])  # fmt: skip


def test_lost_worker_is_swept_for(prefect: PrefectApi):
    """Prefect's own word that nobody polls the pool makes `maintain` due, for the first worker that comes back."""
    pool = prefect.send("GET", "/work_pools/mp")
    due = runs_of(prefect, "maintain")
    before = {run["id"] for run in prefect.send("POST", "/flow_runs/filter", due)}
    resource = {"prefect.resource.id": f"prefect.work-pool.{pool['id']}", "prefect.resource.name": pool["name"]}
    tell(prefect, "prefect.work-pool.not-ready", resource)

    def swept() -> list[dict[str, Any]]:
        runs = prefect.send("POST", "/flow_runs/filter", due)
        return [run for run in runs if run["id"] not in before]

    [run] = until(swept)
    assert "AUTOMATION" == run["created_by"]["type"]


def test_silent_flow_run_crashes(prefect: PrefectApi, monkeypatch: pytest.MonkeyPatch):
    """A flow run whose process beat once and never again is Crashed, with the reason; one that ended is left alone."""
    monkeypatch.setenv("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "2")
    automations.ensure(prefect)
    flow = prefect.send("GET", "/deployments/name/maintain/maintain")["flow_id"]
    state = {"type": "RUNNING", "name": "Running"}
    silent, ended = (prefect.send("POST", "/flow_runs/", {"flow_id": flow, "state": state}) for _ in range(2))
    for run in (silent, ended):
        tell(prefect, "prefect.flow-run.heartbeat", {"prefect.resource.id": f"prefect.flow-run.{run['id']}"})
    done = {"state": {"type": "COMPLETED", "name": "Completed"}, "force": True}
    prefect.send("POST", f"/flow_runs/{ended['id']}/set_state", done)

    def state_of(run: dict[str, Any]) -> dict[str, Any]:
        seen: dict[str, Any] = prefect.send("GET", f"/flow_runs/{run['id']}")["state"]
        return seen

    until(lambda: state_of(silent)["type"] == "CRASHED")
    assert "no sign of life" in state_of(silent)["message"]
    assert "COMPLETED" == state_of(ended)["type"]
    monkeypatch.undo()
    automations.ensure(prefect)


def test_daily_report_by_its_schedule(marketplace: Any, prefect: PrefectApi):
    """What prefect.yaml has for 06:15, each minute: Prefect makes it due, the worker runs it, the console shows it."""
    [daily] = [one for one in declared("report")["schedules"] if one["slug"] == "daily"]
    assert "15 6 * * *" == daily["cron"]
    deployment = prefect.send("GET", "/deployments/name/report/report")["id"]
    soon = {"schedule": {"cron": "* * * * *", "timezone": "UTC"}, "active": True}
    [made] = prefect.send("POST", f"/deployments/{deployment}/schedules", [soon])
    before = operators_reports(marketplace)

    def reported() -> list[dict[str, Any]]:
        runs = prefect.send("POST", "/flow_runs/filter", runs_of(prefect, "report"))
        return [run for run in runs if run["auto_scheduled"]]

    until(reported)
    prefect.send("DELETE", f"/deployments/{deployment}/schedules/{made['id']}")
    assert len(before) < len(operators_reports(marketplace))


def test_failed_run_is_an_event(marketplace: Any, prefect: PrefectApi, url: str):
    """The mirror says so once; a minute later a run of `tell-failures` is due."""
    order = ("--provider", "local", "--task", "consensus", "--hp", "experts=none")
    run_id = marketplace.vendor.json("train", "start", *order)["run_id"]
    until(lambda: marketplace.vendor.json("train", "status", run_id)["status"] == "failed")
    wanted = {"filter": {"event": {"name": [automations.RUN_FAILED]}}, "limit": 50}
    told = until(lambda: [one for one in prefect.send("POST", "/events/filter", wanted)["events"]
                          if one["resource"]["prefect.resource.name"] == run_id])  # fmt: skip
    assert 1 == len(told)
    deployment = prefect.send("GET", "/deployments/name/tell-failures/tell-failures")["id"]
    due = {"flow_runs": {"deployment_id": {"any_": [deployment]}}, "limit": 5}
    assert until(lambda: prefect.send("POST", "/flow_runs/filter", due))
    assert httpx.get(f"{url}/health").is_success
