"""Automations with a real Prefect: they are there, they fire end to end, and making them again changes nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from mp_kit.errors import InvalidInputError, NotFoundError
from mp_kit.server import automations
from mp_kit.server.prefect_api import PrefectApi

pytestmark = [pytest.mark.hardening, pytest.mark.slow, pytest.mark.timeout(300)]
PATIENCE_SECONDS = 150.0


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


def test_failed_run_is_an_event(marketplace: Any, prefect: PrefectApi, url: str):
    """The mirror says so once; a minute later a run of `tell-failures` is due."""
    started = marketplace.vendor.json("train", "start", "--provider", "local", "--hp", "model_type=none")
    run_id = started["run_id"]
    until(lambda: marketplace.vendor.json("train", "status", run_id)["status"] == "failed")
    wanted = {"filter": {"event": {"name": [automations.RUN_FAILED]}}, "limit": 50}
    told = until(lambda: [one for one in prefect.send("POST", "/events/filter", wanted)["events"]
                          if one["resource"]["prefect.resource.name"] == run_id])  # fmt: skip
    assert 1 == len(told)
    deployment = prefect.send("GET", "/deployments/name/tell-failures/tell-failures")["id"]
    due = {"flow_runs": {"deployment_id": {"any_": [deployment]}}, "limit": 5}
    assert until(lambda: prefect.send("POST", "/flow_runs/filter", due))
    assert httpx.get(f"{url}/health").is_success
