"""The whole entry in processes of its own: a container's first process, its wrapper, its job, and the pod's end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pods
import pytest

KEY = "rpa_" + "9" * 40
SRC = str(Path(__file__).parents[3] / "src")
SLEEPY = "import os, time; print('pid', os.getpid(), flush=True); print('awake', flush=True); time.sleep(600)"


@pytest.fixture
def told() -> Iterator[pods.Told]:
    with pods.serving() as running:
        yield running


@pytest.fixture
def pod(environ: dict[str, str], told: pods.Told) -> dict[str, str]:
    """The environment of a RunPod pod."""
    paths = {"PATH": os.environ["PATH"], "PYTHONPATH": SRC}
    inside = {"RUNPOD_POD_ID": "pod1", "RUNPOD_API_KEY": KEY, "MP_RUNPOD_URL": f"{told.url}/v2"}
    return environ | paths | inside | {"MP_API_URL": told.url}


@contextmanager
def container(env: dict[str, str], code: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The entry around a line of Python, as a container's main process; killed at the end like a container."""
    with (folder / "container.log").open("ab") as log:
        command = [sys.executable, "-m", "mp_kit.trainer", "--", sys.executable, "-c", code]
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=folder)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def wait_for(so: Callable[[], Any], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_pod_is_ended_after_the_outcome(pod: dict[str, str], told: pods.Told, tmp_path: Path):
    """DELETE with a name of our own and the pod's key; the outcome was told before; the process stays, asleep."""
    with container(pod, "print('done')", tmp_path) as process:
        wait_for(lambda: told.asked)
        assert ["succeeded"] == [outcome["status"] for outcome in told.outcomes]
        [(method, path, agent, authorization)] = told.asked
        assert ("DELETE", "/v2/pods/pod1", f"Bearer {KEY}") == (method, path, authorization)
        assert agent.startswith("mp-kit-trainer/")
        assert process.poll() is None


def test_refused_delete_becomes_a_stop(pod: dict[str, str], told: pods.Told, tmp_path: Path):
    """A key that may not delete may stop."""
    told.status = 403
    with container(pod, "print('done')", tmp_path):
        wait_for(lambda: len(told.asked) >= 2)
    assert [("DELETE", "/v2/pods/pod1"), ("POST", "/v2/pods/pod1/action")] == [call[:2] for call in told.asked[:2]]


@pytest.mark.parametrize("missing", ["TRAINING_SPEC", "MP_RUN_TOKEN"])
def test_broken_environment_ends_the_pod_too(pod: dict[str, str], told: pods.Told, tmp_path: Path, missing: str):
    """Nothing can be told to anybody, but nothing is paid for either."""
    del pod[missing]
    with container(pod, "print('done')", tmp_path):
        wait_for(lambda: told.asked)
    assert missing in (tmp_path / "container.log").read_text()


def test_without_a_key_it_sleeps(pod: dict[str, str], told: pods.Told, tmp_path: Path):
    """An exit would start the training again: it stays until it is told to go."""
    del pod["RUNPOD_API_KEY"]
    with container(pod, "print('done')", tmp_path) as process:
        wait_for(lambda: told.outcomes and not children(process.pid))
        assert process.poll() is None
        process.terminate()
        assert 0 == process.wait(timeout=30)
    assert [] == told.asked


def test_outside_of_a_pod_the_exit_code_is_the_wrappers(pod: dict[str, str], told: pods.Told, tmp_path: Path):
    """0 succeeded, 1 failed, 143 cancelled, 2 incomplete: as docs/runs.md has it."""
    outside = {name: value for name, value in pod.items() if not name.startswith("RUNPOD")}
    codes = {}
    for name, code in (("good", "print()"), ("bad", "raise SystemExit(7)"), ("stopped", SLEEPY)):
        env = outside | {"MP_RUN_DIR": str(tmp_path / name)}
        with container(env, code, tmp_path) as process:
            if name == "stopped":
                wait_for(lambda: "awake" in told.lines)
                process.terminate()
            codes[name] = process.wait(timeout=60)
    with container(outside | {"TRAINING_SPEC": "{}"}, "print()", tmp_path) as process:
        codes["incomplete"] = process.wait(timeout=60)
    assert {"good": 0, "bad": 1, "stopped": 143, "incomplete": 2} == codes


def test_restarted_container_trains_no_second_time(pod: dict[str, str], told: pods.Told, tmp_path: Path):
    """RunPod starts the main process again: the outcome is on disk, so it goes straight to the pod's end."""
    for count in (1, 2):
        with container(pod, "print('trained')", tmp_path):
            wait_for(lambda count=count: len(told.asked) == count)
    assert (1, 1) == (told.lines.count("trained"), len(told.outcomes))


def test_crash_loop_ends_with_an_outcome_and_without_a_pod(pod: dict[str, str], told: pods.Told, tmp_path: Path):
    """Each start kills the whole wrapper: it is started again in place, and the fourth start gives up."""
    with container(pod, "import os; os.kill(os.getppid(), 9)", tmp_path):
        wait_for(lambda: told.asked)
    [outcome] = told.outcomes
    assert "started 4 times" in outcome["failure"]


def test_kill_of_the_wrapper_restarts_it_and_nothing_trains_unwatched(
    pod: dict[str, str], told: pods.Told, tmp_path: Path
):
    """After kill -9 of the wrapper its job is dead, lines go on without gap or double, starts are counted."""
    with container(pod, SLEEPY, tmp_path) as process:
        wait_for(lambda: "awake" in told.lines)
        job = int(next(line for line in told.lines if line.startswith("pid ")).split()[1])
        [wrapper] = children(process.pid)
        os.kill(wrapper, signal.SIGKILL)
        wait_for(lambda: told.lines.count("awake") == 2)
        assert not Path(f"/proc/{job}").exists()
    starts = [line.split()[1] for line in told.lines if line.startswith("start ")]
    assert ["1", "2"] == starts
    assert 2 == json.loads((tmp_path / "run" / "state.json").read_text())["starts"]


def test_orphans_are_reaped(pod: dict[str, str], told: pods.Told, tmp_path: Path):
    """A job leaves a hundred orphans behind; none of them stays as a zombie."""
    code = (
        "import os, time\n"
        "for _ in range(100):\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        os._exit(0 if os.fork() else time.sleep(0.2) or 0)\n"
        "    os.wait()\n"
        "print('left', flush=True); time.sleep(600)"
    )
    with container(pod, code, tmp_path) as process:
        wait_for(lambda: "left" in told.lines)
        wait_for(lambda: len(children(process.pid)) == 1)


def test_marketplace_that_is_away_for_the_whole_run(pod: dict[str, str], told: pods.Told, tmp_path: Path):
    """The deadline ends the job, its overtime ends the delivery, and the pod goes without anybody having heard."""
    told.is_away = True
    pod["MP_DEADLINE"] = (datetime.now(UTC) + timedelta(seconds=1)).isoformat().replace("+00:00", "Z")
    code = (
        "import mp_kit.trainer.entry as e, mp_kit.trainer.init as i, mp_kit.trainer.patience as p, os, sys\n"
        "quick = p.Patience(grace=0.2, delivery=1.0, overtime=0.5)\n"
        "sleep = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
        "i.lead(lambda: e.run(sleep, patience=quick), os.environ, None)"
    )
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-c", code], env=pod, stdout=log, stderr=log)
    try:
        wait_for(lambda: told.asked)
    finally:
        process.kill()
        process.wait()
    exit_ = json.loads((tmp_path / "run" / "exit.json").read_text())
    assert (False, "failed") == (exit_["delivered"], exit_["outcome"]["status"])


def test_wrapper_that_is_stuck_is_killed_after_the_deadline(pod: dict[str, str], told: pods.Told, tmp_path: Path):
    """The second wall: whatever holds the wrapper, the pod is ended soon after the deadline on disk."""
    folder = tmp_path / "run"
    folder.mkdir()
    old = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    (folder / "state.json").write_text(json.dumps({"deadline": old, "boot": "", "boot_end": None}))
    code = "import mp_kit.trainer.init as i, os, pathlib, sys, time; i._LOOK_SECONDS = 0.1;"
    code += "i.lead(lambda: time.sleep(600) or 0, os.environ, pathlib.Path(os.environ['MP_RUN_DIR']))"
    process = subprocess.Popen([sys.executable, "-c", code], env=pod, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: told.asked)
    finally:
        process.kill()
        process.wait()


def test_the_pods_key_reaches_nobody(pod: dict[str, str], told: pods.Told, tmp_path: Path):
    """Neither the job's environment nor that of its ancestors, nor any log."""
    code = (
        "import os, pathlib\n"
        "print(sorted(name for name in os.environ if 'RUNPOD' in name))\n"
        "try:\n"
        "    print(pathlib.Path(f'/proc/{os.getppid()}/environ').read_bytes())\n"
        "except OSError as error:\n"
        "    print('kept out', type(error).__name__)\n"
    )
    with container(pod, code, tmp_path):
        wait_for(lambda: told.asked)
    assert "[]" in told.lines
    everything = "\n".join(told.lines) + (tmp_path / "container.log").read_text()
    assert KEY not in everything
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
