"""A run on a vendor's own machine: ordered, handed out, run by the real wrapper, heard to its end."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from mp_kit.server.house import House
from mp_kit.server.services import supervisor
from mp_kit.server.services.tokens import Principal

RUNS = "/api/training/runs"
SRC = str(Path(__file__).parents[2] / "src")


@pytest.fixture
def desk(edge_house: House) -> supervisor.Desk:
    """A supervisor's desk with the house's own providers."""
    with edge_house.db.begin() as tx:
        key = {"sha": "0" * 64}
        tx.execute(text("INSERT INTO signing_keys (id, public_key) VALUES ('key', 'x') ON CONFLICT DO NOTHING"))
        tx.execute(
            text(
                "INSERT INTO dataset_rounds (id, name, is_current, fingerprint, manifest, manifest_sha256,"
                " manifest_key_id, manifest_signature) VALUES ('rnd', 'rnd', true, 'rnd', 'x', :sha, 'key', 'x')"
                " ON CONFLICT DO NOTHING"
            ),
            key,
        )
    house = edge_house
    mint, base = house.tokens.run_token, house.settings.base_url
    return supervisor.Desk(house.db, house.store, house.providers, mint, base, house.vault)


@pytest.fixture
def order(edge: httpx.Client, vendor: SimpleNamespace) -> Callable[[], str]:
    """Orders a byoc run; its id."""

    def place() -> str:
        body = {"round_id": "rnd", "task": "signal", "provider": "byoc", "budget": {"max_hours": 2}}
        answer = edge.post(RUNS, json=body, headers=vendor.headers)
        assert 200 == answer.status_code, answer.text
        return str(answer.json()["data"]["run_id"])

    return place


def supervise(desk: supervisor.Desk, so: Callable[[], Any]) -> None:
    end = time.monotonic() + 60
    while not so():
        assert time.monotonic() < end, "it never came to that"
        if not supervisor.cycle(desk):
            time.sleep(0.05)


def look(edge: httpx.Client, vendor: SimpleNamespace, run_id: str) -> Any:
    return edge.get(f"{RUNS}/{run_id}", headers=vendor.headers).json()["data"]


def fetch(edge: httpx.Client, vendor: SimpleNamespace, run_id: str) -> httpx.Response:
    return edge.post(f"{RUNS}/{run_id}/environment", headers=vendor.headers)


def launched(desk: supervisor.Desk, edge: httpx.Client, vendor: SimpleNamespace, run_id: str) -> dict[str, str]:
    """The environment, once the supervisor has looked at the run."""
    supervise(desk, lambda: fetch(edge, vendor, run_id).status_code == 200)
    env: dict[str, str] = fetch(edge, vendor, run_id).json()["data"]["env"]
    return env


def test_own_machine_story(
    desk: supervisor.Desk,
    edge: httpx.Client,
    vendor: SimpleNamespace,
    order: Callable[[], str],
    tmp_path: Path,
):
    """Queued until it speaks, succeeded once it told so; artifacts and log are there, the cost is none."""
    run_id = order()
    assert 503 == fetch(edge, vendor, run_id).status_code
    env = launched(desk, edge, vendor, run_id)
    assert "queued" == look(edge, vendor, run_id)["status"]
    file = tmp_path / "run.env"
    file.write_text("# a remark\n" + "".join(f"{name}={value}\n" for name, value in env.items()))
    code = "import os, pathlib; print('hi'); pathlib.Path(os.environ['MP_ARTIFACT_DIR'], 'model.bin').write_text('abc')"
    paths = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    ended = subprocess.run(
        [sys.executable, "-m", "mp_kit.trainer", "--env-file", str(file), "--", sys.executable, "-c", code],
        env={**paths, "PYTHONPATH": SRC, "MP_RUN_DIR": str(tmp_path / "run")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert 0 == ended.returncode, ended.stderr
    supervise(desk, lambda: look(edge, vendor, run_id).get("finished_at"))
    run = look(edge, vendor, run_id)
    assert ("succeeded", ["model.bin"]) == (run["status"], [each["name"] for each in run["artifacts"]["files"]])
    assert not run.get("cost_usd")
    lines = edge.get(f"{RUNS}/{run_id}/logs", headers=vendor.headers).json()["data"]["lines"]
    assert "hi" in [line["text"] for line in lines]
    assert 409 == fetch(edge, vendor, run_id).status_code


def test_cancelled_before_it_spoke(
    desk: supervisor.Desk, edge: httpx.Client, vendor: SimpleNamespace, order: Callable[[], str]
):
    """Nothing of it is left, because nothing ever was; a job that starts all the same is told to stop."""
    run_id = order()
    env = launched(desk, edge, vendor, run_id)
    edge.post(f"{RUNS}/{run_id}/cancel", headers=vendor.headers)
    supervise(desk, lambda: look(edge, vendor, run_id).get("finished_at"))
    assert "cancelled" == look(edge, vendor, run_id)["status"]
    bearer = {"Authorization": f"Bearer {env['MP_RUN_TOKEN']}"}
    beat = edge.post(f"{RUNS}/{run_id}/heartbeat", json={}, headers=bearer)
    assert "stop" == beat.json()["data"]["command"]


def test_environment_is_for_its_vendor_alone(
    desk: supervisor.Desk,
    edge: httpx.Client,
    vendor: SimpleNamespace,
    new_vendor: Callable[[], SimpleNamespace],
    order: Callable[[], str],
):
    """A stranger finds no run, a run token may not ask, and a run that runs elsewhere is not handed out."""
    run_id = order()
    env = launched(desk, edge, vendor, run_id)
    assert 404 == fetch(edge, new_vendor(), run_id).status_code
    bearer = SimpleNamespace(headers={"Authorization": f"Bearer {env['MP_RUN_TOKEN']}"})
    assert 403 == fetch(edge, bearer, run_id).status_code
    local = edge.post(RUNS, json={"round_id": "rnd", "task": "signal", "provider": "local"}, headers=vendor.headers)
    refused = fetch(edge, vendor, local.json()["data"]["run_id"])
    assert (409, True) == (refused.status_code, "runs on local" in refused.json()["error"])


def test_handing_out_is_on_record(
    desk: supervisor.Desk, edge: httpx.Client, edge_house: House, vendor: SimpleNamespace, order: Callable[[], str]
):
    """Audit and history know each handing out, and neither knows the token."""
    run_id = order()
    env = launched(desk, edge, vendor, run_id)
    with edge_house.db.begin() as tx:
        rows = tx.execute(text("SELECT * FROM audit_log WHERE subject = :run"), {"run": run_id}).all()
        history = tx.execute(text("SELECT * FROM run_events WHERE run_id = :run"), {"run": run_id}).all()
    assert {"run.environment"} == {row.action for row in rows}
    assert env["MP_RUN_TOKEN"] not in repr((rows, history))


def test_token_of_the_environment_is_the_runs(
    desk: supervisor.Desk, edge: httpx.Client, edge_house: House, vendor: SimpleNamespace, order: Callable[[], str]
):
    """It speaks for this run, and for nothing else."""
    run_id = order()
    env = launched(desk, edge, vendor, run_id)
    who: Principal = edge_house.tokens.authenticate(env["MP_RUN_TOKEN"], edge_house.db.begin)
    assert ("run", run_id, vendor.id) == (who.kind, who.run_id, who.vendor_id)


def mp(house: House, vendor: SimpleNamespace, *arguments: str) -> str:
    """What the command prints, in a process of its own."""
    env = {"PATH": os.environ["PATH"], "HOME": str(house.settings.home), "MP_TOKEN": vendor.key}
    env |= {"PYTHONPATH": SRC, "MP_API_URL": house.settings.base_url}
    code = "import sys; from mp_kit.cli.main import run; sys.exit(run())"
    said = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert 0 == said.returncode, said.stderr
    return said.stdout


def test_command_writes_a_file_for_its_owner_alone(
    desk: supervisor.Desk, edge: httpx.Client, edge_house: House, vendor: SimpleNamespace, tmp_path: Path
):
    """``mp train start`` and ``mp train env``: JSON, or a file of mode 0600, also over one that was open to all."""
    target = tmp_path / "run.env"
    target.write_text("old")
    target.chmod(0o644)
    with supervising(desk):
        start = ("train", "start", "--round", "rnd", "--provider", "byoc")
        run_id = mp(edge_house, vendor, *start, "--env-file", str(target)).strip()
    assert 0o600 == stat.S_IMODE(target.stat().st_mode)
    names = {line.partition("=")[0] for line in target.read_text().splitlines() if not line.startswith("#")}
    shown = json.loads(mp(edge_house, vendor, "train", "env", run_id, "--json"))
    assert set(shown["env"]) == names
    assert {"MP_RUN_TOKEN", "MP_API_URL", "TRAINING_SPEC", "MP_DEADLINE", "DATASET_URLS"} <= names
    assert "queued" == look(edge, vendor, run_id)["status"]


@contextlib.contextmanager
def supervising(desk: supervisor.Desk) -> Iterator[None]:
    """A supervisor for the length of a block."""
    over = threading.Event()
    watching = {"seconds": 120.0, "poll": 0.1, "stop": over.is_set}
    thread = threading.Thread(target=supervisor.watch, args=(desk,), kwargs=watching)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
