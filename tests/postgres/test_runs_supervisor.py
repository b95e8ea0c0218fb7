"""The supervisor's cycle over a provider in memory: refusals, lost answers, late finds, two at once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from desks import publish
from sqlalchemy import text

from mp_kit.contracts.training import RunHeartbeat, TrainingRequest
from mp_kit.errors import CredentialError, InvalidInputError, ProviderError, UnavailableError
from mp_kit.server.house import House
from mp_kit.server.providers.base import Handle, LaunchOrder, Observed, Phase
from mp_kit.server.services import runs, supervisor, vendors
from mp_kit.server.services import runs_claims as claims
from mp_kit.server.services.runs_states import Step
from mp_kit.server.store import ledger
from mp_kit.server.store import runs as rows


class Cloud:
    """A provider whose launches fail as scripted and whose jobs end only by ``terminate``."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.launches: Counter[str] = Counter()
        self.phases: dict[str, Phase] = {}
        self.blind = False
        self.loses_answers = False
        self.unsure = False
        self.words = ""
        self.locked: Exception | None = None

    def launch(self, order: LaunchOrder) -> Handle:
        """Starts a job, unless an error is due."""
        ref = f"{order.run_id}/{order.attempt}"
        self.launches[ref] += 1
        if self.errors:
            raise self.errors.pop(0)
        self.phases[ref] = Phase.RUNNING
        if self.loses_answers:
            message = "the answer was lost"
            raise UnavailableError(message)
        return Handle(ref, order.vendor_id, price_per_hour=3.6)

    def find(self, run_id: str, attempt: int, vendor_id: str, since: datetime) -> Handle | None:  # noqa: ARG002 - the protocol names it
        """What was started for an attempt."""
        if self.locked:
            raise self.locked
        if self.unsure:
            message = "not yet"
            raise UnavailableError(message)
        ref = f"{run_id}/{attempt}"
        return Handle(ref, vendor_id, price_per_hour=3.6) if ref in self.phases else None

    def observe(self, handles: Sequence[Handle]) -> Mapping[str, Observed]:
        """The phases, unless it is blind."""
        if self.blind:
            message = "no answer"
            raise ProviderError(message)
        return {handle.ref: Observed(self.phases[handle.ref], detail=self.words) for handle in handles}

    def terminate(self, handle: Handle) -> None:
        """Ends a job at once."""
        if self.locked:
            raise self.locked
        self.phases[handle.ref] = Phase.GONE


@pytest.fixture(scope="module")
def vendor(house: House) -> str:
    """A vendor and a current round without files."""
    with house.db.begin() as tx:
        publish(tx, "rnd", current=True)
        return vendors.create(tx, house.tokens, "ACME", actor="test").vendor_id


def desk_of(house: House, cloud: Cloud) -> supervisor.Desk:
    url = "http://edge.example"
    return supervisor.Desk(house.db, house.store, {"local": cloud}, house.tokens.run_token, url, house.vault)


def order(house: House, vendor_id: str) -> str:
    request = TrainingRequest.model_validate({"round_id": "current", "task": "signal", "provider": "local"})
    with house.db.begin() as tx:
        made = runs.create(tx, vendor_id, request, idempotency_key=None, now=datetime.now(UTC), providers={"local"})
    return made.run_id


def look_again(house: House, run_id: str, **changes: Any) -> None:
    with house.db.begin() as tx:
        if changes:
            rows.change(tx, run_id, changes)
        rows.wake(tx, run_id)


def cycle(house: House, cloud: Cloud, run_id: str, times: int = 1) -> Any:
    """Looks at a run some times, each time at once; returns its row."""
    for _ in range(times):
        look_again(house, run_id)
        supervisor.cycle(desk_of(house, cloud))
    with house.db.begin() as tx:
        return rows.find(tx, run_id)


def history(house: House, run_id: str) -> list[str]:
    with house.db.begin() as tx:
        return [row.letter or row.kind for row in rows.list_events(tx, run_id)]


def cancel(house: House, vendor_id: str, run_id: str) -> None:
    with house.db.begin() as tx:
        runs.cancel(tx, vendor_id, run_id, now=datetime.now(UTC))


def test_no_place_now_is_tried_again_as_a_new_attempt(house: House, vendor: str):
    """A refusal puts the run back; the next attempt has a number of its own."""
    run_id = order(house, vendor)
    cloud = Cloud(ProviderError("no place"))
    row = cycle(house, cloud, run_id)
    assert (row.state, row.attempt, row.lock_token) == ("queued", 1, None)
    row = cycle(house, cloud, run_id)
    assert (row.state, row.provider_ref) == ("launching", f"{run_id}/2")
    assert history(house, run_id) == ["created", "a", "c", "refused", "a", "launched"]
    cloud.terminate(Handle(row.provider_ref, vendor))
    assert cycle(house, cloud, run_id).state == "failed"


def test_no_place_for_long_is_a_failure(house: House, vendor: str):
    """After the last attempt the run fails with the provider's sentence."""
    run_id = order(house, vendor)
    cloud = Cloud(*[ProviderError("no place")] * supervisor.MAX_ATTEMPTS)
    row = cycle(house, cloud, run_id, supervisor.MAX_ATTEMPTS)
    assert (row.state, row.failure) == ("failed", "It could not be launched: no place")


def test_final_refusal_is_not_repeated(house: House, vendor: str):
    """What the provider will never do fails at once."""
    run_id = order(house, vendor)
    row = cycle(house, Cloud(InvalidInputError("no such image")), run_id)
    assert (row.state, row.failure) == ("failed", "It could not be launched: no such image")


def test_lost_answer_is_looked_for_and_never_sent_again(house: House, vendor: str):
    """It is not known whether something was started: what the attempt made is found; a second is not ordered."""
    run_id = order(house, vendor)
    cloud = Cloud()
    cloud.loses_answers = True
    row = cycle(house, cloud, run_id)
    assert (row.state, row.provider_ref) == ("launching", None)
    cloud.loses_answers = False
    row = cycle(house, cloud, run_id)
    assert (row.attempt, row.provider_ref) == (1, f"{run_id}/1")
    assert cloud.launches == {f"{run_id}/1": 1}
    cloud.terminate(Handle(row.provider_ref, vendor))
    assert cycle(house, cloud, run_id).state == "failed"


def test_lost_answer_that_made_nothing_is_a_new_attempt(house: House, vendor: str):
    """While the provider is not sure nothing happens; once it is, the run is queued again under a new number."""
    run_id = order(house, vendor)
    cloud = Cloud(UnavailableError("cut"))
    cycle(house, cloud, run_id)
    cloud.unsure = True
    assert (cycle(house, cloud, run_id).state, cloud.launches) == ("launching", {f"{run_id}/1": 1})
    cloud.unsure = False
    assert cycle(house, cloud, run_id).state == "queued"
    row = cycle(house, cloud, run_id)
    assert (row.provider_ref, row.attempt) == (f"{run_id}/2", 2)
    cancel(house, vendor, run_id)
    assert cycle(house, cloud, run_id, 2).state == "cancelled"


def test_handle_that_comes_after_the_claim_is_in_the_ledger(house: House, vendor: str):
    """A supervisor that lost its claim while it launched leaves a trace of what it started."""
    run_id = order(house, vendor)
    with house.db.begin() as tx:
        (run,) = (each for each in claims.claim(tx, providers={"local"}) if each.run_id == run_id)
        after = claims.apply(tx, run_id, run.lock_token, Step(letter="a"), datetime.now(UTC))
    assert after is not None
    look_again(house, run_id, lock_token="somebody else", locked_until=None)
    with house.db.begin() as tx:
        claims.record_handle(tx, after, Handle("late", vendor, 1.0), datetime.now(UTC))
        assert [row.ref for row in ledger.of_run(tx, run_id)] == ["late"]
    cloud = Cloud()
    cloud.phases["late"] = Phase.GONE
    assert cycle(house, cloud, run_id).state == "failed"


def test_cancel_after_a_lost_answer_finds_and_ends_what_runs(house: House, vendor: str):
    """The job that nobody knew of is found, ended, and only then is the run cancelled."""
    run_id = order(house, vendor)
    cloud = Cloud()
    cloud.loses_answers = True
    cycle(house, cloud, run_id)
    cancel(house, vendor, run_id)
    row = cycle(house, cloud, run_id, 2)
    assert (row.state, cloud.phases[f"{run_id}/1"]) == ("cancelling", Phase.GONE)
    assert cycle(house, cloud, run_id).state == "cancelled"


def test_cancel_of_a_launch_that_made_nothing(house: House, vendor: str):
    """Nothing is found, so nothing has to end."""
    run_id = order(house, vendor)
    cloud = Cloud(UnavailableError("no answer"))
    cycle(house, cloud, run_id)
    cancel(house, vendor, run_id)
    assert cycle(house, cloud, run_id).state == "cancelled"


def test_blind_provider_changes_nothing(house: House, vendor: str):
    """A provider that does not answer is no proof of anything."""
    run_id = order(house, vendor)
    cloud = Cloud()
    cycle(house, cloud, run_id)
    cloud.blind = True
    assert cycle(house, cloud, run_id, 3).state == "launching"
    cancel(house, vendor, run_id)
    cloud.blind = False
    assert cycle(house, cloud, run_id, 2).state == "cancelled"


def test_overdue_job_is_ended_and_paid(house: House, vendor: str):
    """The supervisor ends what its own watchdog did not; the cost is price times time."""
    run_id = order(house, vendor)
    cloud = Cloud()
    cycle(house, cloud, run_id)
    with house.db.begin() as tx:
        runs.heartbeat(tx, run_id, RunHeartbeat(step=1), now=datetime.now(UTC))
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    with house.db.begin() as tx:
        row = rows.find(tx, run_id)
        assert row is not None
        rows.change(tx, run_id, {"deadline_at": hour_ago})
        tx.execute(text("UPDATE run_machines SET since = :since WHERE run_id = :id"), {"since": hour_ago, "id": run_id})
    row = cycle(house, cloud, run_id, 2)
    assert (row.state, row.failure) == ("failed", "The hours of the budget are used up; the job was ended.")
    assert float(row.cost_usd) == pytest.approx(3.6, abs=0.1)
    assert history(house, run_id) == ["created", "a", "launched", "b", "f", "j"]


def test_unreadable_run_holds_up_no_other(house: House, vendor: str):
    """A row that makes no sense is left under its lease; the others go on."""
    broken, sound = order(house, vendor), order(house, vendor)
    look_again(house, broken, provider_data={"launching_since": "no time at all"})
    cloud = Cloud()
    assert cycle(house, cloud, sound).provider_ref == f"{sound}/1"
    assert cloud.launches == {f"{sound}/1": 1}
    finish_off(house, vendor, cloud, broken, sound)


def test_fault_in_one_run_is_noted_and_holds_up_no_other(house: House, vendor: str):
    """An exception that nobody foresaw is in that run's history, and it is looked at again later."""
    faulty, sound = order(house, vendor), order(house, vendor)
    cloud = Cloud(RuntimeError("a bug"))
    with house.db.begin() as tx:
        rows.change(tx, sound, {"next_look_at": datetime.now(UTC) + timedelta(hours=1)})
    row = cycle(house, cloud, faulty)
    assert (row.state, row.lock_token) == ("launching", None)
    assert cycle(house, cloud, sound).provider_ref == f"{sound}/1"
    assert history(house, faulty) == ["created", "a", "trouble"]
    finish_off(house, vendor, cloud, faulty, sound)


def finish_off(house: House, vendor_id: str, cloud: Cloud, *run_ids: str) -> None:
    """Leaves nothing for the next test to stumble over."""
    for run_id in run_ids:
        look_again(house, run_id, provider_data={}, lock_token=None, locked_until=None)
        cancel(house, vendor_id, run_id)
        assert cycle(house, cloud, run_id, 3).state == "cancelled"


def test_last_words_that_cannot_be_stored_end_the_run_all_the_same(house: House, vendor: str):
    """A NUL in a host's log: the run fails with its words, and what was reserved for it is free again."""
    run_id = order(house, vendor)
    cloud = Cloud()
    cycle(house, cloud, run_id)
    cloud.words = "Killed\x00"
    cloud.phases = dict.fromkeys(cloud.phases, Phase.GONE)
    row = cycle(house, cloud, run_id)
    assert (row.state, "Killed\N{REPLACEMENT CHARACTER}") == ("failed", row.failure.rpartition(": ")[2])
    assert "trouble" not in history(house, run_id)


@pytest.mark.parametrize("answered", [True, False])
def test_key_that_is_gone_is_noted_once(house: House, vendor: str, answered: bool):
    """Nobody can end what runs then: it is asked for each minute, told once, and goes on when the key is back."""
    run_id = order(house, vendor)
    cloud = Cloud()
    cloud.loses_answers = not answered
    cycle(house, cloud, run_id)
    cancel(house, vendor, run_id)
    cloud.locked = CredentialError("no account is connected")
    row = cycle(house, cloud, run_id, 4)
    assert ("cancelling", None) == (row.state, row.lock_token)
    assert 50 < (row.next_look_at - datetime.now(UTC)).total_seconds() <= 60
    kind = "not_terminated" if answered else "launch_unknown"
    assert ["m", kind] == history(house, run_id)[-2:]
    cloud.locked = None
    assert "cancelled" == cycle(house, cloud, run_id, 3).state


@pytest.mark.parametrize("error", [ProviderError("no place"), InvalidInputError("no such image")])
def test_cancel_that_overtakes_a_refused_launch_ends_it_at_once(house: House, vendor: str, error: Exception):
    """Nothing was started, so that neither a lease nor a search has to be waited out."""
    run_id = order(house, vendor)
    cloud = Cloud()

    def launch(_: LaunchOrder) -> Handle:
        cancel(house, vendor, run_id)
        raise error

    cloud.launch = launch  # type: ignore[method-assign]
    row = cycle(house, cloud, run_id)
    assert ("cancelled", None) == (row.state, row.lock_token)
    assert ["created", "a", "m", "not_started", "n"] == history(house, run_id)


def test_cancel_of_a_refused_launch_with_a_machine_looks_for_it(house: House, vendor: str):
    """It cost too much and was told to end; the run ends once it is gone."""
    run_id = order(house, vendor)
    cloud = Cloud()

    def launch(wanted: LaunchOrder) -> Handle:
        ref = f"{run_id}/1"
        cloud.phases[ref] = Phase.RUNNING
        wanted.on_made(Handle(ref, vendor, price_per_hour=99.0))
        cancel(house, vendor, run_id)
        raise ProviderError("too dear")

    cloud.launch = launch  # type: ignore[method-assign]
    row = cycle(house, cloud, run_id)
    assert ("cancelling", None) == (row.state, row.lock_token)
    assert "cancelled" == cycle(house, cloud, run_id, 4).state
    assert Phase.GONE is cloud.phases[f"{run_id}/1"]


def test_two_supervisors_launch_each_run_once(house: House, vendor: str):
    """Twenty runs, two supervisors at once: one launch each."""
    cloud = Cloud()
    ordered = [order(house, vendor) for _ in range(20)]
    threads = [threading.Thread(target=supervisor.cycle, args=(desk_of(house, cloud),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    supervisor.cycle(desk_of(house, cloud))
    assert {ref: count for ref, count in cloud.launches.items() if count != 1} == {}
    assert {f"{run_id}/1" for run_id in ordered} == set(cloud.launches)
