"""From a project to a server that the marketplace runs, whose signal is in the consensus; by commands alone."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from mp_kit.client.marketplace import Marketplace
from mp_kit.serving.window import window_of_round

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_init_validate_deploy_and_be_heard(marketplace: Any):
    """The guide's way, and then the gates: what is missing for prod is told by name."""
    vendor, operator = marketplace.vendor, marketplace.operator
    assert 0 == vendor.run("init", "--template", "runpod-signal-http", "--name", "mine").returncode
    said = vendor.run("validate", "--dir", "mine", "--max-p95-ms", "60000", "--json")
    assert 0 == said.returncode, said.stderr
    (vendor.folder / "report.json").write_text(said.stdout)

    run = vendor.json("train", "start", "--provider", "local", "--hp", "model_type=logistic")["run_id"]
    assert 0 == vendor.run("train", "wait", run).returncode
    made = vendor.json("register", "--name", "hosted", "--version", "1", "--run-id", run, "--report", "report.json")
    assert 0 == vendor.run("models", "promote", "hosted", "1", "pilot", "--why", "to be heard").returncode

    live = vendor.json("deploy", "--provider", "local", "--model", "hosted:1", "--name", "hosted-live")
    assert ("ready", "online", "running") == (live["status"], live["liveness"], live["hosting"]["state"])
    assert None is live.get("infra_token")
    listed = vendor.run("deployments", "list").stdout
    assert "hosted-live is online" in listed

    symbol = "EURUSD"
    with Marketplace(marketplace.url, marketplace.vendor_key) as market:
        window = window_of_round(market, symbols=[symbol])
    question = {"symbol": symbol, "timeframe": window.timeframe, "ohlcv": window.rows(symbol, 700)}
    answer = httpx.post(f"{live['endpoint']}/infer", json=question, timeout=30)
    assert 200 == answer.status_code, answer.text
    assert 0 == vendor.run("deployments", "stop", "hosted-live").returncode  # on its way out it sends what waits
    operator.json("admin", "flow", "run", "ingest-signals")
    query = {"symbol": symbol, "timeframe": window.timeframe}
    blended = httpx.get(f"{marketplace.url}/api/consensus/latest", params=query).json()["data"]
    assert live["deployment_id"] in json.dumps(blended["contributions"])

    refused = vendor.run("models", "promote", "hosted", "1", "prod", "--json")
    error = json.loads(refused.stderr.splitlines()[-1])["error"]
    assert (7, True, True) == (refused.returncode, "approval" in error["message"], "validated" not in error["message"])
    assert 0 == operator.run("admin", "model", "approve", made["model_id"], "1", "--why", "rehearsed").returncode
    [version] = vendor.json("models", "lineage", "hosted")["versions"]
    assert (run, 1, True) == (
        version["run"]["run_id"],
        version["deployments"][0]["signals"],
        next(gate["met"] for gate in version["gates"] if gate["name"] == "approval"),
    )
    assert 0 == vendor.run("deployments", "remove", "hosted-live").returncode


def test_a_linked_token_is_tried_and_leaves_no_signal(marketplace: Any):
    """The round trip is a dry run; revoked, it fails as a foreign token does."""
    vendor = marketplace.vendor
    linked = vendor.json("link-infra", "--name", "linked", "--test")
    assert "accepted" == linked["test"]
    assert [] == vendor.json("signals", "list", "--deployment", linked["deployment_id"])
    vendor.json("link-infra", "--deployment", linked["deployment_id"], "--rotate", "--overlap", "600", "--test")
    assert 2 == vendor.json("link-infra", "--deployment", linked["deployment_id"], "--revoke")["revoked"]
