"""Many launches on one account: its rate limit delays them, and costs no run an attempt or a second machine."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from desks import publish
from runpods import KEY, checked
from sqlalchemy import text

from mp_kit.contracts.training import TrainingRequest
from mp_kit.errors import ProviderError, UnavailableError
from mp_kit.server.house import House
from mp_kit.server.providers.base import Handle, LaunchOrder, PacedError, UnsearchedError
from mp_kit.server.providers.runpod import RunPodProvider
from mp_kit.server.services import runs, supervisor, vendors
from mp_kit.server.services.ids import new_id
from mp_kit.server.store import runs as rows
from mp_kit.testing.fake_runpod import Clock

RUNS = 20
PER_MINUTE = 12


@pytest.fixture(scope="module", autouse=True)
def _round(house: House) -> None:
    """A current round without files."""
    with house.db.begin() as tx:
        publish(tx, "rnd", current=True)


def ordered(house: House, count: int) -> list[str]:
    """So many queued runs of a new vendor's."""
    body = {"round_id": "current", "task": "signal", "provider": "runpod", "compute": {"gpu": "L4"}}
    request = TrainingRequest.model_validate(body | {"budget": {"max_hours": 1, "max_cost_usd": 2}})
    now, providers = datetime.now(UTC), {"runpod"}
    with house.db.begin() as tx:
        vendor = vendors.create(tx, house.tokens, new_id("v"), actor="test").vendor_id
        made = [
            runs.create(tx, vendor, request, idempotency_key=None, now=now, providers=providers) for _ in range(count)
        ]
    return [run.run_id for run in made]


def cycle(house: House, provider: Any, run_ids: list[str]) -> list[Any]:
    """The supervisor looks at each of them once, now; their rows."""
    with house.db.begin() as tx:
        for run_id in run_ids:
            rows.wake(tx, run_id)
    parts = (house.db, house.store, {"runpod": provider}, house.tokens.run_token, "http://edge.example", house.vault)
    supervisor.cycle(supervisor.Desk(*parts))
    with house.db.begin() as tx:
        return [rows.find(tx, run_id) for run_id in run_ids]


def test_storm_above_the_rate_limit_is_over_soon(house: House):
    """Each minute's requests order machines; what was not taken waits for the next minute, and nobody looks for it."""
    run_ids = ordered(house, RUNS)
    clock = Clock(datetime.now(UTC), running=False)
    with checked({KEY: None}, clock=clock, run_containers=False, per_minute=PER_MINUTE) as fake:
        parts = {"image": "mp-trainer:1", "prefix": "mp-test", "clock": clock.now, "sleep": clock.advance}
        provider = RunPodProvider(lambda _: KEY, base_url=fake.url, **parts)
        for _ in range(4):
            seen = cycle(house, provider, run_ids)
            clock.advance(61)
        provider.close()
        asked = Counter(request.operation for request in fake.requests if request.status in {200, 201})
        names = Counter(pod.name for pod in fake.pods)
    assert {"launching": RUNS} == Counter(row.state for row in seen)
    assert {1: RUNS} == Counter(row.attempt for row in seen)
    assert (RUNS, {1}) == (asked["create"], set(names.values()))


class Refusing:
    """A provider whose launches meet these errors, one after the other, and then succeed."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.attempts: list[int] = []

    def launch(self, order: LaunchOrder) -> Handle:
        """Starts a job, unless an error is due."""
        self.attempts.append(order.attempt)
        if self.errors:
            raise self.errors.pop(0)
        return Handle(f"pod-{order.run_id}", order.vendor_id, 0.5)

    def find(self, *_: Any) -> Handle | None:
        """Not sure yet."""
        raise UnavailableError("not yet")

    def observe(self, _: Any) -> dict[str, Any]:
        """Nothing is seen."""
        return {}


@pytest.mark.parametrize("kind", [PacedError, UnsearchedError])
def test_launch_that_nobody_took_is_no_attempt(house: House, kind: type[Exception]):
    """More of them than a run has attempts, and it is launched in the end, as its first one."""
    (run_id,) = ordered(house, 1)
    cloud = Refusing(*(kind("not now") for _ in range(supervisor.MAX_ATTEMPTS + 1)))
    for _ in range(supervisor.MAX_ATTEMPTS + 1):
        (row,) = cycle(house, cloud, [run_id])
        assert ("queued", 0, True) == (row.state, row.attempt, row.next_look_at > datetime.now(UTC))
    (row,) = cycle(house, cloud, [run_id])
    assert (f"pod-{run_id}", 1, {1}) == (row.provider_ref, row.attempt, set(cloud.attempts))


def test_other_refusals_are_attempts(house: House):
    """A number under which something may have been ordered is never used again."""
    (run_id,) = ordered(house, 1)
    cloud = Refusing(ProviderError("no place"), PacedError("not now"))
    cycle(house, cloud, [run_id])
    (row,) = cycle(house, cloud, [run_id])
    assert ("queued", 1) == (row.state, row.attempt)
    cycle(house, cloud, [run_id])
    assert [1, 2, 2] == cloud.attempts


def test_claim_that_was_lost_gives_no_number_back(house: House):
    """Another supervisor has the run by then: it looks for what was launched."""
    (run_id,) = ordered(house, 1)

    class Slow(Refusing):
        """Its refusal comes when the lease is over and the run is somebody else's."""

        def launch(self, order: LaunchOrder) -> Handle:
            """Loses its claim."""
            with house.db.begin() as tx:
                tx.execute(text("UPDATE training_runs SET lock_token = 'another' WHERE id = :id"), {"id": order.run_id})
            return super().launch(order)

    (row,) = cycle(house, Slow(UnsearchedError("not now")), [run_id])
    assert ("launching", 1) == (row.state, row.attempt)
