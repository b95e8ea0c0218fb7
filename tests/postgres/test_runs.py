"""Training runs in Postgres: ordered once, claimed once, moved along their arrows with their history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from mp_kit.contracts.training import (
    ArtifactRequest,
    LogChunk,
    LogChunkLine,
    RunHeartbeat,
    RunOutcome,
    RunStatus,
    TrainingRequest,
)
from mp_kit.errors import ConflictError, IdempotencyError, InvalidInputError, NoCurrentRoundError, NotFoundError
from mp_kit.server.house import House
from mp_kit.server.providers.base import Handle
from mp_kit.server.services import runs, runs_claims, vendors
from mp_kit.server.services.runs_moves import move
from mp_kit.server.services.runs_states import State, Step
from mp_kit.server.store import runs as rows
from mp_kit.server.store.engine import Tx

NOW = datetime.now(UTC)
ROUND = "rnd_test"


def add_round(tx: Tx, round_id: str = ROUND, *, current: bool = True) -> None:
    key = f"key_{round_id}"
    tx.execute(text("INSERT INTO signing_keys (id, public_key) VALUES (:key, 'x')"), {"key": key})
    tx.execute(
        text(
            "INSERT INTO dataset_rounds (id, name, is_current, fingerprint, manifest, manifest_sha256,"
            " manifest_key_id, manifest_signature) VALUES (:id, :id, :current, :id, 'x', :sha, :key, 'x')"
        ),
        {"id": round_id, "current": current, "key": key, "sha": "0" * 64},
    )


@pytest.fixture
def vendor(tx: Tx, house: House) -> str:
    add_round(tx)
    return vendors.create(tx, house.tokens, "ACME", actor="test").vendor_id


def order(tx: Tx, vendor_id: str, key: str | None = None, **changes: Any) -> Any:
    request = TrainingRequest.model_validate({"round_id": "current", "task": "signal", "provider": "local", **changes})
    return runs.create(tx, vendor_id, request, idempotency_key=key, now=NOW, providers={"local"})


def launched(tx: Tx, run_id: str) -> runs_claims.Claimed:
    """Claims everything and takes one run to a stored handle."""
    [claimed] = [run for run in runs_claims.claim(tx, providers={"local"}) if run.run_id == run_id]
    after = runs_claims.apply(tx, run_id, claimed.lock_token, Step(letter="a"), NOW)
    assert after is not None
    runs_claims.record_handle(tx, after, Handle(f"{run_id}/1", after.vendor_id), NOW)
    return after


def state(tx: Tx, run_id: str) -> str:
    row = rows.find(tx, run_id)
    assert row is not None
    return str(row.state)


def letters(tx: Tx, run_id: str) -> str:
    return "".join(row.letter or "-" for row in rows.list_events(tx, run_id))


def chunk(seq: int, *texts: str) -> LogChunk:
    return LogChunk(seq=seq, lines=[LogChunkLine(at=NOW, text=line) for line in texts])


def test_create_refuses_a_provider_that_is_not_on_offer(tx: Tx, vendor: str):
    """The refusal names what is on offer."""
    with pytest.raises(InvalidInputError) as caught:
        order(tx, vendor, provider="runpod")
    assert caught.value.hint == "On offer: local. Name one: `provider`, or --provider of mp train start."


def test_create_refuses_a_round_that_is_not_there(tx: Tx, vendor: str):
    """An unknown round is 404."""
    with pytest.raises(NotFoundError):
        order(tx, vendor, round_id="rnd_none")


def test_create_without_a_current_round(tx: Tx, house: House):
    """`current` without any current round has a code of its own."""
    vendor_id = vendors.create(tx, house.tokens, "EARLY", actor="test").vendor_id
    with pytest.raises(NoCurrentRoundError):
        order(tx, vendor_id)


def test_create_twice_with_one_key_is_one_run(tx: Tx, vendor: str):
    """Same key, same body: the first run; its history has one beginning."""
    first, second = order(tx, vendor, "k1"), order(tx, vendor, "k1")
    assert first == second
    assert (first.status, first.round_id) == (RunStatus.QUEUED, ROUND)
    assert letters(tx, first.run_id) == "-"


def test_create_with_a_used_key_and_another_body(tx: Tx, vendor: str):
    """Same key, other body: 409."""
    order(tx, vendor, "k1")
    with pytest.raises(IdempotencyError):
        order(tx, vendor, "k1", hyperparams={"lr": 0.5})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"hyperparams": {"epoch": 5}}, "epoch is not known"),
        ({"hyperparams": {"epochs": "abc"}}, "epochs = 'abc'"),
        ({"task": "optimizer", "hyperparams": {"experts": "none"}}, "experts is not known"),
    ],
    ids=["misspelt", "no number", "of another task"],
)
def test_hyperparameters_that_the_job_would_refuse(tx: Tx, vendor: str, changes: dict[str, Any], told: str):
    """Nothing is ordered; an image of the vendor's own may know them."""
    with pytest.raises(InvalidInputError, match=told):
        order(tx, vendor, **changes)
    assert [] == runs.list_runs(tx, vendor)[0]
    assert order(tx, vendor, base_image="ours/trainer:1", **changes).run_id


def test_key_belongs_to_its_vendor(tx: Tx, house: House, vendor: str):
    """Two vendors may use the same key."""
    other = vendors.create(tx, house.tokens, "OTHER", actor="test").vendor_id
    assert order(tx, vendor, "k1").run_id != order(tx, other, "k1").run_id


def test_create_keeps_no_signed_url(tx: Tx, vendor: str):
    """Presigned URLs of a request are secrets and are not stored."""
    run = order(tx, vendor, dataset_urls=["https://x.example/a?signature=geheim"])
    row = rows.find(tx, run.run_id)
    assert row is not None
    assert row.spec["dataset_urls"] == []


def test_another_vendors_run_does_not_exist(tx: Tx, house: House, vendor: str):
    """Looking, cancelling and reading another vendor's run are all 404."""
    run_id = order(tx, vendor).run_id
    other = vendors.create(tx, house.tokens, "OTHER", actor="test").vendor_id
    for verb in (runs.get, runs.logs, runs.events):
        with pytest.raises(NotFoundError):
            verb(tx, other, run_id)
    with pytest.raises(NotFoundError):
        runs.cancel(tx, other, run_id, now=NOW)
    assert runs.list_runs(tx, other) == ([], None)


def test_list_pages_newest_first(tx: Tx, vendor: str):
    """Cursors walk through all runs once, also through runs of one instant."""
    ordered = {order(tx, vendor).run_id for _ in range(5)}
    seen: list[str] = []
    cursor = None
    for _ in range(3):
        page, cursor = runs.list_runs(tx, vendor, limit=2, cursor=cursor)
        seen += [run.run_id for run in page]
    assert (sorted(ordered), cursor) == (sorted(seen), None)
    assert runs.list_runs(tx, vendor, status=RunStatus.FAILED) == ([], None)


@pytest.mark.parametrize("cursor", ["x", "bnVsbA==", "W10="])
def test_list_refuses_a_foreign_cursor(tx: Tx, vendor: str, cursor: str):
    """A cursor that is none is the caller's mistake."""
    with pytest.raises(InvalidInputError):
        runs.list_runs(tx, vendor, cursor=cursor)


def test_cancel_queued_is_final_at_once(tx: Tx, vendor: str):
    """Nothing was started, so nothing has to end; a second cancel changes nothing."""
    run_id = order(tx, vendor).run_id
    assert runs.cancel(tx, vendor, run_id, now=NOW).status is RunStatus.CANCELLED
    again = runs.cancel(tx, vendor, run_id, now=NOW)
    assert (again.status, again.finished_at) == (RunStatus.CANCELLED, NOW)
    assert letters(tx, run_id) == "-l"


def test_cancel_overtakes_a_claim(tx: Tx, vendor: str):
    """A supervisor that holds a run which was cancelled meanwhile applies nothing."""
    run_id = order(tx, vendor).run_id
    [claimed] = runs_claims.claim(tx, providers={"local"})
    runs.cancel(tx, vendor, run_id, now=NOW)
    assert runs_claims.apply(tx, run_id, claimed.lock_token, Step(letter="a"), NOW) is None
    assert state(tx, run_id) == "cancelled"


def test_cancel_overtakes_a_launch_and_the_handle_is_kept(tx: Tx, vendor: str):
    """What was started is found again, though the run is being cancelled by then."""
    run_id = order(tx, vendor).run_id
    [claimed] = runs_claims.claim(tx, providers={"local"})
    after = runs_claims.apply(tx, run_id, claimed.lock_token, Step(letter="a"), NOW)
    assert after is not None
    runs.cancel(tx, vendor, run_id, now=NOW)
    runs_claims.record_handle(tx, after, Handle("ref", vendor), NOW)
    row = rows.find(tx, run_id)
    assert row is not None
    assert (row.state, row.provider_ref) == ("cancelling", "ref")


def test_cancel_running_orders_the_job_to_stop(tx: Tx, vendor: str):
    """The next heartbeat is answered with stop."""
    run_id = order(tx, vendor).run_id
    launched(tx, run_id)
    assert runs.heartbeat(tx, run_id, RunHeartbeat(step=1), now=NOW).command == "continue"
    assert runs.cancel(tx, vendor, run_id, now=NOW).status is RunStatus.RUNNING
    assert runs.heartbeat(tx, run_id, RunHeartbeat(step=2), now=NOW).command == "stop"
    assert letters(tx, run_id) == "-a-bm"


def test_claim_is_exclusive_until_released(tx: Tx, vendor: str):
    """A claimed run is not claimed again; a released one is, when it is due."""
    run_id = order(tx, vendor).run_id
    [first] = runs_claims.claim(tx, providers={"local"})
    assert runs_claims.claim(tx, providers={"local"}) == []
    runs_claims.release(tx, first, 0.0)
    [second] = runs_claims.claim(tx, providers={"local"})
    assert (second.run_id, second.lock_token != first.lock_token) == (run_id, True)


def test_claim_takes_only_its_providers_runs(tx: Tx, vendor: str):
    """A supervisor without the provider leaves the run to others."""
    order(tx, vendor)
    assert runs_claims.claim(tx, providers={"runpod"}) == []


def test_claim_of_a_dead_supervisor_ends_with_its_lease(tx: Tx, vendor: str):
    """After the lease another one takes over, and the old token is void."""
    run_id = order(tx, vendor).run_id
    [dead] = runs_claims.claim(tx, providers={"local"}, lease_seconds=-1)
    [alive] = runs_claims.claim(tx, providers={"local"})
    assert runs_claims.apply(tx, run_id, dead.lock_token, Step(letter="a"), NOW) is None
    assert runs_claims.apply(tx, run_id, alive.lock_token, Step(letter="a"), NOW) is not None


def test_wake_while_held_is_not_lost(tx: Tx, vendor: str):
    """A change of state during a look brings the next look at once, whatever the holder asked for."""
    run_id = order(tx, vendor).run_id
    held = launched(tx, run_id)
    runs.cancel(tx, vendor, run_id, now=NOW)
    runs_claims.release(tx, held, 600.0)
    assert [run.run_id for run in runs_claims.claim(tx, providers={"local"})] == [run_id]


def test_move_refuses_an_arrow_that_does_not_start_here(tx: Tx, vendor: str):
    """A queued run cannot finish."""
    row = rows.find(tx, order(tx, vendor).run_id, lock=True)
    assert row is not None
    with pytest.raises(ConflictError):
        move(tx, row, "e", NOW)


def test_first_heartbeat_makes_it_running(tx: Tx, vendor: str):
    """Start, progress and metrics are kept; later beats add to the metrics."""
    run_id = order(tx, vendor, budget={"max_hours": 2}).run_id
    launched(tx, run_id)
    orders = runs.heartbeat(tx, run_id, RunHeartbeat(step=1, metrics={"loss": 1.0}), now=NOW)
    runs.heartbeat(tx, run_id, RunHeartbeat(step=2, metrics={"acc": float("inf"), "a\x00": "b\x00"}), now=NOW)
    run = runs.get(tx, vendor, run_id)
    assert (orders.deadline, run.started_at) == (NOW + timedelta(hours=2), NOW)
    assert run.metrics == {"loss": 1.0, "acc": None, "a": "b"}
    assert letters(tx, run_id) == "-a-b"


def test_heartbeat_of_an_unknown_run(tx: Tx):
    """A token for a run that is not there finds nothing."""
    with pytest.raises(NotFoundError):
        runs.heartbeat(tx, "run_none", RunHeartbeat(), now=NOW)


def test_logs_are_stored_once_and_without_gaps(tx: Tx, vendor: str):
    """Repeats, overlaps, gaps and empty chunks all answer the number that is wanted next."""
    run_id = order(tx, vendor).run_id
    answers = [
        runs.append_logs(tx, run_id, sent, now=NOW)
        for sent in (
            chunk(0),
            chunk(0, "a", "b"),
            chunk(0, "a", "b"),
            chunk(1, "b", "c"),
            chunk(9, "late"),
            chunk(3, "d\x00"),
        )
    ]
    page = runs.logs(tx, vendor, run_id, limit=3)
    rest = runs.logs(tx, vendor, run_id, after=page.next)
    assert answers == [0, 2, 2, 3, 3, 4]
    assert [line.text for line in page.lines] + [line.text for line in rest.lines] == ["a", "b", "c", "d\ufffd"]
    assert (page.next, rest.next, rest.complete) == (3, 4, False)


def test_finish_needs_its_artifacts(tx: Tx, house: House, vendor: str):
    """An artifact that was never announced, or never uploaded, is refused by name."""
    run_id = order(tx, vendor).run_id
    launched(tx, run_id)
    artifact = ArtifactRequest(name="model.onnx", size_bytes=3, sha256="a" * 64)
    outcome = RunOutcome(status="succeeded", exit_code=0, artifacts=[artifact])
    for _ in range(2):
        with pytest.raises(ConflictError, match=r"model\.onnx"):
            runs.finish(tx, run_id, outcome, store=house.store, now=NOW)
        runs.register_artifact(tx, run_id, artifact, store=house.store, now=NOW)
    assert state(tx, run_id) == "launching"


def test_finish_settles_when_nothing_is_left(tx: Tx, house: House, vendor: str):
    """The outcome shows at once as running; with the job gone it is final, and its artifacts have URLs."""
    run_id = order(tx, vendor).run_id
    held = launched(tx, run_id)
    artifact = ArtifactRequest(name="model.onnx", size_bytes=3, sha256="a" * 64)
    runs.register_artifact(tx, run_id, artifact, store=house.store, now=NOW)
    house.store.put_bytes(f"runs/{run_id}/model.onnx", b"abc")
    outcome = RunOutcome(status="succeeded", exit_code=0, metrics={"x": 1}, artifacts=[artifact])
    for _ in range(2):
        runs.finish(tx, run_id, outcome, store=house.store, now=NOW)
    assert runs.get(tx, vendor, run_id).status is RunStatus.RUNNING
    runs_claims.apply(tx, run_id, held.lock_token, Step(letter="i"), NOW)
    run = runs.get(tx, vendor, run_id, view=runs.View(store=house.store))
    assert (run.status, run.metrics, run.failure) == (RunStatus.SUCCEEDED, {"x": 1}, None)
    assert run.artifacts.files is not None
    assert "signature=" in str(run.artifacts.files[0].url)
    assert letters(tx, run_id) == "-a-bei"
    assert runs.logs(tx, vendor, run_id).complete


def test_finish_of_a_cancelled_run_keeps_the_numbers(tx: Tx, house: House, vendor: str):
    """The vendor's wish decides the state; what was measured stays."""
    run_id = order(tx, vendor).run_id
    launched(tx, run_id)
    runs.cancel(tx, vendor, run_id, now=NOW)
    outcome = RunOutcome(status="succeeded", exit_code=0, metrics={"x": 1})
    runs.finish(tx, run_id, outcome, store=house.store, now=NOW)
    assert (state(tx, run_id), runs.get(tx, vendor, run_id).metrics) == (State.CANCELLING, {"x": 1})


def test_finish_tells_where_the_model_was_pushed(tx: Tx, house: House, vendor: str):
    """The job's ``hf_repo`` and ``hf_commit`` show among the artifacts; what is no text does not."""
    run_id = order(tx, vendor).run_id
    launched(tx, run_id)
    metrics = {"hf_repo": "vendor/blend", "hf_commit": "c" * 40}
    outcome = RunOutcome(status="succeeded", exit_code=0, metrics=metrics)
    runs.finish(tx, run_id, outcome, store=house.store, now=NOW)
    shown = runs.get(tx, vendor, run_id).artifacts
    assert ("vendor/blend", "c" * 40, None) == (shown.hf_repo, shown.commit, shown.files)


def test_artifact_of_a_final_run_is_refused(tx: Tx, house: House, vendor: str):
    """Nothing is added to a run that is over."""
    run_id = order(tx, vendor).run_id
    runs.cancel(tx, vendor, run_id, now=NOW)
    with pytest.raises(ConflictError):
        runs.register_artifact(
            tx, run_id, ArtifactRequest(name="a", size_bytes=1, sha256="a" * 64), store=house.store, now=NOW
        )


def test_create_notifies_when_committed(house: House):
    """A listener hears of a run after the commit."""
    with house.db.listen(rows.CHANNEL) as bell:
        with house.db.begin() as tx:
            add_round(tx)
            vendor_id = vendors.create(tx, house.tokens, "NOTIFY", actor="test").vendor_id
            run_id = order(tx, vendor_id).run_id
        assert bell.wait(10)
    with house.db.begin() as tx:
        assert runs.cancel(tx, vendor_id, run_id, now=NOW).status is RunStatus.CANCELLED


def test_two_supervisors_share_what_is_due(house: House):
    """Claims in two open transactions never meet: each run is taken once."""
    with house.db.begin() as tx:
        add_round(tx, "rnd_share", current=False)
        vendor_id = vendors.create(tx, house.tokens, "SHARE", actor="test").vendor_id
        ordered = {order(tx, vendor_id, round_id="rnd_share").run_id for _ in range(6)}
    with house.db.begin() as one, house.db.begin() as two:
        first = {run.run_id for run in runs_claims.claim(one, providers={"local"}, limit=4)}
        second = {run.run_id for run in runs_claims.claim(two, providers={"local"}, limit=4)}
    assert (len(first), first | second, first & second) == (4, ordered, set())


def test_log_is_redacted_where_it_is_stored(tx: Tx, vendor: str):
    """A job that reports by itself prints its whole environment: its tokens go no further."""
    run_id = order(tx, vendor).run_id
    printed = [f"HF_TOKEN=hf_{'a1B2' * 9}", "MP_RUN_TOKEN=eyJhbGciOiJ9.eyJzdWIiOiJ4In0.c2ln", "fit"]
    runs.append_logs(tx, run_id, chunk(0, *printed), now=NOW)
    found = tx.execute(text("SELECT text FROM run_logs WHERE run_id = :id ORDER BY seq"), {"id": run_id})
    assert ["HF_TOKEN=hf_***", "MP_RUN_TOKEN=eyJ***", "fit"] == found.scalars().all()
