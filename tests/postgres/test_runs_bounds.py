"""What a job may leave behind, and until when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from mp_kit.contracts.training import (
    ArtifactRequest,
    LogChunk,
    LogChunkLine,
    MachineUse,
    RunHeartbeat,
    RunOutcome,
    TrainingRequest,
)
from mp_kit.errors import ConflictError, TooLargeError
from mp_kit.server.house import House
from mp_kit.server.providers.base import Handle
from mp_kit.server.services import runs, runs_artifacts, runs_claims, runs_reports, vendors
from mp_kit.server.services.runs_moves import move
from mp_kit.server.services.runs_states import Step
from mp_kit.server.store import runs as rows
from mp_kit.server.store.engine import Tx
from mp_kit.trainer.limits import MAX_KEYS

NOW = datetime.now(UTC)
ARTIFACT = ArtifactRequest(name="model.onnx", size_bytes=3, sha256="a" * 64)


@pytest.fixture
def run_id(tx: Tx, house: House) -> str:
    """A run that was launched."""
    add_round(tx)
    vendor_id = vendors.create(tx, house.tokens, "ACME", actor="test").vendor_id
    request = TrainingRequest.model_validate({"round_id": "current", "task": "signal", "provider": "local"})
    made = runs.create(tx, vendor_id, request, idempotency_key=None, now=NOW, providers={"local"}).run_id
    [claimed] = [run for run in runs_claims.claim(tx, providers={"local"}) if run.run_id == made]
    after = runs_claims.apply(tx, made, claimed.lock_token, Step(letter="a"), NOW)
    assert after is not None
    runs_claims.record_handle(tx, after, Handle(f"{made}/1", vendor_id), NOW)
    return made


def add_round(tx: Tx) -> None:
    tx.execute(text("INSERT INTO signing_keys (id, public_key) VALUES ('key', 'x')"))
    tx.execute(
        text(
            "INSERT INTO dataset_rounds (id, name, is_current, fingerprint, manifest, manifest_sha256,"
            " manifest_key_id, manifest_signature) VALUES ('rnd', 'rnd', true, 'rnd', 'x', :sha, 'key', 'x')"
        ),
        {"sha": "0" * 64},
    )


def found(tx: Tx, run_id: str) -> Any:
    row = rows.find(tx, run_id)
    assert row is not None
    return row


def chunk(seq: int, *texts: str) -> LogChunk:
    return LogChunk(seq=seq, lines=[LogChunkLine(at=NOW, text=text) for text in texts])


def fail_for_good(tx: Tx, run_id: str, house: House) -> None:
    """Tells an outcome and makes the run final."""
    runs.finish(tx, run_id, RunOutcome(status="failed", failure="no"), store=house.store, now=NOW)
    move(tx, found(tx, run_id), "j", NOW)


def test_log_closes_a_while_after_the_end(tx: Tx, run_id: str, house: House):
    """Late lines of an outage are taken, then no more; what is known is still answered."""
    fail_for_good(tx, run_id, house)
    assert 1 == runs.append_logs(tx, run_id, chunk(0, "late"), now=NOW + runs_reports.LOG_GRACE)
    after = NOW + runs_reports.LOG_GRACE + timedelta(seconds=1)
    with pytest.raises(ConflictError, match="its log is closed"):
        runs.append_logs(tx, run_id, chunk(1, "too late"), now=after)
    assert 1 == runs.append_logs(tx, run_id, chunk(0, "late"), now=after)


def test_log_has_a_largest_size(tx: Tx, run_id: str, monkeypatch: pytest.MonkeyPatch):
    """A line of the system's ends it; the next chunk is refused, and nothing is stored."""
    monkeypatch.setattr(runs_reports, "MAX_LOG_BYTES", 1 << 20)
    lines = ["x" * 15_000] * 40
    assert 40 == runs.append_logs(tx, run_id, chunk(0, *lines), now=NOW)
    assert 81 == runs.append_logs(tx, run_id, chunk(40, *lines), now=NOW)
    with pytest.raises(TooLargeError, match="1 MiB"):
        runs.append_logs(tx, run_id, chunk(81, "more"), now=NOW)
    [last] = rows.list_logs(tx, run_id, start=80, limit=10)
    assert ("system", "The log ends here: the marketplace keeps 1 MiB of a run's log.") == (last.stream, last.text)


def test_metrics_do_not_pile_up(tx: Tx, run_id: str):
    """Heartbeats with ever new names: the first ones stay, the others are counted."""
    for turn in range(3):
        beat = RunHeartbeat(metrics={f"m{turn}_{n}": n for n in range(MAX_KEYS - 50)})
        runs.heartbeat(tx, run_id, beat, now=NOW)
    row = found(tx, run_id)
    assert (MAX_KEYS, MAX_KEYS - 50) == (len(row.metrics), row.progress["metrics_left_out"])


def test_machine_is_kept_with_the_progress(tx: Tx, run_id: str):
    """What the job's machine looks like is part of the run."""
    runs.heartbeat(tx, run_id, RunHeartbeat(step=3, machine=MachineUse(rss_bytes=7)), now=NOW)
    assert (3, 7) == (found(tx, run_id).progress["step"], found(tx, run_id).progress["machine"]["rss_bytes"])


def test_artifacts_close_with_the_outcome(tx: Tx, run_id: str, house: House):
    """Announced after the outcome, before the run is final: refused."""
    runs.finish(tx, run_id, RunOutcome(status="failed", failure="no"), store=house.store, now=NOW)
    with pytest.raises(ConflictError, match="has told its outcome"):
        runs.register_artifact(tx, run_id, ARTIFACT, store=house.store, now=NOW)


def test_artifacts_have_a_number(tx: Tx, run_id: str, house: House, monkeypatch: pytest.MonkeyPatch):
    """The one too many is refused, one that is known may be announced again."""
    monkeypatch.setattr(runs_artifacts, "MAX_ARTIFACTS", 1)
    runs.register_artifact(tx, run_id, ARTIFACT, store=house.store, now=NOW)
    runs.register_artifact(tx, run_id, ARTIFACT, store=house.store, now=NOW)
    with pytest.raises(ConflictError, match="the most that a run may have"):
        runs.register_artifact(tx, run_id, ARTIFACT.model_copy(update={"name": "b"}), store=house.store, now=NOW)
