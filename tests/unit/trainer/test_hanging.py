"""Peers that neither answer nor hang up, clocks that jump, floods: a job ends in time all the same."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mp_kit.contracts.training import LogChunk, RunHeartbeat
from mp_kit.errors import NetworkError
from mp_kit.trainer.api import RunApi
from mp_kit.trainer.bounded import bounded
from mp_kit.trainer.environment import JobEnv
from mp_kit.trainer.limits import MAX_KEYS, MAX_METRICS_BYTES, merged, size_of
from mp_kit.trainer.machine import MachineProbe, parse_gpus
from mp_kit.trainer.patience import Patience
from mp_kit.trainer.report import Progress
from mp_kit.trainer.runtime import Wrapper
from mp_kit.trainer.spool import TAIL_LINES, LogSpool
from mp_kit.trainer.state import RunFolder
from mp_kit.trainer.watchdog import Watchdog

NOW = datetime(2026, 1, 5, tzinfo=UTC)
QUICK = Patience(grace=0.2, heartbeat=0.05, shipping=0.01, upload=0.3, delivery=0.3, overtime=0.3)


@pytest.fixture
def tar_pit() -> Iterator[str]:
    """The URL of a server that begins an answer and sends a header's byte now and then, for ever."""
    listener, over = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def drip(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not over.wait(0.05):
                connection.sendall(b"a")

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=drip, args=(listener.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    over.set()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def test_each_call_has_an_end(job_env: JobEnv, tar_pit: str):
    """A byte now and then resets a socket's timeout, not the call's."""
    api = RunApi(replace(job_env, api_url=tar_pit), seconds=0.2)
    with pytest.raises(NetworkError, match="No answer within"):
        api.heartbeat(RunHeartbeat())
    with pytest.raises(NetworkError, match="No answer within"):
        api.logs(LogChunk(seq=0, lines=[]))


def test_deadline_holds_while_every_call_hangs(job_env: JobEnv, tar_pit: str):
    """Heartbeats, log shipping and the outcome hang; the job is ended, and the wrapper ends too."""
    env = replace(job_env, api_url=tar_pit, deadline=datetime.now(UTC) + timedelta(seconds=0.5))
    api = RunApi(env, seconds=0.2)
    command = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
    outcome = Wrapper(env, api, command, environ={}, patience=QUICK).run()
    assert ("failed", "The time of the budget is used up; the job was stopped.") == (outcome.status, outcome.failure)
    known = RunFolder(env.folder).read_exit()
    assert known is not None
    assert not known.delivered


def test_deadline_holds_during_the_uploads(job_env: JobEnv, tar_pit: str):
    """A job that ended well and cannot get rid of its artifacts does not outlive its budget either."""
    env = replace(job_env, api_url=tar_pit, deadline=datetime.now(UTC) + timedelta(seconds=1.5))
    code = "import os, pathlib; pathlib.Path(os.environ['MP_ARTIFACT_DIR'], 'm').write_text('x')"
    patience = replace(QUICK, upload=600.0)
    outcome = Wrapper(env, RunApi(env, seconds=0.2), [sys.executable, "-c", code], environ={}, patience=patience).run()
    assert "artifacts could not be stored: the time of the budget is used up" in (outcome.failure or "")


def test_errors_of_a_bounded_call_come_through():
    """They are the caller's, as if there were no thread."""
    assert 7 == bounded(lambda: 7, 5.0, "seven")
    with pytest.raises(ZeroDivisionError):
        bounded(lambda: 1 // 0, 5.0, "nothing")


CLOCKS = {
    "both agree": (0.0, 0.0, 100.0),
    "wall clock set back": (-3_600.0, 90.0, 10.0),
    "wall clock set forward": (3_600.0, 1.0, -3_500.0),
    "asleep": (200.0, 200.0, -100.0),
}


@pytest.mark.parametrize("case", CLOCKS)
def test_clocks_that_jump(case: str):
    """The earlier of two clocks counts: setting one back buys no time."""
    wall, boot, expected = CLOCKS[case]
    dog = Watchdog(
        NOW + timedelta(seconds=100), 1_100.0, wall=lambda: NOW + timedelta(seconds=wall), boot=lambda: 1_000.0 + boot
    )
    assert expected == dog.left()


def test_orders_bring_the_end_forward_only():
    """A later deadline than the one on disk changes nothing."""
    dog = Watchdog(NOW + timedelta(seconds=100), None, wall=lambda: NOW)
    dog.order(NOW + timedelta(hours=9))
    assert 100.0 == dog.left()
    dog.order(NOW + timedelta(seconds=5))
    assert 5.0 == dog.left()
    assert Watchdog(None).left() is None


def test_restart_after_the_clock_was_set_back_renews_nothing(job_env: JobEnv):
    """The end on the boot clock is on disk; a later start of the same boot keeps it."""
    env, now = replace(job_env, deadline=NOW + timedelta(hours=1)), NOW
    first = RunFolder(env.folder).count_start(env, now)
    second = RunFolder(env.folder).count_start(env, now - timedelta(hours=5))
    assert first.boot_end == second.boot_end


def test_flood_keeps_its_beginning_and_its_end(tmp_path: Path):
    """A log beyond its largest size: the first lines, a line that says how many are missing, the last lines."""
    spool = LogSpool(tmp_path / "logs", most_bytes=10_000)
    for number in range(100_000):
        spool.write("stdout", f"line {number}")
    spool.end()
    spool.close()
    lines = [json.loads(line)["text"] for line in (tmp_path / "logs").read_text().splitlines()]
    at = next(index for index, line in enumerate(lines) if "left out" in line)
    assert [f"line {number}" for number in range(at)] == lines[:at]
    assert [f"line {number}" for number in range(100_000 - TAIL_LINES, 100_000)] == lines[at + 1 :]
    assert f"{100_000 - TAIL_LINES - at} lines are left out here: the log has reached its largest size." == lines[at]
    assert (tmp_path / "logs").stat().st_size < 10_000 + (TAIL_LINES + 2) * 120


def test_full_disk_leaves_whole_lines(tmp_path: Path):
    """No room: the line is kept in memory, the file ends with a whole line, and the job's pipe is still read."""
    spool = LogSpool(tmp_path / "logs")
    spool.write("stdout", "first")
    spool._file.close()
    spool._file = Path("/dev/full").open("ab", buffering=0)  # noqa: SIM115 - closed by the spool
    spool.write("stdout", "lost in the middle")
    assert ["first"] == [line.text for line in spool.read(0)]
    spool.close()


def test_metrics_are_bounded():
    """Names and values beyond the bounds are left out, known names stay current, the rest is untouched."""
    old, left_out = merged({}, {f"m{n}": n for n in range(MAX_KEYS + 5)} | {"k" * 500: 1, "big": "x" * 20_000})
    assert (MAX_KEYS, 7) == (len(old), left_out)
    again, left_out = merged(old, {"m0": 7, "new": 1})
    assert (7, MAX_KEYS, 1) == (again["m0"], len(again), left_out)


def test_metrics_have_a_size_together():
    """However many heartbeats add to them."""
    metrics: dict[str, Any] = {}
    for number in range(100):
        metrics, _ = merged(metrics, {f"m{number}": "x" * 10_000})
    assert size_of(metrics) <= MAX_METRICS_BYTES + MAX_KEYS * 8
    assert 20 < len(metrics) < 30


def test_wide_history_is_thinned_to_fit():
    """A hundred figures a step are too many for five hundred steps: fewer steps, the last one among them."""
    progress = Progress()
    for step in range(1, 801):
        progress.take({"step": step, "metrics": {f"figure_{n}": step + n / 7 for n in range(100)}})
    summary = progress.summary()
    assert size_of(summary) <= MAX_METRICS_BYTES
    assert 800 == summary["history"][-1]["step"]


def test_gpu_figures():
    """As nvidia-smi prints them, and as it prints what it does not know."""
    text = "37, 1024, 81559\n[N/A], [Not Supported], 143771\nrubbish\n"
    assert [(37.0, 1024.0, 81559.0), (None, None, 143771.0)] == [
        (gpu.percent, gpu.used_mib, gpu.total_mib) for gpu in parse_gpus(text)
    ]


def test_probe_that_hangs_holds_nothing_up(tmp_path: Path):
    """A sick driver: the picture comes at once, without GPUs."""
    smi = tmp_path / "smi"
    smi.write_text("#!/bin/sh\nexec sleep 600\n")
    smi.chmod(0o755)
    probe = MachineProbe(tmp_path, smi=str(smi))
    probe.start()
    picture = probe.picture()
    probe.stop()
    assert [] == picture.gpus
    assert (picture.disk_free_bytes or 0) > 0


def test_heartbeats_go_on_while_shipping_hangs(job_env: JobEnv, api: RunApi, market: Any):
    """One thread's trouble is not the others'."""
    gate = threading.Event()

    def trouble(verb: str) -> str:
        if verb == "logs":
            gate.wait(60)
        return ""

    market.trouble = trouble
    wrapper = Wrapper(job_env, api, [sys.executable, "-c", "import time; time.sleep(600)"], environ={}, patience=QUICK)
    thread = threading.Thread(target=wrapper.run)
    thread.start()
    end = time.monotonic() + 60
    while len(market.beats) < 5 and time.monotonic() < end:
        time.sleep(0.01)
    gate.set()
    wrapper.stop("the test said so")
    thread.join()
    assert len(market.beats) >= 5
    assert {"uptime_seconds", "rss_bytes", "disk_free_bytes", "gpus"} == set(market.beats[-1]["machine"])


def test_fresh_urls_are_laid_down(job_env: JobEnv, api: RunApi, market: Any):
    """A heartbeat's answer renews them; the command finds them in the file that MP_DATASET_FILE names."""
    fresh = [{"name": "train-EURUSD.parquet", "url": "http://x/1", "sha256": "0" * 64, "size_bytes": 1}]
    market.orders = {"command": "continue", "heartbeat_seconds": 0.05, "dataset_urls": fresh}
    code = (
        "import os, pathlib, time; file = pathlib.Path(os.environ['MP_DATASET_FILE'])\n"
        "while not file.exists(): time.sleep(0.01)\n"
        "print(file.read_text())"
    )
    Wrapper(job_env, api, [sys.executable, "-c", code], environ={}, patience=QUICK).run()
    assert "train-EURUSD.parquet" in market.lines[-1]
