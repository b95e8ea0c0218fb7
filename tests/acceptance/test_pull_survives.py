"""`mp data pull` under real faults: the edge is killed and comes back, the pull is killed and begun anew, two run.

All are processes; a gate between them stops each connection in the middle of its second range, so that nothing depends
on how fast anything is.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gate
import httpx
import pytest

from mp_kit.client.journal import JOURNAL, PART
from mp_kit.client.offline import MANIFEST_NAME, SIGNATURE_NAME
from mp_kit.contracts import ManifestFile
from mp_kit.server.house import House
from mp_kit.server.processes import free_port
from mp_kit.server.services import rounds, vendors
from mp_kit.server.storage import content_key
from mp_kit.server.wiring import build

pytestmark = [pytest.mark.hardening, pytest.mark.slow, pytest.mark.timeout(180)]

MIB = 1 << 20
RANGE = MIB
"""What a pull of 24 MiB by eight threads cuts its file into."""
THREADS = 8
CONTENT = {
    "train-EURUSD.parquet": random.Random(1).randbytes(24 * MIB),
    "train-USDJPY.parquet": random.Random(2).randbytes(10_007),
}
SIZE = sum(map(len, CONTENT.values()))
TALK = 128 * 1024
"""More than all headers, URLs and the manifest together, less than a tenth of a range per thread."""


@dataclass
class Shop:
    """A marketplace whose edge is a process behind a gate, and a vendor who is signed in.

    Args:
        house: The marketplace.
        gate: What stands before its edge.
        folder: Where the vendor works.
    """

    house: House
    gate: gate.Gate
    folder: Path

    @contextmanager
    def edge(self) -> Iterator[subprocess.Popen[bytes]]:
        """The edge as a process, answering."""
        settings = self.house.settings
        own = {"MP_HOME": settings.home, "MP_DATABASE_URL": settings.database_url, "INFRA_BASE_URL": settings.base_url}
        command = [sys.executable, "-m", "mp_kit.server.serve", "--port", str(self.gate.upstream)]
        process = subprocess.Popen(command, env={**os.environ, **{name: str(value) for name, value in own.items()}})
        try:
            self._await_answer(process)
            yield process
        finally:
            process.kill()
            process.wait()

    def _await_answer(self, process: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + 60
        while True:
            assert process.poll() is None, "the edge ended"
            assert time.monotonic() < until, "the edge does not answer"
            try:
                if httpx.get(f"http://127.0.0.1:{self.gate.upstream}/api/health").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.05)

    @property
    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MP_", "INFRA_"))}
        return kept | {"XDG_CONFIG_HOME": str(self.folder / "config"), "XDG_CACHE_HOME": str(self.folder / "cache")}

    def sign_in(self, key: str) -> None:
        """`mp login`."""
        command = [sys.executable, "-m", "mp_kit.cli.main", "login", "--api-url", self.house.settings.base_url]
        subprocess.run([*command, "--api-key", "-"], env=self._environment, input=key.encode(), check=True)

    def pull(self, output: Path) -> subprocess.Popen[str]:
        """`mp data pull`, begun."""
        command = [sys.executable, "-m", "mp_kit.cli.main", "data", "pull", "--output", str(output), "--json"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, env=self._environment, cwd=self.folder, text=True, **pipes)


@pytest.fixture(scope="module")
def shop(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with gate.opened(free_port()) as standing:
        built = build(replace(house.settings, base_url=f"http://127.0.0.1:{standing.port}"))
        with closing(built), built.db.begin() as tx:
            rounds.publish(tx, built.signer, draft(built), actor="test")
            key = vendors.create(tx, built.tokens, "ACME", actor="test").api_key
        made = Shop(built, standing, tmp_path_factory.mktemp("vendor"))
        with made.edge():
            made.sign_in(key)
        yield made


@pytest.fixture(autouse=True)
def _from_zero(shop: Shop) -> None:
    shop.gate.forget()


def draft(house: House) -> rounds.Draft:
    """A round of one large and one small file."""
    files = []
    for name, content in CONTENT.items():
        digest = hashlib.sha256(content).hexdigest()
        house.store.put_bytes(content_key(digest), content)
        symbol = name.removeprefix("train-").removesuffix(".parquet")
        files.append(
            ManifestFile(name=name, type="train", symbol=symbol, size_bytes=len(content), sha256=digest, rows=1)
        )
    facts = {"name": "large", "timeframe": "1d", "symbols": ["EURUSD", "USDJPY"], "horizon": 1, "embargo": 1}
    return rounds.Draft(manifest={**facts, "source": {"kind": "test"}, "code_version": "0"}, files=files)


def told(pull: subprocess.Popen[str]) -> dict[str, Any]:
    """What a pull that ends well says."""
    said, complaint = pull.communicate(timeout=120)
    assert 0 == pull.returncode, complaint
    answer: dict[str, Any] = json.loads(said)
    return answer


def assert_whole(folder: Path) -> None:
    """The round's files, right, and nothing else."""
    assert sorted([*CONTENT, MANIFEST_NAME, SIGNATURE_NAME]) == sorted(path.name for path in folder.iterdir())
    assert CONTENT == {name: (folder / name).read_bytes() for name in CONTENT}


def noted(folder: Path) -> list[tuple[int, int]]:
    """The ranges that the journal of the large file names."""
    [journal] = [path for path in folder.iterdir() if path.suffix == JOURNAL and "EURUSD" in path.name]
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    return [(line["start"], line["end"]) for line in lines[1:]]


def test_pull_outlives_the_edge(shop: Shop, tmp_path: Path):
    """Killed with eight ranges on their way and away for a while: no byte comes twice."""
    shop.gate.hold_after(RANGE + RANGE // 2)
    with shop.edge() as first:
        pull = shop.pull(tmp_path / "round")
        shop.gate.await_held(THREADS)
        first.kill()
        first.wait()
    shop.gate.let_go()
    shop.gate.await_refused()
    with shop.edge():
        answer = told(pull)
    assert (True, SIZE) == (answer["verified"], answer["fetched_bytes"])
    assert SIZE <= shop.gate.brought < SIZE + TALK
    assert_whole(tmp_path / "round")


def test_pull_that_was_killed_goes_on(shop: Shop, tmp_path: Path):
    """Not a byte of the ranges that its journal names is asked for again."""
    with shop.edge():
        shop.gate.hold_after(RANGE + RANGE // 2)
        pull = shop.pull(tmp_path / "round")
        shop.gate.await_held(THREADS)
        pull.send_signal(signal.SIGKILL)
        pull.communicate()
        shop.gate.forget()
        kept = noted(tmp_path / "round")
        assert THREADS <= len(kept)
        assert not (tmp_path / "round" / "train-EURUSD.parquet").exists()
        answer = told(shop.pull(tmp_path / "round"))
    saved = sum(end - start for start, end in kept)
    asked = [found for found in shop.gate.asked if found]
    assert [] == [found for found in asked if any(found[0] < end and start < found[1] for start, end in kept)]
    assert len(CONTENT["train-EURUSD.parquet"]) - saved == sum(end - start for start, end in asked)
    assert SIZE - saved >= answer["fetched_bytes"]
    assert shop.gate.brought < SIZE - saved + TALK
    assert_whole(tmp_path / "round")


def test_two_pulls_at_once(shop: Shop, tmp_path: Path):
    """Both are in the middle at the same time; they share nothing, and both end well."""
    with shop.edge():
        shop.gate.hold_after(RANGE + RANGE // 2)
        both = [shop.pull(tmp_path / "round") for _ in range(2)]
        shop.gate.await_held(2 * THREADS)
        parts = [path.name for path in (tmp_path / "round").iterdir() if path.suffix == PART and "EURUSD" in path.name]
        assert 2 == len(parts)
        shop.gate.let_go()
        answers = [told(pull) for pull in both]
    assert [True, True] == [answer["verified"] for answer in answers]
    assert_whole(tmp_path / "round")
