"""Machines that nobody has a handle of are in the ledger all the same: too dear ones, and those that a job names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from desks import publish

from mp_kit.contracts.training import RunHeartbeat, RunOutcome, TrainingRequest
from mp_kit.errors import ProviderError, UnavailableError
from mp_kit.server.house import House
from mp_kit.server.providers.base import Handle, LaunchOrder
from mp_kit.server.services import runs, strays, supervisor, vendors
from mp_kit.server.services import runs_claims as claims
from mp_kit.server.services.runs_states import Step
from mp_kit.server.store import ledger
from mp_kit.server.store import runs as rows


class Account:
    """A provider's account: what a launch does, and bills."""

    def __init__(self, price: float | None) -> None:
        self.price = price

    def launch(self, order: LaunchOrder) -> Handle:
        """Makes a machine and ends it because it is too dear; or nobody knows what it did."""
        if self.price is None:
            message = "the answer was lost"
            raise UnavailableError(message)
        order.on_made(Handle(f"pod-of-{order.run_id}", order.vendor_id, self.price))
        message = "too dear; it was ended at once"
        raise ProviderError(message)

    def find(self, run_id: str, attempt: int, vendor_id: str, since: datetime) -> Handle | None:
        """By now it is gone."""

    def billed(self, handles: Sequence[Handle], since: datetime) -> Mapping[str, Decimal]:
        """A bill for each."""
        assert since < datetime.now(UTC)
        return {handle.ref: Decimal("0.0123") for handle in handles}


@pytest.fixture(scope="module")
def vendor(house: House) -> str:
    """A vendor and a current round without files."""
    with house.db.begin() as tx:
        publish(tx, "rnd", current=True)
        return vendors.create(tx, house.tokens, "ACME", actor="test").vendor_id


@pytest.fixture
def run_id(house: House, vendor: str) -> str:
    """A queued run."""
    request = TrainingRequest.model_validate({"round_id": "current", "task": "signal", "provider": "runpod"})
    with house.db.begin() as tx:
        made = runs.create(tx, vendor, request, idempotency_key=None, now=datetime.now(UTC), providers={"runpod"})
    return made.run_id


def cycle(house: House, account: Account, run_id: str) -> Any:
    """The supervisor looks at it once, now; its row."""
    providers: Any = {"runpod": account}
    with house.db.begin() as tx:
        rows.wake(tx, run_id)
    parts = (house.db, house.store, providers, house.tokens.run_token, "http://edge.example", house.vault)
    supervisor.cycle(supervisor.Desk(*parts))
    with house.db.begin() as tx:
        return rows.find(tx, run_id)


def billed(house: House, account: Account, run_id: str) -> tuple[list[str], Decimal | None]:
    """The machines of a run, and what it costs a day later, by the bills."""
    providers: Any = {"runpod": account}
    strays.reconcile(house.db, providers, now=datetime.now(UTC) + timedelta(days=1))
    with house.db.begin() as tx:
        machines = [machine.ref for machine in ledger.of_run(tx, run_id)]
        return machines, rows.find(tx, run_id).cost_usd


def test_too_dear_machine_is_in_the_ledger(house: House, vendor: str, run_id: str):
    """It was ended at once and has cost money all the same."""
    account = Account(price=99.0)
    assert "queued" == cycle(house, account, run_id).state
    with house.db.begin() as tx:
        runs.cancel(tx, vendor, run_id, now=datetime.now(UTC))
    assert ([f"pod-of-{run_id}"], Decimal("0.0123")) == billed(house, account, run_id)


@pytest.mark.parametrize("teller", ["heartbeat", "outcome"])
def test_machine_that_only_its_job_has_seen_is_in_the_ledger(house: House, run_id: str, teller: str):
    """The launch's answer was lost, and the pod had ended itself before anybody looked for it."""
    account = Account(price=None)
    assert "launching" == cycle(house, account, run_id).state
    now, ref = datetime.now(UTC), f"told-of-{run_id}"
    with house.db.begin() as tx:
        if teller == "heartbeat":
            runs.heartbeat(tx, run_id, RunHeartbeat(machine_ref=ref), now=now)
        outcome = RunOutcome(status="succeeded", machine_ref=ref if teller == "outcome" else None)
        runs.finish(tx, run_id, outcome, store=house.store, now=now)
    assert "succeeded" == cycle(house, account, run_id).state
    assert ([ref], Decimal("0.0123")) == billed(house, account, run_id)


def test_a_launch_that_lands_after_its_run_costs_and_stays_not_open(house: House, vendor: str, run_id: str):
    """Another supervisor had found nothing and cancelled the run; what it is billed in the end comes with the bill."""
    now = datetime.now(UTC)
    with house.db.begin() as tx:
        rows.wake(tx, run_id)
        (run,) = (one for one in claims.claim(tx, providers={"runpod"}) if one.run_id == run_id)
        launched = claims.apply(tx, run_id, run.lock_token, Step(letter="a"), now - timedelta(hours=1))
        runs.cancel(tx, vendor, run_id, now=now)
        claims.apply(tx, run_id, run.lock_token, Step(letter="n"), now)
    assert launched is not None
    with house.db.begin() as tx:
        claims.record_handle(tx, launched, Handle("late", vendor, 3.0), now)
        [machine] = ledger.of_run(tx, run_id)
        row = rows.find(tx, run_id)
    assert row is not None
    assert (now, "cancelled", 3.0) == (machine.until, row.state, float(row.cost_usd))
    assert (["late"], Decimal("0.0123")) == billed(house, Account(price=None), run_id)
