"""Cancelling a run in every state that it may be in, by its vendor and by another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from desks import publish

from mp_kit.contracts.training import RunHeartbeat, RunOutcome, TrainingRequest
from mp_kit.errors import NotFoundError
from mp_kit.server.house import House
from mp_kit.server.providers.base import Handle, LaunchOrder, Observed, Phase
from mp_kit.server.services import runs, supervisor, vendors
from mp_kit.server.services.runs_states import State
from mp_kit.server.store import runs as rows

JOURNEYS: dict[State, tuple[str, ...]] = {
    State.QUEUED: (),
    State.LAUNCHING: ("cycle",),
    State.RUNNING: ("cycle", "beat"),
    State.FINISHING: ("cycle", "beat", "succeed"),
    State.CANCELLING: ("cycle", "beat", "cancel"),
    State.SUCCEEDED: ("cycle", "beat", "succeed", "end", "cycle"),
    State.FAILED: ("cycle", "beat", "end", "cycle"),
    State.CANCELLED: ("cancel",),
}
"""How a run comes to each state."""

LEADS_TO = {
    State.QUEUED: (State.CANCELLED, State.CANCELLED),
    State.LAUNCHING: (State.CANCELLING, State.CANCELLED),
    State.RUNNING: (State.CANCELLING, State.CANCELLED),
    State.FINISHING: (State.FINISHING, State.SUCCEEDED),
    State.CANCELLING: (State.CANCELLING, State.CANCELLED),
    State.SUCCEEDED: (State.SUCCEEDED, State.SUCCEEDED),
    State.FAILED: (State.FAILED, State.FAILED),
    State.CANCELLED: (State.CANCELLED, State.CANCELLED),
}
"""What a cancel makes of each state at once, and once the supervisor has looked."""


class Cloud:
    """A provider whose jobs end by ``terminate`` alone."""

    def __init__(self) -> None:
        self.phases: dict[str, Phase] = {}

    def launch(self, order: LaunchOrder) -> Handle:
        """Starts a job."""
        self.phases[order.run_id] = Phase.RUNNING
        return Handle(order.run_id, order.vendor_id)

    def observe(self, handles: Sequence[Handle]) -> Mapping[str, Observed]:
        """The phases."""
        return {handle.ref: Observed(self.phases[handle.ref]) for handle in handles}

    def terminate(self, handle: Handle) -> None:
        """Ends a job at once."""
        self.phases[handle.ref] = Phase.GONE


CLOUD = Cloud()
"""One for all: a supervisor's look is at every run that is due, those of earlier tests too."""


class Journey:
    """A run, and what may be done with it."""

    def __init__(self, house: House, vendor: str) -> None:
        self.house, self.vendor, self.cloud = house, vendor, CLOUD
        request = TrainingRequest.model_validate({"round_id": "current", "task": "signal", "provider": "local"})
        with house.db.begin() as tx:
            made = runs.create(tx, vendor, request, idempotency_key=None, now=datetime.now(UTC), providers={"local"})
        self.run_id = made.run_id

    @property
    def row(self) -> Any:
        """As it is now."""
        with self.house.db.begin() as tx:
            return rows.find(tx, self.run_id)

    def cycle(self) -> None:
        """The supervisor looks, at once and without patience for soft ends."""
        with self.house.db.begin() as tx:
            rows.change(tx, self.run_id, {"last_heartbeat_at": None})
            rows.wake(tx, self.run_id)
        providers: Any = {"local": self.cloud}
        parts = (self.house.db, self.house.store, providers, self.house.tokens.run_token)
        supervisor.cycle(supervisor.Desk(*parts, "http://edge.example", self.house.vault))

    def beat(self) -> None:
        """The job is heard."""
        with self.house.db.begin() as tx:
            runs.heartbeat(tx, self.run_id, RunHeartbeat(), now=datetime.now(UTC))

    def succeed(self) -> None:
        """The job tells a good outcome."""
        with self.house.db.begin() as tx:
            outcome = RunOutcome(status="succeeded", exit_code=0)
            runs.finish(tx, self.run_id, outcome, store=self.house.store, now=datetime.now(UTC))

    def end(self) -> None:
        """Its machine is gone."""
        self.cloud.phases[self.run_id] = Phase.GONE

    def cancel(self, vendor: str = "") -> None:
        """Its vendor, or another one, wants its end."""
        with self.house.db.begin() as tx:
            runs.cancel(tx, vendor or self.vendor, self.run_id, now=datetime.now(UTC))


@pytest.fixture(scope="module")
def vendor(house: House) -> str:
    """A vendor and a current round without files."""
    with house.db.begin() as tx:
        publish(tx, "rnd", current=True)
        return vendors.create(tx, house.tokens, "ACME", actor="test").vendor_id


@pytest.fixture(params=list(State), ids=str)
def journey(house: House, vendor: str, request: pytest.FixtureRequest) -> Journey:
    """A run in each of the states."""
    made = Journey(house, vendor)
    for step in JOURNEYS[request.param]:
        getattr(made, step)()
    assert request.param == made.row.state
    return made


def test_cancel(journey: Journey):
    """Twice is as once; what was begun is ended, and what is over stays as it is."""
    at_once, at_last = LEADS_TO[State(journey.row.state)]
    history = []
    for _ in range(2):
        journey.cancel()
        assert at_once == journey.row.state
        with journey.house.db.begin() as tx:
            history.append(len(rows.list_events(tx, journey.run_id)))
    assert history[0] == history[1]
    for _ in range(3):
        journey.cycle()
    assert at_last == journey.row.state
    assert set(journey.cloud.phases.values()) <= {Phase.GONE}


def test_cancel_by_another_vendor(journey: Journey):
    """To another vendor the run does not exist, in whatever state it is."""
    with journey.house.db.begin() as tx:
        other = vendors.create(tx, journey.house.tokens, f"other of {journey.run_id}", actor="test").vendor_id
    before = journey.row
    with pytest.raises(NotFoundError, match="There is no run"):
        journey.cancel(other)
    with journey.house.db.begin() as tx, pytest.raises(NotFoundError):
        runs.get(tx, other, journey.run_id)
    assert before == journey.row
