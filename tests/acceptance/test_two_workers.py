"""Two workers and two edges over one Postgres: whichever is killed at its work, nothing is lost and nothing doubled."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from edges import Edge
from kernels import ROOT
from sqlalchemy import text

from mp_kit.contracts import DeploymentRequest, ModelRegistration, Stage, Task
from mp_kit.server.house import House
from mp_kit.server.prefect_api import PrefectApi
from mp_kit.server.services import consensus, deployments, models, vendors
from mp_kit.server.wiring import open_house

pytestmark = [pytest.mark.hardening, pytest.mark.slow, pytest.mark.timeout(900)]
SYMBOL = "TWOOFALL"
START = datetime(2024, 1, 1, tzinfo=UTC)
PATIENCE_SECONDS = 240.0
"""Prefect takes three missed heartbeats of half a minute to call a flow run dead."""


def until(happened: Callable[[], Any], pause: float = 0.2) -> Any:
    """Waits for what other processes bring about."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (found := happened()):
        assert time.monotonic() < end, "it never came to that"
        time.sleep(pause)
    return found


def environment(pid: int) -> dict[str, str]:
    """Of a process."""
    pairs = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def first_worker(home: Path) -> int | None:
    """The one of `mp up`, which starts it anew when it dies."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            ours = b"mp_kit.server.engine_worker" in (folder / "cmdline").read_bytes()
            if ours and environment(int(folder.name)).get("MP_HOME") == str(home):
                return int(folder.name)
    return None


def flows_under(worker: int) -> list[int]:
    """Processes of flow runs."""
    return [int(pid) for pid in Path(f"/proc/{worker}/task/{worker}/children").read_text().split()]


@contextmanager
def second_worker(like: int) -> Iterator[subprocess.Popen[bytes]]:
    """A worker as docs/scale.md has it, with the environment of another one."""
    command = ["prefect", "worker", "start", "--pool", "mp", "--type", "process", "--name", "second"]
    env = environment(like)
    process = subprocess.Popen(command, env=env, cwd=ROOT, executable=str(ROOT / ".venv/bin/prefect"))
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@dataclass
class Pusher:
    """Pushes one bar's signal after the other, each until some edge has it.

    Args:
        token: Of its deployment.
        urls: Edges, asked in turn.
    """

    token: str
    urls: list[str]
    numbers: Iterator[int] = field(default_factory=itertools.count)
    acknowledged: list[datetime] = field(default_factory=list)

    def push(self, count: int) -> None:
        """So many bars."""
        for number in itertools.islice(self.numbers, count):
            bar = START + timedelta(hours=number)
            row = {"symbol": SYMBOL, "timeframe": "1h", "decision": "BUY", "confidence": 0.5, "model_version": "1"}
            body = json.dumps([row | {"timestamp": bar.isoformat()}])
            headers = {"Authorization": f"Bearer {self.token}", "X-Idempotency-Key": f"two:{number}"}
            for url in itertools.cycle(self.urls):
                with suppress(httpx.TransportError):
                    answer = httpx.post(f"{url}/api/signals/store", content=body, headers=headers, timeout=20)
                    if answer.status_code == 200:
                        break
            self.acknowledged.append(bar)


@pytest.fixture
def prefect(marketplace: Any) -> Iterator[PrefectApi]:
    """The API of the marketplace's own Prefect."""
    api = PrefectApi(json.loads((marketplace.home / "state.json").read_text())["prefect_api_url"])
    yield api
    api.close()


@pytest.fixture
def house(marketplace: Any) -> Iterator[House]:
    """The marketplace's, as its operator has it."""
    with open_house(marketplace.home) as made:
        yield made


@pytest.fixture
def token(house: House) -> str:
    """Of a deployment whose signals count."""
    with house.db.begin() as tx:
        vendor = vendors.create(tx, house.tokens, "Two of all", actor="test").vendor_id
        made = models.register(tx, vendor, ModelRegistration(name="m", task=Task.SIGNAL, version="1"))
        wanted = DeploymentRequest(name="live", provider="byoc", model_id=made.model_id)
        placed = deployments.create(tx, house.tokens, vendor, wanted, actor="test")
        models.change_stage(tx, vendor, made.model_id, "1", Stage.PILOT, actor="test", reason=None)
    return placed.infra_token or ""


def blend(prefect: PrefectApi) -> str:
    """Asks for a run of ingest-signals; its id."""
    deployment = prefect.send("GET", "/deployments/name/ingest-signals/ingest-signals")["id"]
    return str(prefect.send("POST", f"/deployments/{deployment}/create_flow_run", {})["id"])


def await_work(prefect: PrefectApi) -> None:
    """Returns when a flow run is at work; one that was asked for beside another one is cancelled at once."""
    state = "CANCELLED"
    while state == "CANCELLED":
        run = blend(prefect)
        state = until(lambda run=run: at_work_or_not_at_all(prefect, run), 0.05)


def at_work_or_not_at_all(prefect: PrefectApi, run: str) -> str | None:
    """A flow run's state, once it is decided."""
    state = str(prefect.send("GET", f"/flow_runs/{run}")["state"]["type"])
    return state if state in {"RUNNING", "CANCELLED"} else None


def kill_at_work(prefect: PrefectApi, worker: int, idle: int) -> None:
    """Has a worker take a flow run while the other one sleeps, and kills both, flow run and worker, in the midst."""
    os.kill(idle, signal.SIGSTOP)
    try:
        await_work(prefect)
        flows = flows_under(worker)
        assert flows
        for pid in (*flows, worker):
            os.kill(pid, signal.SIGKILL)
    finally:
        os.kill(idle, signal.SIGCONT)


def blended(house: House) -> list[datetime]:
    """Bars of the consensus."""
    with house.db.begin() as tx:
        return sorted(bar.event_time for bar in consensus.history(tx, symbol=SYMBOL, limit=1000))


def stored(house: House) -> list[datetime]:
    """Bars of the signals."""
    with house.db.begin() as tx:
        rows = tx.execute(text("SELECT event_time FROM signals WHERE symbol = :symbol ORDER BY 1"), {"symbol": SYMBOL})
        return [row.event_time for row in rows]


def test_either_worker_and_either_edge_may_die(marketplace: Any, prefect: PrefectApi, house: House, token: str):
    """The other one goes on: every push that was acknowledged is stored once, and every bar is blended."""
    edge = Edge(house)
    edge.start()
    edge.await_ready()
    pusher = Pusher(token, [marketplace.url, edge.url])

    def all_blended() -> bool:
        blend(prefect)
        return blended(house) == pusher.acknowledged

    try:
        first = until(lambda: first_worker(marketplace.home))
        with second_worker(first) as second:
            pusher.push(5)
            kill_at_work(prefect, first, idle=second.pid)
            edge.kill()
            pusher.push(5)
            until(all_blended, 5)
            first = until(lambda: first_worker(marketplace.home))
            pusher.push(5)
            kill_at_work(prefect, second.pid, idle=first)
            second.wait()
            pusher.push(5)
            until(all_blended, 5)
    finally:
        edge.kill()
    assert pusher.acknowledged == stored(house) == blended(house)
    assert 20 == len(pusher.acknowledged)
