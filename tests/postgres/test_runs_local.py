"""The whole way of a run on this machine: order, supervisor, wrapper, trainer, artifacts, final state."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mp_kit.contracts import ManifestFile
from mp_kit.contracts.training import (
    ArtifactRequest,
    LogChunk,
    RunHeartbeat,
    RunOutcome,
    RunStatus,
    TrainingRequest,
    TrainingRun,
)
from mp_kit.errors import MarketplaceError
from mp_kit.server.house import House
from mp_kit.server.providers.local import LocalProvider
from mp_kit.server.services import rounds, runs, supervisor, vendors
from mp_kit.server.storage import LocalStore, content_key
from mp_kit.server.store import runs as rows
from mp_kit.trainer.predict import Predictor

FEATURES = ["ret_1", "vol_20", "rsi_14"]
SLEEPY = "import signal, time; print('awake', flush=True); time.sleep(600)"


class Edge:
    """The routes that a job needs, over the real services; it can be told to be away."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.away = False
        self.deaf_to = ""
        edge = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Silence."""

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, answer = edge.answer(self.command, self.path, body, self.headers.get("Authorization", ""))
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = do_PUT = _serve  # noqa: N815 - the names that http.server calls

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.store = LocalStore(house.settings.home / "objects", base_url=self.url, url_key="k" * 32)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def answer(self, method: str, path: str, body: bytes, token: str) -> tuple[int, bytes]:
        """Serves a request, unless it is away, or deaf to the run that calls."""
        if self.away or (self.deaf_to and self.deaf_to in path):
            return 503, b"{}"
        try:
            data = self._file(method, path, body) if path.startswith("/files/") else self._verb(path, body, token)
        except MarketplaceError as error:
            return error.http, json.dumps({"success": False, "error": str(error), "code": error.code}).encode()
        return 200, data

    def _file(self, method: str, path: str, body: bytes) -> bytes:
        parts = urlsplit(path)
        key = parts.path.removeprefix("/files/")
        bound = self.store.admit(method, key, dict(parse_qsl(parts.query)), datetime.now(UTC))
        if method == "GET":
            with self.store.open(key) as file:
                return file.read()
        assert bound is not None
        with self.store.receive(key, bound) as upload:
            upload.write(body)
            upload.finish()
        return b""

    def _verb(self, path: str, body: bytes, token: str) -> bytes:
        run_id, verb = path.split("/")[-2:]
        who = self.house.tokens.authenticate(token.removeprefix("Bearer "), self.house.db.begin)
        assert who.run_id == run_id
        now = datetime.now(UTC)
        data: Any = {}
        with self.house.db.begin() as tx:
            if verb == "heartbeat":
                data = runs.heartbeat(tx, run_id, RunHeartbeat.model_validate_json(body), now=now)
            elif verb == "logs":
                data = {"next": runs.append_logs(tx, run_id, LogChunk.model_validate_json(body), now=now)}
            elif verb == "artifacts":
                wanted = ArtifactRequest.model_validate_json(body)
                data = runs.register_artifact(tx, run_id, wanted, store=self.store, now=now)
            elif verb == "finish":
                runs.finish(tx, run_id, RunOutcome.model_validate_json(body), store=self.store, now=now)
        answer = data if isinstance(data, dict) else data.model_dump(mode="json")
        return json.dumps({"success": True, "data": answer}).encode()


@pytest.fixture(scope="module")
def edge(house: House) -> Iterator[Edge]:
    made = Edge(house)
    yield made
    made.server.shutdown()
    made.server.server_close()
    made.thread.join()


@pytest.fixture(scope="module")
def vendor(house: House, edge: Edge, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A vendor, and a current round whose label is partly foreseeable."""
    folder = tmp_path_factory.mktemp("round")
    files = [write(edge.store, folder, role, count) for role, count in (("train", 4_000), ("validation", 1_000))]
    manifest = {"name": "test", "timeframe": "1h", "symbols": ["EURUSD"], "horizon": 5, "embargo": 5}
    draft = rounds.Draft(manifest={**manifest, "source": {}, "code_version": "0"}, files=files)
    with house.db.begin() as tx:
        rounds.publish(tx, house.signer, draft, actor="test")
        return vendors.create(tx, house.tokens, "ACME", actor="test").vendor_id


def write(store: LocalStore, folder: Path, role: str, count: int) -> ManifestFile:
    random = np.random.default_rng(count)
    columns: dict[str, Any] = {name: random.normal(size=count).astype(np.float32) for name in FEATURES}
    pull = columns["ret_1"] + random.normal(size=count)
    columns["label_direction"] = np.where(pull > 0.5, 1, np.where(pull < -0.5, -1, 0)).astype(np.int8)
    columns["label_return"] = pull * 1e-3
    path = folder / f"{role}-EURUSD.parquet"
    pq.write_table(pa.table(columns), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    store.put_file(content_key(digest), path)
    return ManifestFile(name=path.name, type=role, size_bytes=path.stat().st_size, sha256=digest, rows=count)


def desk_of(house: House, edge: Edge, provider: LocalProvider | None = None) -> supervisor.Desk:
    providers = {"local": provider or LocalProvider(house.settings.home / "runs")}
    return supervisor.Desk(house.db, edge.store, providers, house.tokens.run_token, edge.url, house.vault)


def wrapping(house: House, code: str) -> LocalProvider:
    """A local provider whose jobs run a Python line instead of the reference trainer."""
    command = (sys.executable, "-m", "mp_kit.trainer", "--", sys.executable, "-c", code)
    return LocalProvider(house.settings.home / "runs", command)


def order(house: House, vendor_id: str, **changes: Any) -> str:
    body = {"round_id": "current", "task": "signal", "provider": "local", "hyperparams": {"epochs": 4}}
    request = TrainingRequest.model_validate({**body, **changes})
    with house.db.begin() as tx:
        return runs.create(
            tx, vendor_id, request, idempotency_key=None, now=datetime.now(UTC), providers={"local"}
        ).run_id


def look(house: House, vendor_id: str, run_id: str) -> TrainingRun:
    with house.db.begin() as tx:
        return runs.get(tx, vendor_id, run_id, view=runs.View(store=house.store))


def supervise(desk: supervisor.Desk, until: Callable[[], bool], seconds: float = 60.0) -> None:
    """Cycles until something is so; fails the test when it never is."""
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "it never came to that"
        if not supervisor.cycle(desk):
            time.sleep(0.05)


def texts(house: House, vendor_id: str, run_id: str) -> list[str]:
    with house.db.begin() as tx:
        return [line.text for line in runs.logs(tx, vendor_id, run_id).lines]


def letters(house: House, run_id: str) -> str:
    with house.db.begin() as tx:
        return "".join(row.letter or "-" for row in rows.list_events(tx, run_id))


def test_reference_training_succeeds(house: House, edge: Edge, vendor: str, tmp_path: Path):
    """Order to artifacts: real learning, whole log, a model that loads and predicts."""
    run_id = order(house, vendor)
    supervise(desk_of(house, edge), lambda: look(house, vendor, run_id).status.is_final)
    run = look(house, vendor, run_id)
    log = texts(house, vendor, run_id)
    assert (run.status, run.failure) == (RunStatus.SUCCEEDED, None)
    assert run.metrics["validation_beats_baseline"] is True
    assert [point["step"] for point in run.metrics["history"]] == [1, 2, 3, 4]
    assert [line for line in log if line.startswith("epoch 4/4")]
    assert letters(house, run_id) == "-a-bei"
    for file in run.artifacts.files or []:
        with edge.store.open(f"runs/{run_id}/{file.name}") as stored:
            (tmp_path / file.name).write_bytes(stored.read())
    decisions, confidences = Predictor.load(tmp_path).predict(pa.table({name: [0.0, 3.0] for name in FEATURES}))
    assert (decisions[1], len(confidences)) == ("BUY", 2)


def test_no_secret_reaches_the_log_or_the_arguments(house: House, edge: Edge, vendor: str):
    """A job that prints its environment shows neither token nor signature."""
    code = "import os; [print(k, v) for k, v in os.environ.items()]"
    run_id = order(house, vendor)
    supervise(desk_of(house, edge, wrapping(house, code)), lambda: look(house, vendor, run_id).status.is_final)
    log = "\n".join(texts(house, vendor, run_id))
    assert "MP_RUN_TOKEN ***" in log
    assert "signature=***" in log
    assert house.settings.jwt_secret not in log
    assert "MP_JWT_SECRET" not in log


def test_hyperparameters_that_nobody_knows_fail_with_a_sentence(house: House, edge: Edge, vendor: str):
    """An optimizer has no epochs: the run ends as failed and says which names there are."""
    run_id = order(house, vendor, task="optimizer", base_image="ours:1", hyperparams={"epochs": 3})
    supervise(desk_of(house, edge), lambda: look(house, vendor, run_id).status.is_final)
    run = look(house, vendor, run_id)
    assert run.status is RunStatus.FAILED
    assert "Hyperparameter epochs is not known here. Use some of model_type, lookback" in (run.failure or "")


def test_cancel_ends_a_running_job(house: House, edge: Edge, vendor: str):
    """The job hears it by its heartbeat and is gone before the run is final."""
    run_id = order(house, vendor)
    desk = desk_of(house, edge, wrapping(house, SLEEPY))
    supervise(desk, lambda: "awake" in texts(house, vendor, run_id))
    with house.db.begin() as tx:
        runs.cancel(tx, vendor, run_id, now=datetime.now(UTC))
    supervise(desk, lambda: look(house, vendor, run_id).status.is_final)
    assert look(house, vendor, run_id).status is RunStatus.CANCELLED
    assert not is_alive(house, run_id)


def test_budget_ends_a_job(house: House, edge: Edge, vendor: str):
    """The wrapper's own watchdog ends a job whose hours are used up."""
    run_id = order(house, vendor, budget={"max_hours": 2 / 3_600})
    desk = desk_of(house, edge, wrapping(house, SLEEPY))
    supervise(desk, lambda: look(house, vendor, run_id).status.is_final)
    run = look(house, vendor, run_id)
    assert (run.status, run.failure) == (
        RunStatus.FAILED,
        "The time of the budget is used up; the job was stopped.",
    )


def test_killed_wrapper_fails_the_run_and_its_job_dies_too(house: House, edge: Edge, vendor: str):
    """After kill -9 of the wrapper: the run fails with a sentence, nothing trains on unwatched."""
    run_id = order(house, vendor)
    desk = desk_of(house, edge, wrapping(house, f"import os; print('pid', os.getpid(), flush=True); {SLEEPY}"))
    supervise(desk, lambda: "awake" in texts(house, vendor, run_id))
    job = int(next(line for line in texts(house, vendor, run_id) if line.startswith("pid")).split()[1])
    os.kill(pid_of(house, run_id), signal.SIGKILL)
    supervise(desk, lambda: look(house, vendor, run_id).status.is_final)
    assert look(house, vendor, run_id).status is RunStatus.FAILED
    assert letters(house, run_id) == "-a-bg"
    wait_for(lambda: not Path(f"/proc/{job}").exists())


def test_run_survives_its_supervisor_and_an_outage(house: House, edge: Edge, vendor: str):
    """The edge is away and the supervisor is replaced in mid-run: no line is lost or doubled, the outcome arrives."""
    gate = house.settings.home / "gate"
    code = (
        "import pathlib, time; [print('line', n, flush=True) for n in range(50)];"
        f"[time.sleep(0.05) for _ in range(1200) if not pathlib.Path({str(gate)!r}).exists()];"
        "[print('line', n, flush=True) for n in range(50, 5000)]"
    )
    run_id = order(house, vendor)
    supervise(desk_of(house, edge, wrapping(house, code)), lambda: "line 49" in texts(house, vendor, run_id))
    edge.away = True
    gate.touch()
    wait_for(lambda: not_delivered(house, run_id))
    edge.away = False
    supervise(desk_of(house, edge), lambda: look(house, vendor, run_id).status.is_final)
    with house.db.begin() as tx:
        log = [line.text for line in runs.logs(tx, vendor, run_id, limit=5_000).lines]
        rest = [line.text for line in runs.logs(tx, vendor, run_id, after=5_000).lines]
    assert [f"line {n}" for n in range(5000)] == [text for text in log + rest if text.startswith("line")]
    assert look(house, vendor, run_id).status is RunStatus.SUCCEEDED


def test_outcome_that_could_not_be_told_is_read_from_the_folder(house: House, edge: Edge, vendor: str):
    """The job ended while nobody listened, and its wrapper was killed before it could deliver."""
    run_id = order(house, vendor)
    desk = desk_of(house, edge, wrapping(house, "import time; print('awake', flush=True); time.sleep(3)"))
    supervise(desk, lambda: "awake" in texts(house, vendor, run_id))
    edge.deaf_to = run_id
    wait_for(lambda: not_delivered(house, run_id))
    os.kill(pid_of(house, run_id), signal.SIGKILL)
    supervise(desk, lambda: look(house, vendor, run_id).status.is_final)
    assert (look(house, vendor, run_id).status, letters(house, run_id)) == (RunStatus.SUCCEEDED, "-a-bhi")


def test_launching_twice_starts_one_process(house: House, edge: Edge, vendor: str):
    """A launch whose answer was lost is looked for, and what runs is adopted."""
    run_id = order(house, vendor)
    provider = wrapping(house, SLEEPY)
    desk = desk_of(house, edge, provider)
    supervise(desk, lambda: "awake" in texts(house, vendor, run_id))
    with house.db.begin() as tx:
        row = rows.find(tx, run_id)
        assert row is not None
        rows.change(tx, run_id, {"provider_ref": None, "next_look_at": datetime.now(UTC)})
    supervise(replace(desk, providers={"local": wrapping(house, SLEEPY)}), lambda: has_handle(house, run_id))
    folder = house.settings.home / "runs" / run_id
    assert [path.name for path in folder.iterdir()] == ["1"]
    assert json.loads((folder / "1" / "state.json").read_text())["starts"] == 1
    with house.db.begin() as tx:
        runs.cancel(tx, vendor, run_id, now=datetime.now(UTC))
    supervise(desk, lambda: look(house, vendor, run_id).status.is_final)


def test_watch_hears_at_once_and_stops_when_told(house: House, edge: Edge, vendor: str):
    """The loop itself: a run ordered while it waits is taken by notification, not by polling."""
    looks: list[int] = []
    desk = desk_of(house, edge, wrapping(house, "print('hello')"))
    ending = threading.Event()
    options = {"seconds": 300.0, "on_cycle": looks.append, "poll": 600.0, "stop": ending.is_set}
    thread = threading.Thread(target=supervisor.watch, args=(desk,), kwargs=options)
    thread.start()
    wait_for(lambda: bool(looks))
    run_id = order(house, vendor)
    wait_for(
        lambda: look(house, vendor, run_id).status.is_final,
        seconds=150.0,  # a look that fails on a busy machine is taken up again when its lease has ended
        told=lambda: f"{looks} {look(house, vendor, run_id)}",
    )
    ending.set()
    order(house, vendor)  # rings the bell
    thread.join()
    assert look(house, vendor, run_id).status is RunStatus.SUCCEEDED


def has_handle(house: House, run_id: str) -> bool:
    with house.db.begin() as tx:
        row = rows.find(tx, run_id)
        return row is not None and row.provider_ref is not None


def not_delivered(house: House, run_id: str) -> bool:
    path = house.settings.home / "runs" / run_id / "1" / "exit.json"
    return path.exists() and not json.loads(path.read_text())["delivered"]


def pid_of(house: House, run_id: str) -> int:
    path = house.settings.home / "runs" / run_id / "1" / "process.json"
    return int(json.loads(path.read_text())["pid"])


def is_alive(house: House, run_id: str) -> bool:
    path = Path(f"/proc/{pid_of(house, run_id)}/stat")
    return path.exists() and path.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_for(so: Callable[[], bool], seconds: float = 60.0, told: Callable[[], str] = str) -> None:
    end = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < end, f"it never came to that: {told()}"
        time.sleep(0.05)
