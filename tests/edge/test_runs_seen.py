"""How a vendor sees a run over HTTP: its fine state, its history, and its log as it grows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from mp_kit.client.marketplace import Marketplace
from mp_kit.contracts import VendorStatus
from mp_kit.contracts.training import LogChunk, LogChunkLine, RunHeartbeat, RunOutcome, TrainingRequest
from mp_kit.server.edge import log_streams
from mp_kit.server.house import House
from mp_kit.server.providers.base import Handle
from mp_kit.server.services import runs, runs_claims, vendors
from mp_kit.server.services.runs_states import Step
from mp_kit.server.store.engine import Tx

SECRET = "rpa_" + "S3cret" * 6
STREAM = {"Accept": "text/event-stream"}


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams look often."""
    monkeypatch.setattr(log_streams, "POLL_SECONDS", 0.02)


@pytest.fixture
def run_id(edge_house: House, vendor: SimpleNamespace) -> Iterator[str]:
    """A run that was refused once and is launching now, with two lines of log."""
    with edge_house.db.begin() as tx:
        tx.execute(text("INSERT INTO signing_keys (id, public_key) VALUES ('seen', 'x') ON CONFLICT DO NOTHING"))
        tx.execute(
            text(
                "INSERT INTO dataset_rounds (id, name, is_current, fingerprint, manifest, manifest_sha256,"
                " manifest_key_id, manifest_signature) VALUES ('seen', 'seen', false, 'seen', 'x', :sha, 'seen', 'x')"
                " ON CONFLICT DO NOTHING"
            ),
            {"sha": "0" * 64},
        )
        order = TrainingRequest.model_validate(
            {"round_id": "seen", "task": "signal", "provider": "local", "budget": {"max_cost_usd": 3, "max_hours": 2}}
        )
        made = runs.create(tx, vendor.id, order, idempotency_key=None, now=now(), providers={"local"})
        launch(tx, made.run_id)
    yield made.run_id
    with edge_house.db.begin() as tx:
        tx.execute(text("UPDATE training_runs SET locked_until = NULL, lock_token = NULL"))


def launch(tx: Tx, run_id: str) -> None:
    [claimed] = [run for run in runs_claims.claim(tx, providers={"local"}, limit=500) if run.run_id == run_id]
    runs_claims.apply(tx, run_id, claimed.lock_token, Step(letter="a"), now())
    runs_claims.apply(tx, run_id, claimed.lock_token, Step(letter="c"), now())
    runs_claims.note(tx, claimed, "refused", now(), error=f"no capacity for Bearer {SECRET}", inner="not to be shown")
    after = runs_claims.apply(tx, run_id, claimed.lock_token, Step(letter="a"), now())
    assert after is not None
    runs_claims.record_handle(tx, after, Handle(f"{run_id}/2", after.vendor_id, 0.5, {"gpu": "NVIDIA L4"}), now())
    runs.append_logs(tx, run_id, LogChunk(seq=0, lines=[line("one"), line("two\u2028<b>\x85")]), now=now())


def line(said: str) -> LogChunkLine:
    return LogChunkLine(at=now(), text=said)


def end(house: House, run_id: str) -> None:
    """The job says its outcome, and nothing of it is left."""
    with house.db.begin() as tx:
        runs.append_logs(tx, run_id, LogChunk(seq=2, lines=[line("three")]), now=now())
        outcome = RunOutcome(status="failed", exit_code=3, failure="It broke.")
        runs.finish(tx, run_id, outcome, store=house.store, now=now())
        token = tx.execute(text("SELECT lock_token FROM training_runs WHERE id = :id"), {"id": run_id}).scalar_one()
        runs_claims.apply(tx, run_id, token, Step(letter="j"), now())


def data(edge: httpx.Client, path: str, vendor: SimpleNamespace) -> Any:
    answer = edge.get(f"/api/training/runs/{path}", headers=vendor.headers)
    assert 200 == answer.status_code, answer.text
    return answer.json()["data"]


def test_run_shows_what_people_ask_for(edge: httpx.Client, edge_house: House, vendor: SimpleNamespace, run_id: str):
    """Fine state, attempt, machine, price, bounds and progress; a status of the wire's five beside them."""
    seen = data(edge, run_id, vendor)
    assert ("queued", "launching", 2) == (seen["status"], seen["state"], seen["attempt"])
    assert ("NVIDIA L4", 0.5, 3.0) == (seen["machine"], seen["price_per_hour_usd"], seen["max_cost_usd"])
    assert seen["created_at"] < seen["deadline"]
    assert "progress" not in seen
    with edge_house.db.begin() as tx:
        runs.heartbeat(tx, run_id, RunHeartbeat(step=3, total_steps=20), now=now())
    seen = data(edge, run_id, vendor)
    assert ("running", {"step": 3, "total_steps": 20}) == (seen["state"], seen["progress"])
    assert 0 <= seen["cost_usd"] < 0.1


def test_events_tell_the_history_without_secrets(edge: httpx.Client, vendor: SimpleNamespace, run_id: str):
    """Every entry in order, with a sentence; details that are not known to be harmless stay inside."""
    told = data(edge, f"{run_id}/events", vendor)
    assert [0, 1, 2, 3, 4, 5] == [event["seq"] for event in told]
    assert ["created", "a", "c", "refused", "a", "launched"] == [event.get("letter") or event["kind"] for event in told]
    assert ("queued", "launching") == (told[1]["from_state"], told[1]["to_state"])
    assert "The supervisor took the run" in told[1]["means"]
    assert {"provider": "local", "ref": f"{run_id}/2", "attempt": 2} == {
        name: value for name, value in told[5]["detail"].items() if name in {"provider", "ref", "attempt"}
    }
    assert SECRET not in json.dumps(told)
    assert "no capacity for Bearer rpa_***" == told[3]["detail"]["error"]
    assert "inner" not in told[3]["detail"]


def test_events_of_another_vendor(edge: httpx.Client, new_vendor: Any, run_id: str):
    """404, as if there were no such run; so are its streams."""
    other = new_vendor()
    assert 404 == edge.get(f"/api/training/runs/{run_id}/events", headers=other.headers).status_code
    assert 404 == edge.get(f"/api/training/runs/{run_id}/logs", headers=other.headers | STREAM).status_code


def test_stream_resumes_and_ends(edge: httpx.Client, edge_house: House, vendor: SimpleNamespace, run_id: str):
    """Lines from Last-Event-ID on, each with the id that resumes after it; the end is an event."""
    end(edge_house, run_id)
    path, headers = f"/api/training/runs/{run_id}/logs", vendor.headers | STREAM
    whole = edge.get(path, headers=headers)
    assert whole.headers["content-type"].startswith("text/event-stream")
    assert ["1", "2", "3", "3"] == ids(whole.text)
    assert whole.text.rstrip().endswith("event: end\r\ndata: {}")
    assert ["3", "3"] == ids(edge.get(path, headers=headers | {"Last-Event-ID": "2"}).text)
    assert ["1", "2", "3", "3"] == ids(edge.get(path, headers=headers | {"Last-Event-ID": "x1"}).text)


def ids(body: str) -> list[str]:
    return [found.removeprefix("id: ") for found in body.split("\r\n") if found.startswith("id: ")]


def test_a_suspended_vendors_stream_ends(edge: httpx.Client, edge_house: House, vendor: SimpleNamespace, run_id: str):
    """Not ten minutes later, and without the run's end; coming back is refused."""
    path, headers = f"/api/training/runs/{run_id}/logs", vendor.headers | STREAM
    with edge.stream("GET", path, headers=headers, timeout=10) as stream:
        lines = stream.iter_lines()
        while next(lines) != "id: 2":  # both lines are there: the stream waits for more
            pass
        with edge_house.db.begin() as tx:
            vendors.set_status(tx, vendor.id, VendorStatus.SUSPENDED, actor="test")
        assert "event: end" not in list(lines)
    assert 403 == edge.get(path, headers=headers).status_code


def test_streams_are_bounded(edge: httpx.Client, vendor: SimpleNamespace, run_id: str):
    """The eleventh of a vendor is refused with the time to wait; one that ends makes room."""
    path, headers = f"/api/training/runs/{run_id}/logs", vendor.headers | STREAM
    over = threading.Barrier(log_streams.MOST_PER_VENDOR + 1)
    seen = [threading.Event() for _ in range(log_streams.MOST_PER_VENDOR)]

    def hold(first: threading.Event) -> None:
        with httpx.stream("GET", f"{edge.base_url}{path}", headers=headers, timeout=30) as response:
            body = response.iter_bytes()  # kept: without it the connection is closed
            next(body)
            first.set()
            over.wait(timeout=30)
            del body

    threads = [threading.Thread(target=hold, args=(first,)) for first in seen]
    for thread, first in zip(threads, seen, strict=True):
        thread.start()
        assert first.wait(timeout=30)
    refused = edge.get(path, headers=headers)
    assert (429, "rate_limited", "5") == (
        refused.status_code,
        refused.json()["code"],
        refused.headers["Retry-After"],
    )
    assert 200 == edge.get(path, headers=vendor.headers).status_code
    over.wait(timeout=30)
    for thread in threads:
        thread.join(timeout=30)
    for _ in range(500):
        with httpx.stream("GET", f"{edge.base_url}{path}", headers=headers, timeout=30) as response:
            if response.status_code == 200:
                return
        threading.Event().wait(0.02)
    pytest.fail("ended streams made no room")


def test_client_follows_until_the_end(
    edge: httpx.Client, edge_house: House, vendor: SimpleNamespace, run_id: str, monkeypatch: pytest.MonkeyPatch
):
    """Line by line over a stream that the edge closes again and again, to the run's own end."""
    monkeypatch.setattr(log_streams, "LONGEST_SECONDS", 0.1)
    market = Marketplace(str(edge.base_url), vendor.key, sleep=lambda _: None)
    run = market.train.attach(run_id)
    said = []
    for found in run.follow():
        said.append(found.text)
        if len(said) == 2:
            end(edge_house, run_id)
    assert ["one", "two\u2028<b>\x85", "three"] == said
    assert ["created", "a", "c", "refused", "a", "launched", "b", "e", "j"] == [
        event.letter or event.kind for event in run.events()
    ]
    assert ("failed", "It broke.") == (run.refresh().status.value, run.record.failure)
    market.close()


def test_ctrl_c_ends_the_following_only(edge: httpx.Client, vendor: SimpleNamespace, run_id: str, tmp_path: Path):
    """The first lines are there while the run goes on; SIGINT: 130, a sentence, no traceback, and the run lives."""
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    env |= {"MP_API_URL": str(edge.base_url), "MP_TOKEN": vendor.key}
    command = [sys.executable, "-m", "mp_kit.cli.main", "train", "logs", "-f", run_id]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as process:
        assert process.stdout is not None
        assert b"one\n" == process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert (130, True) == (process.returncode, f"run {run_id} goes on".encode() in err)
    assert b"Traceback" not in err
    assert "launching" == data(edge, run_id, vendor)["state"]
