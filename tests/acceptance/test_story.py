"""The main job as people do it: by commands, by notebook, through Prefect, against a marketplace that runs."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from kernels import Executed

from mp_kit.server.storage import content_key

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_login_is_checked_and_kept_private(marketplace: Any):
    """A wrong key is refused with exit code 3; a good one is stored for its owner only."""
    wrong = "vk_0123456789abcdef_" + "x" * 43
    done = marketplace.vendor.run("login", "--api-url", marketplace.url, "--api-key", wrong)
    assert 3 == done.returncode
    assert wrong not in done.stdout + done.stderr
    config = marketplace.vendor.folder / "config/mp/config.json"
    assert 0o600 == config.stat().st_mode & 0o777


def test_data_commands(marketplace: Any):
    """List, info and pull by the guide's names; every file has the manifest's hash."""
    assert marketplace.vendor.json("data", "list")
    info = marketplace.vendor.json("data", "info", "--round", "current")
    assert info["is_current"] is True
    pulled = marketplace.vendor.json("data", "pull", "--round", "current", "--output", "pulled")
    folder = marketplace.vendor.folder / "pulled"
    manifest = json.loads((folder / "manifest.json").read_text())
    for file in manifest["files"]:
        assert file["sha256"] == hashlib.sha256((folder / file["name"]).read_bytes()).hexdigest()
    assert (len(manifest["files"]), True) == (len(pulled["files"]), pulled["verified"])


def test_flipped_byte_on_the_servers_disk(marketplace: Any):
    """A damaged file fails the pull by name and leaves nothing that looks finished."""
    file = httpx.get(f"{marketplace.url}/api/rounds/current").json()["data"]["files"][0]
    stored = marketplace.home / "objects" / content_key(file["sha256"])
    whole = stored.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 1
    stored.write_bytes(damaged)
    try:
        done = marketplace.vendor.run("data", "pull", "--round", "current", "--output", "damaged", "--json")
    finally:
        stored.write_bytes(whole)
    assert 1 == done.returncode
    error = json.loads(done.stderr.splitlines()[-1])["error"]
    assert ("integrity", True) == (error["code"], file["name"] in error["message"])
    assert not (marketplace.vendor.folder / "damaged" / file["name"]).exists()


@pytest.mark.hardening
def test_publishing_again_changes_nothing(marketplace: Any):
    """The same input is the same round, and the command says so."""
    again = marketplace.operator.json("admin", "round", "publish", "--symbols", "EURUSD,EURJPY")
    assert (False, False) == (again["created"], again["made_current"])


@pytest.mark.hardening
def test_faulty_source_publishes_nothing(marketplace: Any, tmp_path: Path):
    """A bar whose high is below its low is named, and the current round stays."""
    before = httpx.get(f"{marketplace.url}/api/rounds/current").json()["data"]["round_id"]
    rows = [f"2024-01-{day:02}T00:00:00Z,1.1,1.0,1.2,1.1,0" for day in range(1, 29)]
    (tmp_path / "EURUSD.csv").write_text("timestamp,open,high,low,close,volume\n" + "\n".join(rows) + "\n")
    done = marketplace.operator.run("admin", "round", "publish", "--source", str(tmp_path), "--json")
    assert 0 != done.returncode
    assert "EURUSD" in done.stderr
    assert before == httpx.get(f"{marketplace.url}/api/rounds/current").json()["data"]["round_id"]


def test_training_by_commands(marketplace: Any):
    """Start, wait, status, logs; the same idempotency key never starts a second run."""
    order = ["train", "start", "--task", "signal", "--round", "current", "--provider", "local", "--hp", "epochs=1"]
    key = ["--max-hours", "0.2", "--idempotency-key", "once"]
    run = marketplace.vendor.json(*order, *key)["run_id"]
    assert run == marketplace.vendor.json(*order, *key)["run_id"]
    assert 0 == marketplace.vendor.run("train", "wait", run).returncode
    status = marketplace.vendor.json("train", "status", run)
    assert "succeeded" == status["status"]
    assert 0 < status["metrics"]["validation_log_loss"] < 2
    assert "epoch 1/1" in marketplace.vendor.run("train", "logs", run).stdout


def test_unknown_things_have_their_exit_codes(marketplace: Any):
    """4 not found, 5 rejected by validation, 2 usage."""
    assert 4 == marketplace.vendor.run("train", "status", "run_none").returncode
    refused = marketplace.vendor.run("train", "start", "--task", "signal", "--provider", "local", "--max-hours", "-1")
    assert refused.returncode in {2, 5}
    assert 2 == marketplace.vendor.run("data", "pull", "--nonsense").returncode


@pytest.fixture(scope="module")
def quickstart(vendor_notebook: Callable[[str], Executed]) -> dict[str, Any]:
    """What the vendor's first notebook did, in its own words."""
    done = vendor_notebook("01_quickstart")
    summary: dict[str, Any] = json.loads((done.folder / "quickstart/summary.json").read_text())
    return summary


def test_consensus_and_catalogue_after_the_flow(quickstart: dict[str, Any], marketplace: Any):
    """The flow ingest-signals blends what was pushed; the public sees vendor and model."""
    marketplace.operator.json("admin", "flow", "run", "ingest-signals")
    bars = httpx.get(f"{marketplace.url}/api/consensus", params={"limit": 1000}).json()["data"]
    parts = [bar["contributions"].get(quickstart["deployment_id"]) for bar in bars]
    assert ["ACME"] * quickstart["accepted"] == [part["vendor"] for part in parts if part]
    catalog = httpx.get(f"{marketplace.url}/api/catalog").json()["data"]
    assert quickstart["model_id"] in {model["id"] for model in catalog}


def test_daily_report(quickstart: dict[str, Any], marketplace: Any):
    """The flow report writes a page that names the vendor and hides the code."""
    written = marketplace.operator.json("admin", "flow", "run", "report", "--param", "name=daily")["result"]["path"]
    page = Path(written).read_text()
    assert "ACME" in page
    assert "image/png" in page
    assert "open_house" not in page
    assert quickstart["run_id"] in page


def test_contracts_travel_over_curl(marketplace: Any):
    """The guide's first command, as it stands."""
    done = subprocess.run(
        [
            *("curl", "-s", "-X", "POST", f"{marketplace.url}/api/tokens/introspect"),
            *("-H", "Content-Type: application/json", "-d", '{"token": "sit_test_token"}'),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert {"success": True, "data": {"active": False}} == json.loads(done.stdout)
