"""The reference job from end to end: data by HTTP, artifacts, the model hub, the tracker, and their troubles."""

from __future__ import annotations

import functools
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hub as hubs
import pytest
from trainer_rounds import build, walk

from mp_kit.trainer import hub as pushing
from mp_kit.trainer import tracking
from mp_kit.trainer.job import main
from mp_kit.trainer.predict import Predictor

TOKEN = "hf_right_token"
SPECS: dict[str, dict[str, Any]] = {
    "signal": {"model_type": "logistic", "epochs": 1},
    "consensus": {"epochs": 2},
    "optimizer": {"lookback": 40, "rebalance_bars": 20, "return_shrinkage": 0.5},
}


class _Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Keeps quiet."""


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """A round's files behind URLs."""
    folder = tmp_path_factory.mktemp("round")
    paths = build(folder, [walk("EURUSD", 1_200, 1), walk("GBPUSD", 1_200, 2)])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Files, directory=folder))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield [f"http://127.0.0.1:{server.server_address[1]}/{path.name}" for path in paths]
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def hub() -> Iterator[hubs.Hub]:
    with hubs.serve() as running:
        yield running


Make = Callable[..., dict[str, str]]


@pytest.fixture
def make_environ(environ: dict[str, str], urls: list[str], tmp_path: Path) -> Make:
    """A factory of a job's environment."""

    def make(task: str = "consensus", *, hyperparams: dict[str, Any] | None = None, **spec: Any) -> dict[str, str]:
        order = {"round_id": "rnd_1", "task": task, "hyperparams": SPECS[task] if hyperparams is None else hyperparams}
        (tmp_path / "artifacts").mkdir(exist_ok=True)
        return environ | {
            "TASK": task,
            "TRAINING_SPEC": json.dumps(order | spec),
            "DATASET_URLS": json.dumps(urls),
            "MP_REPORT_FILE": str(tmp_path / "report.jsonl"),
            "MP_ARTIFACT_DIR": str(tmp_path / "artifacts"),
        }

    return make


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], int]:
    """Runs the job in this process."""

    def run(environ: dict[str, str]) -> int:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        return main()

    return run


def reported(tmp_path: Path) -> dict[str, Any]:
    """The last value of each metric, and the failure."""
    entries = [json.loads(line) for line in (tmp_path / "report.jsonl").read_text().splitlines()]
    metrics: dict[str, Any] = {}
    for entry in entries:
        metrics |= entry.get("metrics", {}) | {key: entry[key] for key in entry if key == "failure"}
    return metrics


@pytest.mark.parametrize("task", SPECS)
def test_each_task_leaves_its_model(make_environ: Make, run_here: Callable[..., int], tmp_path: Path, task: str):
    """Exit code 0; graph and card lie among the artifacts, load, and are nowhere else."""
    assert 0 == run_here(make_environ(task))
    assert task == Predictor.load(tmp_path / "artifacts").task
    assert {"model.onnx", "model_card.json"} == {path.name for path in (tmp_path / "artifacts").iterdir()}
    assert "warnings" not in reported(tmp_path)


@pytest.mark.parametrize("task", SPECS)
def test_bad_hyperparameters_fail_before_anything_is_fetched(
    make_environ: Make, run_here: Callable[..., int], tmp_path: Path, task: str
):
    """Exit code 1, a sentence that names the allowed ones, and not a byte of data."""
    assert 1 == run_here(make_environ(task, hyperparams={"magic": 1}))
    assert "Hyperparameter magic is not known here. Use some of model_type" in reported(tmp_path)["failure"]
    assert not (tmp_path / "run" / "data").exists()


def test_job_pushes_and_tracks(make_environ: Make, hub: hubs.Hub, tmp_path: Path):
    """One private repository with exactly the artifacts and a page; curves and config in the tracker's own file."""
    environ = make_environ(hf_repo_id="vendor/blend", wandb={"enabled": True, "project": "fx"})
    environ |= {"HF_TOKEN": TOKEN, "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "hf")}
    environ |= {"WANDB_MODE": "offline", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "mp_kit.trainer.job"],
        env={"PATH": os.environ["PATH"], **environ},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert 0 == done.returncode, done.stderr
    metrics = reported(tmp_path)
    assert "warnings" not in metrics, metrics["warnings"]
    _check_hub(hub, metrics, tmp_path / "artifacts")
    _check_tracker(tmp_path / "run" / "wandb", metrics)


def _check_hub(hub: hubs.Hub, metrics: dict[str, Any], artifacts: Path) -> None:
    files = hub.files["vendor/blend"]
    page = files["README.md"].decode()
    made = hub.repos["vendor/blend"]
    assert made.get("private") is True or made.get("visibility") == "private"  # as older and newer clients say it
    assert {path.name: path.read_bytes() for path in artifacts.iterdir()} == {
        name: content for name, content in files.items() if name != "README.md"
    }
    assert ("vendor/blend", 40) == (metrics["hf_repo"], len(metrics["hf_commit"]))
    assert f"| validation_log_loss | {metrics['validation_log_loss']} |" in page


def _check_tracker(folder: Path, metrics: dict[str, Any]) -> None:
    [path] = folder.glob("wandb/offline-run-*/run-*.wandb")
    records = wandb_records(path)
    losses = [
        json.loads(item.value_json)
        for record in records
        for item in record.history.item
        if "loss" in (item.key, *item.nested_key)
    ]
    config = {item.key: json.loads(item.value_json) for record in records for item in record.run.config.update}
    summary = {
        item.key or item.nested_key[0]: json.loads(item.value_json)
        for record in records
        for item in record.summary.update
    }
    assert (2, {"fx"}) == (len(losses), {record.run.project for record in records if record.run.project})
    assert ("consensus", 2) == (config["task"], config["epochs"])
    assert summary["validation_log_loss"] == pytest.approx(metrics["validation_log_loss"])


def wandb_records(path: Path) -> list[Any]:
    """The records of an offline run: LevelDB's log format behind a header of seven bytes."""
    from wandb.proto import wandb_internal_pb2

    content, at, part, records = path.read_bytes(), 7, b"", []
    while at + 7 <= len(content):
        if 32_768 - at % 32_768 < 7:
            at += 32_768 - at % 32_768
            continue
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        part += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in {1, 4}:  # whole, or the last part
            records.append(wandb_internal_pb2.Record.FromString(part))
            part = b""
    return records


TROUBLE = {
    "wrong token": ({"HF_TOKEN": "hf_wrong_token"}, {}, "401"),
    "forbidden": ({"HF_TOKEN": TOKEN}, {"create": 403}, "403"),
    "nobody there": ({"HF_TOKEN": TOKEN, "HF_ENDPOINT": "http://127.0.0.1:9"}, {}, "not pushed to vendor/blend"),
    "no token": ({}, {}, "no HF_TOKEN"),
}


@pytest.mark.parametrize("case", TROUBLE)
def test_a_hub_in_trouble_costs_no_model(
    make_environ: Make, run_here: Callable[..., int], hub: hubs.Hub, tmp_path: Path, case: str
):
    """Exit code 0, the model is there, one warning says why it was not pushed, without the token."""
    more, hub.refuse, sentence = TROUBLE[case]
    environ = make_environ(hf_repo_id="vendor/blend") | {"HF_ENDPOINT": hub.url, "HF_TOKEN": ""} | more
    assert 0 == run_here(environ)
    [warning] = reported(tmp_path)["warnings"]
    assert sentence in warning
    assert not more.get("HF_TOKEN") or more["HF_TOKEN"] not in warning
    assert Predictor.load(tmp_path / "artifacts").task == "consensus"
    assert "hf_commit" not in reported(tmp_path)


def test_a_tracker_in_trouble_costs_no_model(
    make_environ: Make, run_here: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A tracker that fails at any call is given up with one warning."""

    class Broken:
        def log(self, values: dict[str, Any], step: int) -> None:
            raise ConnectionError(f"no route for {len(values)} values of step {step}")

    monkeypatch.setattr(tracking.Tracker, "_init", lambda self, *_: setattr(self, "_run", Broken()))
    assert 0 == run_here(make_environ(wandb={"enabled": True}))
    [warning] = reported(tmp_path)["warnings"]
    assert "Weights & Biases was given up: no route for 1 values of step 1" in warning
    assert Predictor.load(tmp_path / "artifacts").task == "consensus"


def test_missing_extras_are_named(
    make_environ: Make, run_here: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Neither library is installed: two warnings with their install lines, and the model."""
    for module in (pushing, tracking):
        monkeypatch.setattr(module, "find_spec", lambda _: None)
    environ = make_environ(hf_repo_id="vendor/blend", wandb={"enabled": True}) | {"HF_TOKEN": TOKEN}
    assert 0 == run_here(environ)
    warnings = reported(tmp_path)["warnings"]
    assert ["mp-kit[wandb]", "mp-kit[hub]"] == [line.split("'")[1] for line in warnings]
    assert Predictor.load(tmp_path / "artifacts").task == "consensus"


def test_signals_beside_the_round_are_voices(make_environ: Make, run_here: Callable[..., int], tmp_path: Path):
    """A Parquet file that was laid into the job's data folder is among the card's data and voices."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    times = pa.array([1_600_000_000_000_000], pa.timestamp("us", tz="UTC"))
    rows = pa.table({"symbol": ["EURUSD"], "event_time": times, "decision": ["BUY"], "confidence": [0.5]})
    (tmp_path / "run" / "data").mkdir(parents=True)
    pq.write_table(rows, tmp_path / "run" / "data" / "signals-mine.parquet")
    assert 0 == run_here(make_environ())
    card = json.loads((tmp_path / "artifacts" / "model_card.json").read_text())
    assert "mine" in card["features"]
    assert "signals-mine.parquet" in card["data"]
