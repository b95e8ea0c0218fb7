"""A vendor's first hour, by the shell alone: a project, its own tests, its server, and its validation.

A good server passes; servers that are spoiled one way each are caught by the check that is meant for it.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from mp_kit.contracts import ValidationReport
from mp_kit.serving.project import free_port
from mp_kit.serving.reference import SYMBOLS
from mp_kit.testing import sample_bars

pytestmark = pytest.mark.slow

MP = str(Path(sys.executable).with_name("mp"))
SERVERS = ("runpod-signal-http", "consensus-http", "optimizer-http")
_numbers = itertools.count()
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of somebody's, with a file of bars for each symbol."""
    folder = tmp_path_factory.mktemp("somebody")
    (folder / "bars").mkdir()
    for number, name in enumerate(SYMBOLS):
        sample_bars(700, symbol=number).to_pandas().to_csv(folder / "bars" / f"{name}.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def run(work: Path) -> Run:
    """Runs a program there, with nothing of ours in its environment and no marketplace."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MP_", "INFRA_", "PYTEST_"))}
    env = kept | {"HOME": str(work), "XDG_CONFIG_HOME": str(work / "config"), "XDG_CACHE_HOME": str(work / "cache")}

    def start(*command: str, folder: str = ".") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=work / folder, env=env, capture_output=True, text=True, check=False, timeout=200
        )

    return start


@pytest.fixture(scope="module")
def projects(run: Run) -> dict[str, str]:
    """One project of each server's template."""
    for template in SERVERS:
        done = run(MP, "init", "--template", template, "--name", template)
        assert 0 == done.returncode, done.stderr
    return {template: template for template in SERVERS}


def validate(run: Run, folder: str, *more: str) -> tuple[int, ValidationReport]:
    done = run(MP, "validate", "--bars", "../bars", "--max-p95-ms", "60000", "--json", *more, folder=folder)
    assert done.stdout, done.stderr
    return done.returncode, ValidationReport.model_validate_json(done.stdout)


@pytest.mark.parametrize(
    "template", [SERVERS[0], *(pytest.param(one, marks=pytest.mark.hardening) for one in SERVERS[1:])]
)
def test_project_passes_its_own_tests_and_the_contract(template: str, projects: dict[str, str], run: Run):
    """As it was rendered: nothing was written by hand."""
    tested = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", folder=projects[template])
    code, report = validate(run, projects[template])
    assert 0 == tested.returncode, tested.stdout
    assert (0, True, True, []) == (
        code,
        report.passed,
        report.holds,
        [check for check in report.checks if check.status != "passed"],
    )


@pytest.mark.hardening
def test_training_project_makes_a_model_that_a_server_takes(run: Run, work: Path):
    """From the training's project to the server's, and its contract."""
    assert 0 == run(MP, "init", "--template", "runpod-signal-train", "--dir", "training").returncode
    tested = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", folder="training")
    assert 0 == tested.returncode, tested.stdout
    code = "from pathlib import Path; from mp_kit.testing import sample_round; sample_round(Path('round'))"
    run(sys.executable, "-c", code, folder="training")
    trained = run(sys.executable, "train.py", "--data", "round", folder="training")
    assert 0 == trained.returncode, trained.stderr
    made = run(MP, "init", "--template", "runpod-signal-http", "--dir", "trained", "--model", "training/artifacts")
    assert 0 == made.returncode, made.stderr
    code, report = validate(run, "trained")
    card = json.loads((work / "training" / "artifacts" / "model_card.json").read_text())
    assert (0, f"signal-{card['onnx']['sha256'][:12]}") == (code, report.model_version)


@pytest.fixture
def spoiled(run: Run, work: Path) -> Callable[[str, str], str]:
    """A project whose code was changed."""

    def spoil(old: str, new: str) -> str:
        name = f"spoiled-{next(_numbers)}"
        assert 0 == run(MP, "init", "--template", "runpod-signal-http", "--dir", name).returncode
        app = work / name / "app.py"
        text = app.read_text()
        assert old in text
        app.write_text(text.replace(old, new))
        return name

    return spoil


@pytest.mark.hardening
@pytest.mark.parametrize(
    ("old", "new", "check"),
    [
        ("rows = live_features(", "raise KeyError(request.symbol)\n        rows = live_features(", "infer"),
        ('"confidence": confidence', '"confidence": 2 + confidence', "infer"),
        ('"confidence": confidence', '"confidence": __import__("random").random()', "determinism"),
        (
            "rows = live_features(",
            'globals().setdefault("FIRST", request)\n        request = FIRST\n        rows = live_features(',
            "variety",
        ),
        ("rows = live_features(", '__import__("time").sleep(0.02)\n        rows = live_features(', "latency"),
    ],
    ids=["raises", "outside", "random", "deaf", "slow"],
)
def test_spoiled_server_is_caught(old: str, new: str, check: str, spoiled: Callable[[str, str], str], run: Run):
    """By the check that is meant for it; exit 5 unless it is only a warning."""
    limit = ("--max-p95-ms", "10") if check == "latency" else ()
    code, report = validate(run, spoiled(old, new), *limit)
    [found] = [one for one in report.checks if one.name == check]
    assert ("warned" if check == "variety" else "failed") == found.status
    assert found.mend
    assert (0 if check == "variety" else 5) == code


@pytest.mark.hardening
def test_server_under_dev_lives_ends_and_leaves_nothing(projects: dict[str, str], work: Path):
    """SIGINT ends both; the port is free again."""
    port = free_port()
    process = subprocess.Popen(
        [MP, "dev", "--port", str(port)], cwd=work / projects["runpod-signal-http"], stderr=subprocess.PIPE, text=True
    )
    try:
        health = _answered(f"http://127.0.0.1:{port}/ready")
        assert {"ready": True} == health
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert 0 == process.returncode
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/health")


def _answered(url: str, seconds: float = 60.0) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            answer = httpx.get(url, timeout=5)
        except httpx.HTTPError:
            answer = httpx.Response(503)
        if answer.status_code == httpx.codes.OK:
            return answer.json()
        time.sleep(0.1)
    pytest.fail(f"{url} did not answer in {seconds:.0f} s")
