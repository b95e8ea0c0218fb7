"""The flow publish-round, whole, on a local Dask cluster of two processes: the same round as in threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mp_kit.server import bundle
from mp_kit.server.house import House
from mp_kit.server.services import publication, rounds
from mp_kit.server.services.publication import RoundOrder

pytestmark = [pytest.mark.hardening, pytest.mark.slow, pytest.mark.timeout(240)]
SYMBOLS = ("EURUSD", "GBPUSD", "USDJPY")
FLOW = """
import sys
from prefect.testing.utilities import prefect_test_harness

if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    from publish_round import RoundOrder, publish_round
    with prefect_test_harness(server_startup_timeout=90):
        done = publish_round(RoundOrder.model_validate_json(sys.argv[2]))
    print(done["round_id"], type(publish_round.task_runner).__name__)
"""


@pytest.fixture
def bars(tmp_path: Path) -> Path:
    """Three symbols of hourly bars: one more than there are processes."""
    folder = tmp_path / "bars"
    folder.mkdir()
    for seed, symbol in enumerate(SYMBOLS):
        close = 1.1 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 1e-3, 2000)))
        times = np.datetime64("2024-01-01T00:00:00") + np.arange(close.size) * np.timedelta64(1, "h")
        lines = [
            f"{when}Z,{p:.6f},{p * 1.001:.6f},{p * 0.999:.6f},{p:.6f},1" for when, p in zip(times, close, strict=True)
        ]
        (folder / f"{symbol}.csv").write_text("\n".join(["timestamp,open,high,low,close,volume", *lines]))
    return folder


def hashes(house: House, round_id: str) -> dict[str, str]:
    """Name to SHA-256 of a round's files, as its manifest has them."""
    with house.db.begin() as tx:
        payload, _ = rounds.manifest(tx, round_id)
    return {file["name"]: file["sha256"] for file in json.loads(payload)["files"]}


def test_flow_on_a_cluster_publishes_the_same_files(house: House, bars: Path, tmp_path: Path):
    """Every task of the flow runs on the cluster; the files are those of a publication in threads."""
    pytest.importorskip("prefect_dask", reason="the extra dask is not installed")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MP_", "PREFECT_"))}
    env |= {"MP_HOME": str(house.settings.home), "MP_DATABASE_URL": house.settings.database_url}
    env |= {"MP_TASK_RUNNER": "dask:2", "TMPDIR": str(scratch), "PREFECT_HOME": str(tmp_path / "prefect")}
    script = tmp_path / "flow.py"
    script.write_text(FLOW)
    order = RoundOrder(source=str(bars), name="dask")
    command = [sys.executable, str(script), str(bundle.root() / "flows"), order.model_dump_json()]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    afar, runner = done.stdout.split()[-2:]
    named = order.model_copy(update={"name": "threads"})  # a round of its own: the name is in the manifest
    here = publication.run(house.db.begin, house.store, house.signer, named, actor="test")
    assert ("DaskTaskRunner", 0) == (runner, here.stored)
    assert afar != here.round_id
    assert 4 * len(SYMBOLS) == len(hashes(house, afar))
    assert hashes(house, here.round_id) == hashes(house, afar)
