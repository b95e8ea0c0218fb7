"""Publishing killed at any moment: what is visible is whole, and running it again finishes it."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mp_kit.server.house import House
from mp_kit.server.services import publication, rounds
from mp_kit.server.services.publication import Publication, RoundOrder
from mp_kit.server.services.workspace import PREFIX
from mp_kit.server.storage import ObjectInfo, content_key
from mp_kit.signing import open_manifest

pytestmark = [pytest.mark.hardening, pytest.mark.slow, pytest.mark.timeout(180)]
KILLS = 20
SEED = 20_261_123
BARS = 4_000
FILES = 10
PUBLISHER = """
import sys
import time
from pathlib import Path
from mp_kit.server.services import publication
from mp_kit.server.wiring import open_house
import talib
order = publication.RoundOrder.model_validate_json(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
began = time.perf_counter()
with open_house() as house:
    publication.run(house.db.begin, house.store, house.signer, order, actor="killed")
print(time.perf_counter() - began, flush=True)
"""


@dataclass
class Counted:
    """An object store that counts what is put into it."""

    store: Any
    puts: int = 0

    def put_file(self, key: str, path: Path) -> ObjectInfo:
        """Counts and puts."""
        self.puts += 1
        return self.store.put_file(key, path)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two symbols of hourly bars."""
    folder = tmp_path_factory.mktemp("bars")
    for seed, symbol in enumerate(("EURUSD", "GBPUSD")):
        close = 1.1 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 1e-3, BARS)))
        opened = np.r_[1.1, close[:-1]]
        high, low = np.maximum(opened, close) * 1.0005, np.minimum(opened, close) * 0.9995
        times = np.datetime64("2024-01-01T00:00:00") + np.arange(BARS) * np.timedelta64(1, "h")
        lines = [
            f"{row[0]}Z," + ",".join(f"{value:.6f}" for value in row[1:]) + ",1"
            for row in zip(times, opened, high, low, close, strict=True)
        ]
        (folder / f"{symbol}.csv").write_text("\n".join(["timestamp,open,high,low,close,volume", *lines]))
    return folder


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders go, of these processes too."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def start(house: House, scratch: Path) -> Callable[[RoundOrder], subprocess.Popen[str]]:
    """Starts a process that is about to publish: everything is imported, it waits for a line."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MP_")}
    env |= {"MP_HOME": str(house.settings.home), "MP_DATABASE_URL": house.settings.database_url, "TMPDIR": str(scratch)}

    def begin(order: RoundOrder) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", PUBLISHER, order.model_dump_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )
        assert "ready\n" == process.stdout.readline()
        return process

    return begin


def go(process: subprocess.Popen[str]) -> None:
    """Lets it publish."""
    process.stdin.write("\n")
    process.stdin.flush()


def verified(house: House, round_id: str) -> int:
    """Checks a round as a vendor would, signature first, and gives its count of files."""
    with house.db.begin() as tx:
        payload, signature = rounds.manifest(tx, round_id)
        keys = {key.key_id: key for key in rounds.keys(tx)}
    manifest = open_manifest(payload, signature, keys)
    assert round_id == manifest.round_id
    for file in manifest.files:
        with house.store.open(content_key(file.sha256)) as stored:
            assert file.sha256 == hashlib.sha256(stored.read()).hexdigest()
    return len(manifest.files)


def visible(house: House) -> tuple[set[str], list[str]]:
    """All rounds that anybody can see, and which are current."""
    with house.db.begin() as tx:
        found = rounds.newest(tx, 1000)
    return {one.round_id for one in found}, [one.round_id for one in found if one.is_current]


def finish(house: House, order: RoundOrder) -> tuple[Publication, int]:
    """Runs it again here; what came of it and how many files it put."""
    store = Counted(house.store)
    return publication.run(house.db.begin, store, house.signer, order, actor="again"), store.puts


def objects(house: House) -> int:
    """How many whole objects lie in the store."""
    root = Path(house.settings.store_url.removeprefix("file://"))
    return sum(1 for path in root.rglob("*") if path.is_file() and not path.name.startswith("."))


def test_publish_killed_at_twenty_moments(
    house: House, bars: Path, scratch: Path, start: Callable[[RoundOrder], subprocess.Popen[str]]
):
    """After each kill only whole rounds are visible; run again, it stores what was missing and is the current one."""
    whole = start(RoundOrder(source=str(bars), horizon=100))
    go(whole)
    lasts = float(whole.communicate()[0])
    moments = random.Random(SEED)
    interrupted = 0
    for horizon in range(1, KILLS + 1):
        order = RoundOrder(source=str(bars), horizon=horizon)
        rounds_before, current_before = visible(house)
        objects_before = objects(house)
        process = start(order)
        go(process)
        time.sleep(moments.uniform(0, lasts))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        seen, current = visible(house)
        new = seen - rounds_before
        assert 1 == len(current)
        assert [*new] == current if new else current_before == current
        assert all(verified(house, one) for one in new)
        survived = objects(house) - objects_before
        done, puts = finish(house, order)
        assert (FILES - survived, FILES - survived) == (puts, done.stored)
        assert done.created is not bool(new)
        assert [done.round_id] == visible(house)[1]
        assert FILES - 2 == verified(house, done.round_id)
        interrupted += not new
    assert interrupted
    assert 0 == len([*scratch.glob(f"{PREFIX}*")])
