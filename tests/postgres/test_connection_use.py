"""RunPod's key while something lives on the account: another account's would make it look gone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from mp_kit.contracts.training import TrainingRequest
from mp_kit.errors import ConflictError, UnavailableError
from mp_kit.server.house import House
from mp_kit.server.providers.base import Handle
from mp_kit.server.providers.probes import Probes
from mp_kit.server.services import connections, runs
from mp_kit.server.services import runs_claims as claims
from mp_kit.server.services.runs_states import Step
from mp_kit.server.store import runs as rows
from mp_kit.server.vault import Vault
from tests.support.desks import publish
from tests.support.stages import Stage, staged

FORMER, ROTATED, FOREIGN = (f"rpa_0123456789abcdefghij{name}" for name in ("FORMER", "ROTATED", "FOREIGN"))
NOTHING: set[str] = set()
Shown = Mapping[str, set[str]]
"""What each key shows beside its list of pods; RunPod takes no other key."""


class RunPod(Probes):
    """RunPod, of which only what keys show is asked."""

    def __init__(self, shown: Shown | Exception) -> None:
        super().__init__("http://x", "http://x", "http://x")
        object.__setattr__(self, "shown", shown)

    def shows(self, value: SecretStr, things: Sequence[str]) -> bool | None:
        """As the real one."""
        shown: Any = self.shown  # type: ignore[attr-defined]
        if isinstance(shown, Exception):
            raise shown
        seen = shown.get(value.get_secret_value())
        return None if seen is None else bool({*seen, "pods"}.intersection(things))


@pytest.fixture
def stage(house: House) -> Iterator[Stage]:
    """A vendor whose RunPod account is connected."""
    with staged(house) as stage:
        with house.db.begin() as tx:
            publish(tx)
            connections.put(tx, house.vault, stage.vendor, "runpod", SecretStr(FORMER), actor="test")
        yield stage


def order(stage: Stage) -> str:
    request = TrainingRequest.model_validate({"round_id": "rnd_desk", "task": "signal", "provider": "runpod"})
    with stage.house.db.begin() as tx:
        now = datetime.now(UTC)
        made = runs.create(tx, stage.vendor, request, idempotency_key=None, now=now, providers={"runpod"})
    return made.run_id


def launch(stage: Stage, run_id: str, ref: str | None) -> None:
    """A launch under way, and its answer if there is one."""
    with stage.house.db.begin() as tx:
        rows.wake(tx, run_id)
        (run,) = (one for one in claims.claim(tx, providers={"runpod"}) if one.run_id == run_id)
        after = claims.apply(tx, run_id, run.lock_token, Step(letter="a"), datetime.now(UTC))
        assert after is not None
        if ref is not None:
            claims.record_handle(tx, after, Handle(ref, stage.vendor, 1.0), datetime.now(UTC))


def over(stage: Stage, run_id: str) -> None:
    """Nothing of it is left."""
    with stage.house.db.begin() as tx:
        rows.wake(tx, run_id)
        tx.execute(text("UPDATE training_runs SET locked_until = NULL WHERE id = :id"), {"id": run_id})
        (run,) = (one for one in claims.claim(tx, providers={"runpod"}) if one.run_id == run_id)
        claims.apply(tx, run_id, run.lock_token, Step(letter="g", failure="gone"), datetime.now(UTC))


def set_key(stage: Stage, key: str, shown: Shown | Exception) -> str:
    """Sets a key; the one that is stored then."""
    house, probes = stage.house, RunPod(shown)
    connections.replace(house.db.begin, house.vault, probes, stage.vendor, "runpod", SecretStr(key), actor="test")
    return stored(stage)


def stored(stage: Stage) -> str:
    with stage.house.db.begin() as tx:
        return connections.secret(tx, stage.house.vault, stage.vendor, "runpod").get_secret_value()


def test_another_accounts_key_is_refused_while_a_pod_lives(stage: Stage):
    """It would be called gone; a key of the same account is taken, and any key once the run is over."""
    run_id = order(stage)
    launch(stage, run_id, "pod1")
    shown = {FORMER: {"pods/pod1"}, ROTATED: {"pods/pod1"}, FOREIGN: {"pods/its-own"}}
    with pytest.raises(ConflictError, match=run_id) as told:
        set_key(stage, FOREIGN, shown)
    assert (True, FORMER) == ("mp train cancel" in str(told.value.hint), stored(stage))
    assert ROTATED == set_key(stage, ROTATED, shown)
    over(stage, run_id)
    assert FOREIGN == set_key(stage, FOREIGN, shown)


@pytest.mark.parametrize(("kind", "thing"), [("endpoint", "serverless"), ("pod", "pods")])
def test_another_accounts_key_is_refused_while_a_server_is_there(stage: Stage, kind: str, thing: str):
    """An endpoint that sleeps as well as a pod; a stopped one is none."""
    made = stage.deploy(provider="runpod", kind=kind, **({"max_price_per_hour": 0.5} if kind == "pod" else {}))
    stage.turn()
    shown = {FORMER: {f"{thing}/{made}/1"}, ROTATED: {f"{thing}/{made}/1"}, FOREIGN: NOTHING}
    with pytest.raises(ConflictError, match=made):
        set_key(stage, FOREIGN, shown)
    assert ROTATED == set_key(stage, ROTATED, shown)
    stage.want(made, wanted="stopped")
    stage.turn(3)
    assert FOREIGN == set_key(stage, FOREIGN, shown)


def test_a_launch_under_way_waits_for_its_answer(stage: Stage):
    """What it makes is not known yet, and cannot be asked for."""
    run_id = order(stage)
    assert ROTATED == set_key(stage, ROTATED, {})  # nothing was asked for on the account so far
    launch(stage, run_id, None)
    with pytest.raises(ConflictError, match=run_id):
        set_key(stage, FORMER, {FORMER: NOTHING, ROTATED: NOTHING})


@pytest.mark.parametrize("shown", [{FOREIGN: NOTHING}, {FOREIGN: NOTHING, FORMER: NOTHING}])
def test_a_former_key_that_shows_nothing_protects_nothing(stage: Stage, shown: Shown):
    """It was revoked, or the pod has ended: nobody is locked out of setting a good one."""
    launch(stage, order(stage), "pod1")
    assert FOREIGN == set_key(stage, FOREIGN, shown)


def test_runpod_that_does_not_answer_leaves_the_key(stage: Stage):
    """It cannot be told whose the new one is."""
    launch(stage, order(stage), "pod1")
    with pytest.raises(UnavailableError):
        set_key(stage, ROTATED, UnavailableError("RunPod did not answer."))
    assert FORMER == stored(stage)


@pytest.mark.parametrize("ref", [None, "pod1"])
def test_the_key_stays_while_a_run_is_open(stage: Stage, ref: str | None):
    """Queued or launched: without it nobody could end what was launched."""
    run_id = order(stage)
    if ref:
        launch(stage, run_id, ref)
    with stage.house.db.begin() as tx, pytest.raises(ConflictError, match=run_id):
        connections.forget(tx, stage.house.vault, stage.vendor, "runpod", actor="test")
    assert FORMER == stored(stage)


def test_a_key_that_no_longer_opens_may_go(stage: Stage):
    """It ends nothing any more, and the way to a good one leads over its removal."""
    order(stage)
    with stage.house.db.begin() as tx:
        connections.forget(tx, Vault("another master key, long enough"), stage.vendor, "runpod", actor="test")
        assert [] == connections.list_of(tx, stage.vendor)
