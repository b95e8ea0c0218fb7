"""`mp train`: each command's result and exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mp_kit.client import runs
from mp_kit.contracts import RunStatus
from mp_kit.errors import BudgetError, CredentialError, MarketplaceError, NetworkError
from mp_kit.testing import FakeMarketplace

Mp = Any


def test_start_sends_every_option(mp: Mp, signed_in: FakeMarketplace):
    """Machine, image, repository, tracking, bounds: as the order says them."""
    machine = ("--gpu", "L4", "--cpu", "4", "--memory", "16", "--disk", "80", "--image", "acme/trainer:1")
    more = ("--hf-repo", "acme/trend", "--wandb-project", "trend", "--max-hours", "2", "--max-cost", "3")
    order = mp("train", "start", *machine, *more, "--dry-run", "--json").data["order"]
    assert ("L4", 4, 16, 80, "acme/trainer:1") == tuple(
        order[name] for name in ("gpu", "cpu", "memory", "disk", "base_image")
    )
    assert ("acme/trend", {"enabled": True, "project": "trend"}) == (order["hf_repo_id"], order["wandb"])
    assert {"max_hours": 2.0, "max_cost_usd": 3.0} == order["budget"]
    assert "POST /api/training/estimate" == signed_in.requests[-1]
    assert "POST /api/training/runs" not in signed_in.requests


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BudgetError("Too dear."), 6),
        (CredentialError("RunPod is not connected."), 7),
        (NetworkError("Nobody there."), 9),
    ],
)
def test_start_that_is_refused(mp: Mp, signed_in: FakeMarketplace, error: MarketplaceError, code: int):
    """Budget 6, credential and conflict 7, network 9; the error is JSON as the last line of stderr."""
    signed_in.fail(error, times=4, path="/api/training/runs")
    said = mp("train", "start", "--json")
    assert (code, "", error.code) == (said.code, said.out, said.error["code"])


@pytest.mark.parametrize(("last", "code"), [(RunStatus.SUCCEEDED, 0), (RunStatus.FAILED, 1), (RunStatus.CANCELLED, 1)])
def test_wait_tells_how_it_ended(mp: Mp, signed_in: FakeMarketplace, last: RunStatus, code: int):
    """0 succeeded, 1 failed or cancelled; so does start --wait."""
    signed_in.runs.statuses = [RunStatus.QUEUED, last]
    mp("train", "start")
    said = mp("train", "wait", "run_1", "--json")
    assert (code, last.value) == (said.code, said.data["status"])
    assert code == mp("train", "start", "--wait").code


def test_status_with_its_history(mp: Mp, signed_in: FakeMarketplace):  # noqa: ARG001 - the fixture signs in
    """For people a table below the facts; as JSON in `events`."""
    mp("train", "start")
    text = mp("train", "status", "run_1", "--events").out
    assert ["Run run_1: running" in text, "It was ordered." in text] == [True, True]
    told = mp("train", "status", "run_1", "--events", "--json").data
    assert ("run_1", "created") == (told["run_id"], told["events"][0]["kind"])
    assert "events" not in mp("train", "status", "run_1", "--json").data


def test_logs_follow_to_the_end(mp: Mp, signed_in: FakeMarketplace, monkeypatch: pytest.MonkeyPatch):
    """Lines on stdout, how it ended on stderr; by streams and by pages the same."""
    monkeypatch.setattr(runs, "FIRST_POLL", 0.0)
    monkeypatch.setattr("mp_kit.client.log_follow._PAUSE_SECONDS", 0.0)
    mp("train", "start")
    said = mp("train", "logs", "-f", "run_1")
    assert (0, ["step 0", "step 1", "step 2"], "run run_1: succeeded\n") == (said.code, said.out.splitlines(), said.err)
    signed_in.runs.streams = False
    lines = mp("train", "logs", "-f", "run_1", "--after", "2", "--json").out.splitlines()
    assert [2] == [json.loads(line)["seq"] for line in lines]


@pytest.mark.parametrize("command", [("logs", "-f", "run_1"), ("wait", "run_1"), ("start", "--wait")])
def test_ctrl_c_leaves_the_run_going(
    mp: Mp, signed_in: FakeMarketplace, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
):
    """Exit code 130, a sentence on stderr, no request that ends anything."""
    signed_in.runs.statuses = [RunStatus.RUNNING]
    mp("train", "start")

    def pressed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runs.Run, "refresh", pressed)
    monkeypatch.setattr("mp_kit.client.log_follow.events", pressed)
    said = mp("train", *command)
    assert (130, True) == (said.code, "goes on" in said.err)
    assert "Traceback" not in said.err
    assert not [request for request in signed_in.requests if "cancel" in request]


def test_download_of_a_run_without_files(mp: Mp, signed_in: FakeMarketplace, tmp_path: Path):
    """Exit 7 while there are none, 4 where there is no such run; no folder is made."""
    signed_in.runs.statuses = [RunStatus.RUNNING]
    mp("train", "start")
    assert [7, 4] == [mp("train", "download", run, "-o", str(tmp_path / "m")).code for run in ("run_1", "run_9")]
    assert not (tmp_path / "m").exists()


def test_download_prints_the_folder(mp: Mp, signed_in: FakeMarketplace, tmp_path: Path):
    """`mp init --model` takes it; a second time, what lies there is not fetched again."""
    mp("train", "start", "--wait")
    assert "runs/run_1\n" == mp("train", "download", "run_1").out
    folder = tmp_path / "model"
    first = mp("train", "download", "run_1", "--output", str(folder), "--json").data
    assert (str(folder), sorted(path.name for path in folder.iterdir())) == (first["path"], sorted(first["files"]))
    assert [True] == list({"/files/" in request for request in signed_in.requests if "files" in request})
    signed_in.requests.clear()
    assert first == mp("train", "download", "run_1", "--output", str(folder), "--json").data
    assert not [request for request in signed_in.requests if "/files/" in request]


def test_stop_by_key_and_dry(mp: Mp, signed_in: FakeMarketplace):
    """A dry run stops nothing; stopping again is harmless."""
    signed_in.runs.statuses = [RunStatus.RUNNING]
    mp("train", "start")
    assert "would stop run_1\n" == mp("train", "stop", "run_1", "--dry-run").out
    for _ in range(2):
        assert "cancelled" == mp("train", "stop", "run_1", "--idempotency-key", "k", "--json").data["status"]
    assert 2 == len([request for request in signed_in.requests if "cancel" in request])
