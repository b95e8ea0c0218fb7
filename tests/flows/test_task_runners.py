"""Where the mapped work of publish-round is done: threads, or a Dask cluster, with the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mp_kit.errors import SetupError
from mp_kit.server import bundle, task_runners
from mp_kit.server.services import publication
from mp_kit.server.services.publication import RoundOrder
from mp_kit.server.task_runners import Choice

SYMBOLS = ("EURUSD", "GBPUSD")
SELECTED = """
import sys
sys.path.insert(0, sys.argv[1])
import publish_round
runner = publish_round.publish_round.task_runner
print(type(runner).__name__, getattr(runner, "address", None))
"""


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two symbols of hourly bars."""
    folder = tmp_path_factory.mktemp("bars")
    for seed, symbol in enumerate(SYMBOLS):
        close = 1.1 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 1e-3, 2000)))
        times = np.datetime64("2024-01-01T00:00:00") + np.arange(close.size) * np.timedelta64(1, "h")
        lines = [
            f"{when}Z,{p:.6f},{p * 1.001:.6f},{p * 0.999:.6f},{p:.6f},1" for when, p in zip(times, close, strict=True)
        ]
        (folder / f"{symbol}.csv").write_text("\n".join(["timestamp,open,high,low,close,volume", *lines]))
    return folder


@pytest.mark.parametrize("text", ["", "process", "threads:0", "threads:many", "dask", "dask:0", "dask:host", "ray:1"])
def test_parse_nonsense_is_refused(text: str):
    """What names no task runner is refused with the value and the ways to write it; empty means the default."""
    if not text:
        assert Choice("threads", workers=2) == task_runners.parse(text)
        return
    with pytest.raises(SetupError, match="MP_TASK_RUNNER"):
        task_runners.parse(text)


def test_parse_choices():
    """Threads by default, as many as named; Dask by address or as a local cluster."""
    assert Choice("threads", workers=2) == task_runners.parse(None) == task_runners.parse("threads")
    assert Choice("threads", workers=8) == task_runners.parse("threads:8")
    assert Choice("dask", workers=2) == task_runners.parse("dask:2")
    assert Choice("dask", address="tcp://scheduler:8786") == task_runners.parse("dask:tcp://scheduler:8786")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chosen", "runner"),
    [
        ("threads", "ThreadPoolTaskRunner None"),
        pytest.param("dask:tcp://scheduler:8786", "DaskTaskRunner tcp://scheduler:8786", marks=pytest.mark.hardening),
    ],
)
def test_flow_selects_its_runner(chosen: str, runner: str, tmp_path: Path):
    """The flow's own task runner is the one that the environment names."""
    env = os.environ | {"MP_TASK_RUNNER": chosen, "PREFECT_HOME": str(tmp_path)}
    command = [sys.executable, "-c", SELECTED, str(bundle.root() / "flows")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert (0, runner) == (done.returncode, done.stdout.strip()), done.stderr


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of a local Dask cluster of two processes."""
    distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")
    where = str(tmp_path_factory.mktemp("dask"))
    started = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, local_directory=where
    )
    with started, distributed.Client(started) as client:
        yield client


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Dask's own, about sockets and loops that it closes late
def test_cluster_builds_the_same_bytes(cluster: Any, bars: Path, tmp_path: Path):
    """Both steps that are mapped run in two other processes and give the files that threads give, byte for byte."""
    order = RoundOrder(source=str(bars))
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    inspected = [publication.inspect(order, symbol, here) for symbol in SYMBOLS]
    cuts = publication.plan(order, inspected)
    built = [publication.build(order, one, cuts, here) for one in inspected]

    def mapped(step: Any, *arguments: list[Any]) -> Any:
        """Each symbol on a worker of its own."""
        workers = sorted(cluster.scheduler_info()["workers"])
        futures = [
            cluster.submit(step, *given, workers=[worker], pure=False)
            for worker, given in zip(workers, zip(*arguments, strict=True), strict=True)
        ]
        return cluster.gather(futures)

    afar = mapped(publication.inspect, [order] * 2, list(SYMBOLS), [there] * 2)
    assert cuts == publication.plan(order, afar)
    far = mapped(publication.build, [order] * 2, afar, [cuts] * 2, [there] * 2)
    assert [one.directions for one in built] == [one.directions for one in far]
    mine = {path.name: path.read_bytes() for path in (here / "files").iterdir()}
    assert 10 == len(mine)
    assert mine == {path.name: path.read_bytes() for path in (there / "files").iterdir()}
