"""Servers on RunPod's endpoints, over the fake and its contract."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from runpods import KEY, START, VENDORS, checked, key_of

from mp_kit.errors import CredentialError, InvalidInputError, MarketplaceError, UnavailableError
from mp_kit.server.providers.hosting import HostOrder, HostPhase
from mp_kit.server.providers.runpod_hosting import RunPodHost
from mp_kit.testing.fake_runpod import Clock, FakeRunPod, Fault, Pace

SECRET = "sit_a_very_secret_token"


@pytest.fixture
def fake() -> Iterator[FakeRunPod]:
    keys, clock = dict.fromkeys(VENDORS.values()), Clock(START, running=False)
    with checked(keys, clock=clock, run_containers=False, pace=Pace(1.0, 1.0)) as fake:
        yield fake


@pytest.fixture
def host(fake: FakeRunPod) -> Iterator[RunPodHost]:
    made = RunPodHost(
        key_of,
        image="mp-kit/trainer:1",
        prefix="mp-test",
        base_url=fake.url,
        clock=fake.clock.now,
        sleep=fake.clock.advance,
    )
    yield made
    made.close()


def order(attempt: int = 1, **spec: Any) -> HostOrder:
    return HostOrder("dep_1", attempt, "vnd_a", {"MARKETPLACE_TOKEN": SECRET}, {"workers_max": 3, **spec})


def asked(fake: FakeRunPod, operation: str) -> int:
    return sum(request.operation == operation for request in fake.requests)


def test_an_endpoint_is_ordered_once_per_attempt(fake: FakeRunPod, host: RunPodHost):
    """Load balancing, its timeout said, its address as RunPod tells it; the same order again finds it."""
    made = host.start(order(timeout_seconds=90))
    assert made.ref == host.start(order(timeout_seconds=90)).ref
    assert 1 == asked(fake, "endpoint_create")
    found = host._api.endpoint(host._account("vnd_a"), made.ref) or {}
    told = {name: found[name] for name in ("name", "timeout", "flashboot")}
    assert {"name": "mp-test-serve-dep_1-a1", "timeout": 90_000, "flashboot": "FLASHBOOT"} == told
    assert (found["requestUrls"]["base"], {"min": 0, "max": 3, "idleTimeout": 60}) == (made.endpoint, found["workers"])
    assert SECRET not in repr(order()) + repr(made) + repr(host)


def test_a_gpu_becomes_its_pools(host: RunPodHost):
    """Endpoints are ordered by pools; other types of the pool are left out."""
    made = host.start(order(gpu="L4"))
    found = host._api.endpoint(host._account("vnd_a"), made.ref) or {}
    assert ["AMPERE_24"] == found["gpu"]["pools"]
    assert "NVIDIA L4" not in found["gpu"]["excludedTypes"]


def test_a_lost_answer_is_found_by_its_name(fake: FakeRunPod, host: RunPodHost):
    """It may have worked: then it is looked for, and never ordered again."""
    fake.faults.next("endpoint_create", Fault.DONE_BUT_500)
    with pytest.raises(UnavailableError):
        host.start(order())
    found = host.find("dep_1", 1, "vnd_a", fake.clock.now())
    assert found is not None
    assert (found.ref, 1) == (host.start(order()).ref, asked(fake, "endpoint_create"))


def test_absence_is_sure_only_after_a_while(fake: FakeRunPod, host: RunPodHost):
    """What was ordered just now may still appear."""
    began = fake.clock.now()
    with pytest.raises(UnavailableError, match="too early"):
        host.find("dep_1", 1, "vnd_a", began)
    fake.clock.advance(200)
    assert host.find("dep_1", 1, "vnd_a", began) is None


def test_an_idle_endpoint_sleeps_and_what_was_cut_is_told(fake: FakeRunPod, host: RunPodHost):
    """After seven days without a request RunPod lets it have no worker; scaling raises that."""
    made = host.start(order())
    assert (HostPhase.ASLEEP, (0, 3)) == (host.look(made).phase, host.look(made).limits)
    fake.clock.advance(timedelta(days=8).total_seconds())
    assert (0, 0) == host.look(made).limits
    host.scale(made, 0, 3)
    assert (0, 3) == host.look(made).limits
    assert [] == host.logs(made, 10)


def test_a_removed_one_is_gone_and_removing_it_again_is_fine(fake: FakeRunPod, host: RunPodHost):
    """Gone is said only when it is not just young."""
    made = host.start(order())
    host.end(made)
    host.end(made)
    assert HostPhase.UNKNOWN is host.look(made).phase
    fake.clock.advance(200)
    assert HostPhase.GONE is host.look(made).phase


def test_who_has_no_account_hears_so(host: RunPodHost):
    """With the command that connects one."""
    with pytest.raises(CredentialError):
        host.start(HostOrder("dep_1", 1, "vnd_c", {}))


@pytest.mark.parametrize("spec", [{"gpu": "RTX 9999"}, {"image": "no image at all"}])
def test_what_could_never_run_is_refused_at_once(fake: FakeRunPod, host: RunPodHost, spec: dict[str, Any]):
    """Nobody is asked."""
    with pytest.raises(InvalidInputError):
        host.check(spec)
    assert 0 == len(fake.requests)


def test_an_address_of_this_machine_is_refused_for_the_real_runpod():
    """Its machines could not call back."""
    host = RunPodHost(
        key_of, image="i", prefix="p", base_url="https://api.example.com/v2", api_url="http://127.0.0.1:3010"
    )
    with pytest.raises(InvalidInputError, match="call this marketplace back"):
        host.check({})
    host.close()


@pytest.mark.parametrize("fault", [Fault.NO_BALANCE])
def test_a_refusal_leaves_nothing(fake: FakeRunPod, host: RunPodHost, fault: Fault):
    """And its message holds no secret."""
    fake.faults.next("endpoint_create", fault)
    with pytest.raises(MarketplaceError) as refused:
        host.start(order())
    assert SECRET not in str(refused.value) + KEY
    assert [] == host._api.endpoints(host._account("vnd_a"))


def test_the_vendors_key_goes_to_the_address_that_runpod_told(host: RunPodHost):
    """There alone, and out of every repr; outside of a rehearsal that address is public and https."""
    made = host.start(order())
    door = host.door(made)
    assert (f"{made.endpoint}/infer", key_of("vnd_a")) == (door.url, door.bearer)
    assert key_of("vnd_a") not in repr(door)
    assert door.guard.allow_private
    real = RunPodHost(key_of, image="i", prefix="p", base_url="https://api.runpod.io/v2")
    assert not real.door(made).guard.allow_private
    real.close()
