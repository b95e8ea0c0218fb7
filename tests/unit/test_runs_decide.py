"""The decision table of training runs: every state against everything that a provider may show."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from mp_kit.contracts.training import RunOutcome
from mp_kit.server.providers.base import Observed, Phase
from mp_kit.server.services.runs_states import (
    FINAL,
    LAUNCH_PATIENCE,
    OVERDUE_GRACE,
    SILENCE,
    SOFT_END,
    STOPPED_PATIENCE,
    TRANSITIONS,
    Act,
    Limits,
    RunFacts,
    State,
    decide,
)

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
AGO = NOW - timedelta(seconds=1)
MINUTES_AGO = NOW - STOPPED_PATIENCE - timedelta(seconds=1)
LONG_AGO = NOW - timedelta(hours=9)
DONE = RunOutcome(status="succeeded", exit_code=0)

SEEN = {
    "unasked": None,
    "unknown": Observed(Phase.UNKNOWN),
    "starting": Observed(Phase.STARTING),
    "running": Observed(Phase.RUNNING),
    "exited": Observed(Phase.EXITED),
    "gone": Observed(Phase.GONE),
    "gone with outcome": Observed(Phase.GONE, outcome=DONE),
}

ALIVE = {"launched": True, "deadline": NOW + timedelta(hours=1), "launching_since": AGO}
RUNS = {
    "queued": RunFacts(State.QUEUED),
    "launching, answer lost": RunFacts(State.LAUNCHING, deadline=NOW + timedelta(hours=1), launching_since=AGO),
    "launching, answer lost for long": RunFacts(State.LAUNCHING, deadline=NOW, launching_since=LONG_AGO),
    "launching": RunFacts(State.LAUNCHING, **ALIVE),
    "launching, unheard": RunFacts(State.LAUNCHING, **{**ALIVE, "launching_since": MINUTES_AGO}),
    "launching too long": RunFacts(State.LAUNCHING, **{**ALIVE, "launching_since": LONG_AGO}),
    "running": RunFacts(State.RUNNING, heartbeat_at=AGO, **ALIVE),
    "running, unheard": RunFacts(State.RUNNING, heartbeat_at=MINUTES_AGO, **ALIVE),
    "running, no handle": RunFacts(State.RUNNING, heartbeat_at=AGO, **{**ALIVE, "launched": False}),
    "running, silent": RunFacts(State.RUNNING, heartbeat_at=NOW - SILENCE - timedelta(seconds=1), **ALIVE),
    "running, overdue": RunFacts(State.RUNNING, heartbeat_at=AGO, **{**ALIVE, "deadline": LONG_AGO}),
    "finishing": RunFacts(State.FINISHING, heartbeat_at=AGO, outcome="succeeded", **ALIVE),
    "finishing slowly": RunFacts(State.FINISHING, heartbeat_at=NOW - SOFT_END, outcome="failed", **ALIVE),
    "finishing, no handle": RunFacts(State.FINISHING, heartbeat_at=AGO, outcome="succeeded"),
    "cancelling": RunFacts(State.CANCELLING, heartbeat_at=AGO, cancel_requested_at=AGO, **ALIVE),
    "cancelling slowly": RunFacts(State.CANCELLING, heartbeat_at=AGO, cancel_requested_at=LONG_AGO, **ALIVE),
    "cancelling, never heard": RunFacts(State.CANCELLING, cancel_requested_at=AGO, **ALIVE),
    "cancelling, no handle": RunFacts(State.CANCELLING, cancel_requested_at=AGO),
    "succeeded": RunFacts(State.SUCCEEDED, launched=True),
    "failed": RunFacts(State.FAILED, launched=True),
    "cancelled": RunFacts(State.CANCELLED),
}

# A row per run; a column per sight, in the order of SEEN. A cell is act and letter; "." waits.
WAIT = (".",) * 5
TABLE = {
    "queued": ("launch a",) * 7,
    "launching, answer lost": ("find",) * 7,
    "launching, answer lost for long": ("wait f",) * 7,
    "launching": (*WAIT, "wait g", "wait h"),
    "launching, unheard": (*WAIT[1:], "terminate f", "wait g", "wait h"),
    "launching too long": (*("terminate f",) * 5, "wait g", "wait h"),
    "running": (*WAIT, "wait g", "wait h"),
    "running, unheard": (*WAIT[1:], "terminate f", "wait g", "wait h"),
    "running, no handle": ("find",) * 7,
    "running, silent": (*("terminate f",) * 5, "wait g", "wait h"),
    "running, overdue": (*("terminate f",) * 5, "wait g", "wait h"),
    "finishing": (*WAIT, "wait i", "wait i"),
    "finishing slowly": (*("terminate",) * 5, "wait j", "wait j"),
    "finishing, no handle": ("find",) * 7,
    "cancelling": (*WAIT, "wait n", "wait n"),
    "cancelling slowly": (*("terminate",) * 5, "wait n", "wait n"),
    "cancelling, never heard": (*("terminate",) * 5, "wait n", "wait n"),
    "cancelling, no handle": ("find",) * 7,
    "succeeded": (".",) * 7,
    "failed": (".",) * 7,
    "cancelled": (".",) * 7,
}

CELLS = [(run, seen, TABLE[run][column]) for run in TABLE for column, seen in enumerate(SEEN)]


def test_table_is_whole():
    """Each run of the table, and each state, has a cell for each sight."""
    assert set(RUNS) == set(TABLE)
    assert {facts.state for facts in RUNS.values()} == set(State)
    assert len(RUNS) * len(SEEN) == len(CELLS)


@pytest.mark.parametrize(("run", "seen", "expected"), CELLS, ids=[f"{run} / {seen}" for run, seen, _ in CELLS])
def test_decide_cell(run: str, seen: str, expected: str):
    """The decision is the table's."""
    step = decide(RUNS[run], SEEN[seen], NOW)
    shown = f"{step.act.value} {step.letter or ''}".strip()
    assert expected == ("." if shown == "wait" else shown)


@pytest.mark.parametrize(("run", "seen"), list(product(RUNS, SEEN)))
def test_decide_makes_only_arrows_that_exist(run: str, seen: str):
    """A letter always starts from the run's state, and a bad end has a sentence."""
    step = decide(RUNS[run], SEEN[seen], NOW)
    if step.letter:
        assert RUNS[run].state in TRANSITIONS[step.letter].leaves
    assert (step.letter in {"f", "g"}) == bool(step.failure)


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "cancelled"])
def test_decide_settles_by_outcome(outcome: str):
    """What ended with an outcome gets the state of that name once nothing is left."""
    facts = replace(RUNS["finishing"], outcome=outcome)
    letter = decide(facts, SEEN["gone"], NOW).letter
    assert outcome == TRANSITIONS[letter or ""].to.value


def test_decide_patience_ends_exactly():
    """Each patience is over one moment after its length, not before."""
    tick = timedelta(microseconds=1)
    cases = [
        (replace(RUNS["launching"], launching_since=NOW - LAUNCH_PATIENCE), LAUNCH_PATIENCE, "launching_since"),
        (replace(RUNS["running"], heartbeat_at=NOW - SILENCE), SILENCE, "heartbeat_at"),
        (replace(RUNS["running"], deadline=NOW - OVERDUE_GRACE), OVERDUE_GRACE, "deadline"),
    ]
    for facts, patience, name in cases:
        assert decide(facts, SEEN["running"], NOW).act is Act.WAIT
        assert decide(replace(facts, **{name: NOW - patience - tick}), SEEN["running"], NOW).act is Act.TERMINATE


def test_decide_keeps_other_limits():
    """A rehearsal is impatient: the same run is given up where the house's own limits let it go on."""
    soon = Limits(timedelta(), timedelta(), timedelta(), timedelta(), timedelta())
    heard = NOW - timedelta(seconds=1)
    running = replace(RUNS["running"], heartbeat_at=heard)
    finishing = replace(RUNS["finishing"], heartbeat_at=heard)
    for facts in (running, finishing):
        acts = [decide(facts, SEEN["running"], NOW, limits).act for limits in (Limits(), soon)]
        assert [Act.WAIT, Act.TERMINATE] == acts


def test_gone_quotes_what_is_known():
    """The failure of a vanished job tells its exit code and its last words."""
    step = decide(RUNS["running"], Observed(Phase.GONE, exit_code=137, detail="Killed"), NOW)
    assert step.failure == "The job ended with exit code 137 and told no outcome. Its last words: Killed"


def test_final_states_have_no_arrow_out():
    """Nothing leaves a final state, and each state but the first can be reached."""
    assert not any(arrow.leaves & FINAL for arrow in TRANSITIONS.values())
    assert {arrow.to for arrow in TRANSITIONS.values()} == set(State)


def test_arrows_are_documented(pytestconfig: pytest.Config):
    """Each letter, with its states, is a row of docs/runs.md."""
    page = (pytestconfig.rootpath / "docs" / "runs.md").read_text()
    for arrow in TRANSITIONS.values():
        leaves = ", ".join(state.value for state in State if state in arrow.leaves)
        assert f"| {arrow.letter} | {leaves} | {arrow.to.value} | {arrow.means} |" in page
