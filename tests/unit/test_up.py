"""Ports and children of ``mp up``."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mp_kit.errors import SetupError
from mp_kit.server import up
from mp_kit.server.processes import Supervisor
from mp_kit.server.store.embedded import Server


def test_prefect_gets_a_port_where_the_lock_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whatever another account puts into the common folder, `mp up` starts."""
    (tmp_path / f"mp-prefect-{os.getuid()}.lock").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with up._prefect_port(3010) as port:
        assert 3010 != port
        assert up._is_free(port)
    assert not (tmp_path / "elsewhere").exists()


def test_up_with_a_task_runner_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It is refused before anything is started."""
    monkeypatch.setenv("MP_TASK_RUNNER", "ray:2")
    with pytest.raises(SetupError, match="MP_TASK_RUNNER"):
        up.run(tmp_path / "home", 0, source="none", say=print, ready=print)
    assert not (tmp_path / "home").exists()


def test_up_hands_the_task_runner_to_its_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A process in the worker's place sees the variable; Prefect gives it to the flow runs that it starts."""
    monkeypatch.setenv("MP_TASK_RUNNER", "dask:2")
    place = up.Place(tmp_path, 3010, 4200)
    children = up.children(place, Server(tmp_path, tmp_path, os.getpid()), lambda: True)
    worker = next(child for child in children if child.name == "worker")
    shown = "import os, time; print(os.environ['MP_TASK_RUNNER'], flush=True); time.sleep(60)"
    log = tmp_path / "worker.log"
    with Supervisor([replace(worker, argv=[sys.executable, "-c", shown], cwd=None)], tmp_path):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not (log.exists() and log.read_text()):
            time.sleep(0.05)
    assert "dask:2\n" == log.read_text()


@pytest.mark.parametrize("schedules", [True, False])
def test_up_tells_its_worker_whether_schedules_run(tmp_path: Path, schedules: bool):
    """Without them flows run when they are asked for, and only then."""
    place = up.Place(tmp_path, 3010, 4200, schedules)
    [worker] = [child for child in up.children(place, Server(tmp_path, tmp_path, 1), bool) if child.name == "worker"]
    assert schedules == ("--no-schedules" not in worker.argv)
