"""Servers in RunPod pods, over the fake and its contract."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import httpx
import pytest
from runpods import START, VENDORS, checked, key_of, provider_of

from mp_kit.errors import BudgetError, InvalidInputError, MarketplaceError, ProviderError, UnavailableError
from mp_kit.server.providers.hosting import Hosted, HostOrder, HostPhase, HostView
from mp_kit.server.providers.runpod_pod_hosting import PodHost
from mp_kit.testing.fake_runpod import Clock, FakeRunPod, Fault, Pace

SECRET = "sit_a_very_secret_token"
NAME = "mp-test-serve-dep_1-a1"


@dataclass
class Door:
    """The way to the servers: what each look at it finds.

    Attributes:
        status: What a server answers; None for no server at all.
        asked: The addresses that were asked.
    """

    status: int | None = 200
    asked: list[str] = field(default_factory=list)

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Answers, or nobody does."""
        self.asked.append(str(request.url))
        if self.status is None:
            raise httpx.ConnectError("nobody listens", request=request)
        return httpx.Response(self.status)


@pytest.fixture
def fake() -> Iterator[FakeRunPod]:
    keys, clock = dict.fromkeys(VENDORS.values()), Clock(START, running=False)
    with checked(keys, clock=clock, run_containers=False, pace=Pace(1.0, 1.0)) as fake:
        yield fake


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
def host(fake: FakeRunPod, door: Door) -> Iterator[PodHost]:
    made = host_of(fake, door)
    yield made
    made.close()


def host_of(fake: FakeRunPod, door: Door) -> PodHost:
    options = {"clock": fake.clock.now, "sleep": fake.clock.advance, "door": httpx.MockTransport(door.answer)}
    waits = {"list_seconds": 0.0, "log_seconds": 0.3}
    return PodHost(key_of, image="mp-kit/trainer:1", prefix="mp-test", base_url=fake.url, **options, **waits)


def order(attempt: int = 1, **spec: Any) -> HostOrder:
    env = {"MARKETPLACE_TOKEN": SECRET, "DEPLOYMENT_ID": "dep_1"}
    return HostOrder("dep_1", attempt, "vnd_a", env, {"max_price_per_hour": 0.5, **spec})


def asked(fake: FakeRunPod, operation: str) -> list[Any]:
    return [request for request in fake.requests if request.operation == operation]


def alive(fake: FakeRunPod) -> list[str]:
    return [pod.id for pod in fake.pods if pod.status != "TERMINATED"]


def running(fake: FakeRunPod, host: PodHost, **spec: Any) -> Hosted:
    """A pod that runs."""
    made = host.start(order(**spec))
    fake.clock.advance(5)
    return made


def looks(fake: FakeRunPod, host: PodHost, made: Hosted, times: int, seconds: float = 10.0) -> HostView:
    """So many looks, so many seconds apart; the last one."""
    for _ in range(times):
        fake.clock.advance(seconds)
        view = host.look(made)
    return view


def test_a_pod_is_ordered_once_per_attempt(fake: FakeRunPod, host: PodHost):
    """CPUs by default, one public port, a server that asks its callers; the same order again finds it."""
    made = host.start(order())
    assert made.ref == host.start(order()).ref
    [request] = asked(fake, "create")
    told = {name: request.body[name] for name in ("name", "image", "ports", "cpu", "cloud", "disk")}
    assert {
        "name": NAME,
        "image": "mp-kit/trainer:1",
        "ports": ["8000/http"],
        "cpu": {"id": "cpu3c", "vcpuCount": 2},
        "cloud": "SECURE",
        "disk": 20,
    } == told
    assert {"MARKETPLACE_TOKEN", "DEPLOYMENT_ID", "PORT", "INFER_CALLERS"} == set(request.body["env"])
    assert (f"https://{made.ref}-8000.proxy.runpod.net", 0.06) == (made.endpoint, made.data["price_per_hour"])
    assert SECRET not in repr(order()) + repr(made) + repr(host)


def test_its_own_image_brings_its_own_command(fake: FakeRunPod, host: PodHost):
    """Nothing is said of the command then."""
    host.start(order(image="acme/server:2"))
    [request] = asked(fake, "create")
    assert ("acme/server:2", False) == (request.body["image"], "args" in request.body)


def test_memory_decides_among_cpus(fake: FakeRunPod, host: PodHost):
    """More vCPUs where a flavour has too little memory for each, the cheapest of all; too much is refused."""
    host.start(order(cpu=2, memory=8))
    assert {"id": "cpu3g", "vcpuCount": 2} == asked(fake, "create")[0].body["cpu"]
    with pytest.raises(InvalidInputError, match="No CPU pod"):
        host.start(order(2, memory=4_000, max_price_per_hour=900))


def test_sold_out_leads_to_the_next(fake: FakeRunPod, host: PodHost):
    """As for trainings."""
    fake.faults.always("create", Fault.NO_CAPACITY, gpu="NVIDIA A100 80GB PCIe")
    host.start(order(gpu="A100", max_price_per_hour=2))
    assert ["NVIDIA A100-SXM4-80GB"] == [pod.gpu for pod in fake.pods]


def test_no_place_at_all_is_no_server(fake: FakeRunPod, host: PodHost):
    """Later there may be one."""
    fake.catalogue.cpu_stock = "NONE"
    with pytest.raises(ProviderError, match="no place now"):
        host.start(order())
    assert [] == alive(fake)


def test_nothing_above_the_bound_is_ordered(fake: FakeRunPod, host: PodHost):
    """The message says what the cheapest costs."""
    with pytest.raises(BudgetError, match=r"costs \$1.5900 per hour; the order bears \$0.5000 per hour"):
        host.start(order(gpu="A100"))
    assert [] == asked(fake, "create")


def test_too_dear_after_all_is_ended_at_once(fake: FakeRunPod, host: PodHost):
    """RunPod charges what it likes; another attempt knows the price."""
    fake.faults.next("create", Fault.PRICE_ABOVE_QUOTE, factor=20.0)
    with pytest.raises(ProviderError, match=r"\$1.2000 per hour .* was ended at once"):
        host.start(order())
    assert [] == alive(fake)
    host.start(order(2))
    assert ["cpu3c", "cpu3g"] == [request.body["cpu"]["id"] for request in asked(fake, "create")]


@pytest.mark.parametrize("fault", [Fault.CREATED_BUT_500, Fault.CREATED_BUT_CUT])
def test_a_lost_answer_is_found_by_its_name(fake: FakeRunPod, host: PodHost, door: Door, fault: Fault):
    """Also by another process, also when it shows late; it is never ordered again."""
    fake.faults.next("create", fault, Fault.HIDDEN, seconds=60.0)
    began = fake.clock.now()
    with pytest.raises(UnavailableError):
        host.start(order())
    successor = host_of(fake, door)
    with pytest.raises(UnavailableError, match="at the earliest"):
        successor.find("dep_1", 1, "vnd_a", began)
    fake.clock.advance(60)
    found = successor.find("dep_1", 1, "vnd_a", began)
    assert found is not None
    assert ([found.ref], 1) == (alive(fake), len(asked(fake, "create")))
    assert found.endpoint.startswith(f"https://{found.ref}-8000.")
    successor.close()


def test_nothing_made_is_sure_only_after_a_while(fake: FakeRunPod, host: PodHost):
    """After several readings."""
    fake.faults.next("create", Fault.SERVER_ERROR)
    began = fake.clock.now()
    with pytest.raises(UnavailableError):
        host.start(order())
    fake.clock.advance(130)
    before = len(asked(fake, "list"))
    assert host.find("dep_1", 1, "vnd_a", began) is None
    assert 3 == len(asked(fake, "list")) - before


def test_it_is_ready_when_its_server_says_so(fake: FakeRunPod, host: PodHost, door: Door):
    """Asked at its public address; RUNNING alone is not enough."""
    made = host.start(order())
    assert HostPhase.STARTING is host.look(made).phase
    fake.clock.advance(5)
    door.status = 503
    view = host.look(made)
    assert (HostPhase.STARTING, False) == (view.phase, view.is_beyond_repair)
    door.status = 200
    view = host.look(made)
    assert (HostPhase.READY, Decimal("0.06")) == (view.phase, view.price_per_hour)
    assert f"{made.endpoint}/ready" == door.asked[-1]


def test_one_that_was_ready_and_falls_silent_is_sick_then_given_up(fake: FakeRunPod, host: PodHost, door: Door):
    """RunPod calls it RUNNING all the while."""
    made = running(fake, host)
    host.look(made)
    door.status = None
    view = looks(fake, host, made, 2)
    assert (HostPhase.SICK, False) == (view.phase, view.is_beyond_repair)
    fake.say(made.ref, "the model is not there")
    view = looks(fake, host, made, 2, seconds=400)
    assert (HostPhase.SICK, True) == (view.phase, view.is_beyond_repair)
    assert "the model is not there" in view.detail


def test_a_crash_loop_shows_by_its_falling_uptime(fake: FakeRunPod, host: PodHost):
    """Even of a server that is ready whenever it is asked; RunPod starts it again and bills on."""
    made = running(fake, host)
    fake.clock.advance(3_600)
    assert HostPhase.READY is host.look(made).phase
    for _ in range(3):
        fake.clock.advance(60)
        fake.restart(made.ref)
        fake.clock.advance(2)
        assert HostPhase.READY is host.look(made).phase
    fake.restart(made.ref)
    fake.say(made.ref, f"Traceback: {VENDORS['vnd_a']}")
    view = host.look(made)
    assert (HostPhase.SICK, True) == (view.phase, view.is_beyond_repair)
    assert "Crash loop: its main process was started 4 times in 10 min" in view.detail
    assert VENDORS["vnd_a"] not in view.detail


def test_a_crash_loop_shows_in_the_hosts_log(fake: FakeRunPod, host: PodHost, door: Door):
    """To a keeper that has just begun, and of containers that end quicker than it looks."""
    made = running(fake, host)
    door.status = None
    for _ in range(5):
        fake.clock.advance(3)
        fake.restart(made.ref)
    assert host.look(made).is_beyond_repair


def test_a_restart_now_and_then_is_no_loop(fake: FakeRunPod, host: PodHost):
    """Four within an hour are not four within ten minutes."""
    made = running(fake, host)
    for _ in range(6):
        fake.clock.advance(600)
        fake.restart(made.ref)
        fake.clock.advance(1)
        view = host.look(made)
    assert HostPhase.READY is view.phase


@pytest.mark.parametrize("status", ["EXITED", "ERROR"])
def test_a_stopped_pod_is_beyond_repair(fake: FakeRunPod, host: PodHost, status: str):
    """It is there, and its host's last words are told."""
    made = running(fake, host)
    fake.end(made.ref, status)
    view = host.look(made)
    assert (HostPhase.SICK, True) == (view.phase, view.is_beyond_repair)
    assert "container" in view.detail


def test_a_pod_that_never_runs_is_given_up(fake: FakeRunPod, host: PodHost):
    """After twenty minutes: large images take minutes."""
    fake.faults.next("create", Fault.STUCK)
    made = running(fake, host)
    assert HostPhase.STARTING is looks(fake, host, made, 1, seconds=1_000).phase
    assert looks(fake, host, made, 1, seconds=400).is_beyond_repair


def test_absent_is_gone_only_when_it_is_old_enough(fake: FakeRunPod, host: PodHost, door: Door):
    """A new pod may read 404 for a while; a later one that list and lookup both miss is gone."""
    fake.faults.next("create", Fault.CREATED_BUT_500, Fault.HIDDEN_FROM_GET, seconds=90.0)
    made = host.start(order())
    fake.end(made.ref)
    successor = host_of(fake, door)
    assert HostPhase.STARTING is successor.look(made).phase
    fake.clock.advance(130)
    assert HostPhase.GONE is successor.look(made).phase
    successor.close()


def test_an_account_that_does_not_answer_says_nothing(fake: FakeRunPod, host: PodHost):
    """Nothing is concluded from it."""
    made = running(fake, host)
    fake.faults.always("list", Fault.SERVER_ERROR)
    with pytest.raises(ProviderError):
        host.look(made)


def test_ending_it_twice_is_fine(fake: FakeRunPod, host: PodHost):
    """And a 404 while it is still there is not believed."""
    made = running(fake, host)
    host.look(made)
    fake.faults.next("delete", Fault.DELETE_404)
    host.end(made)
    host.end(made)
    assert [] == alive(fake)
    assert HostPhase.GONE is looks(fake, host, made, 2).phase


def test_its_log_is_read_from_runpod(fake: FakeRunPod, host: PodHost):
    """The container's lines alone; none of a pod that is gone."""
    made = running(fake, host)
    fake.say(made.ref, "listening on port 8000")
    assert ["listening on port 8000"] == host.logs(made, 10)
    fake.end(made.ref)
    assert [] == host.logs(made, 10)


def test_scaling_does_nothing(fake: FakeRunPod, host: PodHost):
    """RunPod is not even asked."""
    made = running(fake, host)
    before = len(fake.requests)
    host.scale(made, 0, 5)
    assert before == len(fake.requests)


@pytest.mark.parametrize("spec", [{"gpu": "RTX 9999"}, {"image": "no image at all"}, {"max_price_per_hour": None}])
def test_what_could_never_run_is_refused_at_once(fake: FakeRunPod, host: PodHost, spec: dict[str, Any]):
    """Nobody is asked."""
    with pytest.raises(InvalidInputError):
        host.check({"max_price_per_hour": 1.0, **spec})
    assert 0 == len(fake.requests)


def test_a_refusal_leaves_nothing_and_tells_no_secret(fake: FakeRunPod, host: PodHost):
    """An account without balance."""
    fake.faults.next("create", Fault.NO_BALANCE)
    with pytest.raises(MarketplaceError) as refused:
        host.start(order())
    assert SECRET not in str(refused.value)
    assert [] == alive(fake)


def test_trainings_and_servers_never_take_each_other_for_theirs(fake: FakeRunPod, host: PodHost):
    """Nor does anybody touch what is the vendor's own."""
    trainings = provider_of(fake)
    made = running(fake, host)
    key = {"Authorization": f"Bearer {VENDORS['vnd_a']}"}
    machine = {"image": "x", "disk": 20, "cpu": {"id": "cpu3c", "vcpuCount": 2}}
    for name in ("mp-test-run_1-a1", "my own", "mp-other-serve-dep_1-a1"):
        assert 201 == httpx.post(f"{fake.url}/pods", json=machine | {"name": name}, headers=key).status_code
    [server] = host.mine("vnd_a")
    assert (made.ref, "dep_1", 1, 0.06) == (
        server.hosted.ref,
        server.deployment_id,
        server.attempt,
        server.price_per_hour,
    )
    assert ["run_1"] == [found.run_id for found in trainings.mine("vnd_a")]
    fake.end(made.ref)
    assert [] == host.mine("vnd_a")
    trainings.close()


def test_a_pod_is_asked_with_a_pass_and_never_with_the_vendors_key(host: PodHost):
    """Its address is public: whoever has it could be anybody."""
    made = host.start(order())
    found = host.door(made)
    assert (f"{made.endpoint}/infer", None, True) == (found.url, found.bearer, found.wants_pass)
