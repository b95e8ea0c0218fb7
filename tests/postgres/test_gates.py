"""Prod and its gates: by the service, and by SQL of somebody who owns nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from mp_kit.contracts import ModelRegistration, Stage, Task
from mp_kit.errors import ConflictError, InvalidInputError, NotFoundError
from mp_kit.server.house import House
from mp_kit.server.services import gates, models
from mp_kit.server.services.lineage import lineage
from mp_kit.server.store import scope
from mp_kit.server.store.engine import Tx
from mp_kit.server.store.scope import EDGE_ROLE, of_vendor, within
from tests.support.gates import GATES, Candidate, approved, candidate, heard, open_all, report, scored, validated

TO_PROD = text("UPDATE model_versions SET stage = 'prod' WHERE id = :id")
CLAIM = text("INSERT INTO model_stage_history (version_id, seq, to_stage, actor) VALUES (:id, 99, 'prod', 'nobody')")
APPROVE = text("INSERT INTO model_approvals (version_id, seq, granted, actor, why) VALUES (:id, 1, true, 'me', 'so')")


def to_prod(tx: Tx, who: Candidate) -> Stage:
    return models.change_stage(tx, who.vendor, who.model, "1", Stage.PROD, actor="test", reason="ready").stage


@pytest.mark.parametrize("gate", GATES)
def test_each_missing_gate_is_named_with_what_to_do(tx: Tx, house: House, gate: str):
    """All others are open; the refusal names this one alone, and its hint is how to meet it."""
    who = candidate(tx, house)
    for name, meet in GATES.items():
        if name != gate:
            meet(tx, who)
    with pytest.raises(ConflictError, match=f"not met: {gate}\\.") as refused:
        to_prod(tx, who)
    assert (gates.HOW[gate], [gate]) == (refused.value.hint, [each["loc"][0] for each in refused.value.details])


def test_all_missing_gates_are_named_in_their_order(tx: Tx, house: House):
    """A newcomer hears all of it at once."""
    with pytest.raises(ConflictError) as refused:
        to_prod(tx, candidate(tx, house))
    assert [*GATES] == [each["loc"][0] for each in refused.value.details]


def test_open_gates_lead_to_prod(tx: Tx, house: House):
    """And the history says who, from where, why."""
    who = candidate(tx, house)
    open_all(tx, who)
    assert Stage.PROD is to_prod(tx, who)
    [version] = lineage(tx, who.vendor, who.model).versions
    assert [("shadow", None), ("pilot", None), ("prod", "ready")] == [
        (step.to_stage.value, step.reason if step.seq > 1 else None) for step in version.history
    ]


def test_silence_closes_a_gate_again(tx: Tx, house: House):
    """A heartbeat of three minutes ago is none."""
    who = candidate(tx, house)
    open_all(tx, who)
    old = datetime.now(UTC) - timedelta(minutes=3)
    tx.execute(text("UPDATE deployments SET last_heartbeat_at = :old"), {"old": old})
    with pytest.raises(ConflictError, match="not met: heartbeats"):
        to_prod(tx, who)


def test_newest_validation_and_newest_approval_count(tx: Tx, house: House):
    """What once was good is taken back by a later word."""
    who = candidate(tx, house)
    open_all(tx, who)
    gates.note_validation(tx, who.vendor, who.model, "1", report(passed=False), actor="test")
    gates.approve(tx, who.model, "1", "on second thought", actor="operator:test", granted=False)
    with pytest.raises(ConflictError, match="not met: validated, approval"):
        to_prod(tx, who)


def test_another_versions_deployment_opens_nothing(tx: Tx, house: House):
    """Heartbeats and scores count for the version that is served, not for its successor."""
    who = candidate(tx, house)
    open_all(tx, who)
    models.register(tx, who.vendor, ModelRegistration(name="trend", task=Task.SIGNAL, version="2"))
    models.change_stage(tx, who.vendor, who.model, "2", Stage.PILOT, actor="test", reason=None)
    with pytest.raises(ConflictError, match="not met: validated, heartbeats, scores, approval"):
        models.change_stage(tx, who.vendor, who.model, "2", Stage.PROD, actor="test", reason=None)


def misses_scores(tx: Tx, *versions: str) -> list[bool]:
    """Of each version, whether the gate ``scores`` is closed."""
    found = gates.gates_of(tx, versions)
    return [not gate.met for version in versions for gate in found[version] if gate.name == "scores"]


def test_the_record_of_the_version_before_opens_nothing(tx: Tx, house: House):
    """A deployment that runs a new version begins anew; going back to the old one does not bring its record back."""
    who = candidate(tx, house)
    scored(tx, who, "r1")
    assert [False] == misses_scores(tx, who.version)
    wanted = {"name": "trend", "task": Task.SIGNAL, "deployment_id": who.deployment}
    two = models.register(tx, who.vendor, ModelRegistration(**wanted, version="2")).version_id
    assert [True, True] == misses_scores(tx, who.version, two)
    scored(tx, who, "r2")
    assert [True, False] == misses_scores(tx, who.version, two)
    models.register(tx, who.vendor, ModelRegistration(**wanted, version="1"))
    assert [True, True] == misses_scores(tx, who.version, two)


def test_scores_of_the_newest_round_count(tx: Tx, house: House):
    """Whom it has no rank for, or no longer hears of, has no open gate by an older one; a retired round is none."""
    silent, thin = candidate(tx, house, "Silent"), candidate(tx, house, "Thin")
    for who in (silent, thin):
        scored(tx, who, "r1")
    assert [False, False] == misses_scores(tx, silent.version, thin.version)
    scored(tx, thin, "r2", enough=False)
    assert [True, True] == misses_scores(tx, silent.version, thin.version)
    tx.execute(text("UPDATE dataset_rounds SET retired_at = now() WHERE id = 'r2'"))
    assert [False, False] == misses_scores(tx, silent.version, thin.version)


@pytest.fixture
def as_edge(tx: Tx) -> Callable[[Candidate], None]:
    """Goes on as the edge's role in a vendor's scope, with every privilege: the gates alone stand in its way."""
    tx.execute(text(f"GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA public TO {EDGE_ROLE}"))

    def become(who: Candidate) -> None:
        tx.execute(text(f"SET LOCAL ROLE {EDGE_ROLE}"))
        with within(of_vendor(who.vendor)):
            scope.apply(tx)

    return become


def refused(tx: Tx, statement: object, who: Candidate) -> str:
    """What the database says to a statement that it must refuse."""
    with pytest.raises(DBAPIError) as caught, tx.begin_nested():
        tx.execute(statement, {"id": who.version})  # type: ignore[call-overload]
    return str(caught.value.orig)


def test_sql_of_the_edges_role_reaches_no_prod(tx: Tx, house: House, as_edge: Callable[[Candidate], None]):
    """Neither by the stage, nor by the history, nor by an approval of its own; with the operator's word it does."""
    who = candidate(tx, house)
    for meet in (validated, heard, scored):
        meet(tx, who)
    as_edge(who)
    assert "not met: approval" in refused(tx, TO_PROD, who)
    assert "not met: approval" in refused(tx, CLAIM, who)
    assert "only the operator approves" in refused(tx, APPROVE, who)
    tx.execute(text("RESET ROLE"))
    approved(tx, who)
    as_edge(who)
    tx.execute(TO_PROD, {"id": who.version})
    tx.execute(text("RESET ROLE"))


def test_a_table_of_the_same_name_in_front_changes_nothing(tx: Tx, house: House, as_edge: Callable[[Candidate], None]):
    """A temporary table hides none of those that the gates read."""
    who = candidate(tx, house)
    for meet in (validated, heard, scored):
        meet(tx, who)
    as_edge(who)
    tx.execute(text("CREATE TEMP TABLE model_approvals (version_id text, seq int, granted bool) ON COMMIT DROP"))
    tx.execute(text("INSERT INTO model_approvals VALUES (:id, 1, true)"), {"id": who.version})
    assert "not met: approval" in refused(tx, TO_PROD, who)
    tx.execute(text("RESET ROLE"))


@pytest.mark.parametrize("table", ["model_stage_history", "model_validations", "model_approvals"])
@pytest.mark.parametrize("verb", ["UPDATE {} SET actor = 'x'", "DELETE FROM {}", "TRUNCATE {}"])
def test_history_only_grows(tx: Tx, house: House, as_edge: Callable[[Candidate], None], table: str, verb: str):
    """No edit, by no verb."""
    who = candidate(tx, house)
    open_all(tx, who)
    as_edge(who)
    assert "can only grow" in refused(tx, text(verb.format(table)), who)
    tx.execute(text("RESET ROLE"))


def test_a_report_that_was_touched_is_refused(tx: Tx, house: House):
    """Its digest no longer names it; nor may it speak of another task."""
    who = candidate(tx, house)
    touched = report(passed=False).model_copy(update={"passed": True})
    for bad in (touched, report(task=Task.CONSENSUS)):
        with pytest.raises(InvalidInputError):
            gates.note_validation(tx, who.vendor, who.model, "1", bad, actor="test")
    with pytest.raises(NotFoundError):
        gates.note_validation(tx, "vnd_other", who.model, "1", report(), actor="test")


def test_the_same_report_twice_is_one(tx: Tx, house: House):
    """Sending it again gives the note of the first time."""
    who = candidate(tx, house)
    said = report()
    first = gates.note_validation(tx, who.vendor, who.model, "1", said, actor="test")
    assert first == gates.note_validation(tx, who.vendor, who.model, "1", said, actor="later")


def test_lineage_of_another_vendor_does_not_exist(tx: Tx, house: House):
    """Absent and another's are not told apart."""
    who = candidate(tx, house)
    with pytest.raises(NotFoundError):
        lineage(tx, "vnd_other", who.model)
    [served] = lineage(tx, who.vendor, who.model).versions[0].deployments
    assert (who.deployment, "silent", 0) == (served.deployment_id, served.liveness, served.signals)


def test_an_approval_has_its_reason(tx: Tx, house: House):
    """Who looked, and at what."""
    who = candidate(tx, house)
    with pytest.raises(InvalidInputError, match="reason"):
        gates.approve(tx, who.model, "1", "  ", actor="operator:test")
    with pytest.raises(NotFoundError):
        gates.approve(tx, who.model, "7", "so", actor="operator:test")
