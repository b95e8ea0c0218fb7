"""What an earlier launch started may live on; it speaks for its run no more. And who stopped a job that was stopped."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from desks import publish

from mp_kit.contracts.training import ArtifactRequest, LogChunk, LogChunkLine, RunHeartbeat, RunOutcome, TrainingRequest
from mp_kit.errors import ConflictError
from mp_kit.server.house import House
from mp_kit.server.services import runs, vendors
from mp_kit.server.services import runs_claims as claims
from mp_kit.server.services.runs_states import Step
from mp_kit.server.store import runs as rows
from mp_kit.server.store.engine import Tx

NOW = datetime.now(UTC)
LINE = LogChunkLine(at=NOW, text="from beyond")


@pytest.fixture(scope="module")
def vendor(house: House) -> str:
    """A vendor and a current round without files."""
    with house.db.begin() as tx:
        publish(tx, "rnd", current=True)
        return vendors.create(tx, house.tokens, "ACME", actor="test").vendor_id


def order(tx: Tx, vendor: str, provider: str = "runpod") -> str:
    request = TrainingRequest.model_validate({"round_id": "current", "task": "signal", "provider": provider})
    return runs.create(tx, vendor, request, idempotency_key=None, now=NOW, providers={provider}).run_id


def move(tx: Tx, run_id: str, *letters: str) -> None:
    """Claims the run and makes transitions."""
    rows.change(tx, run_id, {"locked_until": None})
    rows.wake(tx, run_id)
    (run,) = (one for one in claims.claim(tx, providers={"runpod", "local"}) if one.run_id == run_id)
    for letter in letters:
        assert claims.apply(tx, run_id, run.lock_token, Step(letter=letter), NOW)


@pytest.mark.parametrize("letters", [("a", "c"), ("a", "c", "a")], ids=["queued again", "launched again"])
def test_given_up_attempt_is_heard_no_more(house: House, vendor: str, letters: tuple[str, ...]):
    """Its job is told to stop; lines, artifacts and outcome are refused, and leave nothing."""
    with house.db.begin() as tx:
        run_id = order(tx, vendor)
        move(tx, run_id, *letters)
        before = rows.find(tx, run_id)
        store = house.store
        assert "stop" == runs.heartbeat(tx, run_id, RunHeartbeat(metrics={"loss": 1}), now=NOW, attempt=1).command
        reports = (
            lambda: runs.append_logs(tx, run_id, LogChunk(seq=0, lines=[LINE]), now=NOW, attempt=1),
            lambda: runs.register_artifact(
                tx, run_id, ArtifactRequest(name="m", size_bytes=1, sha256="a" * 64), store=store, now=NOW, attempt=1
            ),
            lambda: runs.finish(tx, run_id, RunOutcome(status="cancelled"), store=store, now=NOW, attempt=1),
        )
        for report in reports:
            with pytest.raises(ConflictError, match=r"Attempt 1 of run .* was given up"):
                report()
        assert before == rows.find(tx, run_id)


def test_present_attempt_is_heard(house: House, vendor: str):
    """The second one, after the first was given up."""
    with house.db.begin() as tx:
        run_id = order(tx, vendor)
        move(tx, run_id, "a", "c", "a")
        assert "continue" == runs.heartbeat(tx, run_id, RunHeartbeat(), now=NOW, attempt=2).command
        assert 1 == runs.append_logs(tx, run_id, LogChunk(seq=0, lines=[LINE]), now=NOW, attempt=2)


def test_token_names_its_attempt(house: House, vendor: str):
    """What the launch put into the environment comes back with each call."""
    token = house.tokens.run_token("run_x", vendor, datetime.now(UTC) + timedelta(minutes=5), 3)
    assert 3 == house.tokens.authenticate(token, house.db.begin).attempt


@pytest.mark.parametrize(
    ("provider", "cancels", "outcome"),
    [("runpod", False, "failed"), ("runpod", True, "cancelled"), ("local", False, "cancelled")],
)
def test_who_stopped_a_job(house: House, vendor: str, provider: str, cancels: bool, outcome: str):
    """A pod that was ended without its vendor's cancel has failed; on an own machine, Ctrl-C is the vendor's wish."""
    with house.db.begin() as tx:
        run_id = order(tx, vendor, provider)
        move(tx, run_id, "a")
        runs.heartbeat(tx, run_id, RunHeartbeat(), now=NOW)
        if cancels:
            runs.cancel(tx, vendor, run_id, now=NOW)
        runs.finish(tx, run_id, RunOutcome(status="cancelled", exit_code=-15), store=house.store, now=NOW)
        row = rows.find(tx, run_id)
        assert (outcome, outcome == "failed") == (row.progress["outcome"], "from outside" in (row.failure or ""))
