"""Launching at RunPod, against the fake's misbehaviour: one pod per attempt, never one above its price."""

from __future__ import annotations

import time
from datetime import timedelta
from decimal import Decimal

import pytest
from runpods import KEY, PREFIX, Pair, checked, pair, provider_of

from mp_kit.errors import (
    BudgetError,
    CredentialError,
    ForbiddenError,
    InvalidInputError,
    MarketplaceError,
    ProviderError,
    UnavailableError,
)
from mp_kit.server.providers.base import Handle, PacedError, UnsearchedError
from mp_kit.testing.fake_runpod import Fault, Pace

CREATED_WITHOUT_AN_ANSWER = [
    Fault.CREATED_BUT_500,
    Fault.CREATED_BUT_CUT,
    Fault.DONE_BUT_500,
    Fault.DONE_BUT_CUT,
]


@pytest.mark.parametrize("fault", CREATED_WITHOUT_AN_ANSWER)
def test_lost_answer_adopts_the_pod(runpod: Pair, fault: Fault):
    """A pod that was made without an answer is found by its name, and not ordered again."""
    runpod.fake.faults.next("create", fault)
    handle = runpod.provider.launch(runpod.order())
    assert [handle.ref] == runpod.alive()
    assert 1 == len(runpod.asked("create"))


@pytest.mark.parametrize("fault", CREATED_WITHOUT_AN_ANSWER)
def test_lost_answer_of_a_pod_that_hides(runpod: Pair, fault: Fault):
    """A pod that shows late is found by ``find``, also by another process; nothing is ordered twice."""
    runpod.fake.faults.next("create", fault, Fault.HIDDEN, seconds=60.0)
    order = runpod.order()
    since = runpod.fake.clock.now()
    with pytest.raises(UnavailableError) as caught:
        runpod.provider.launch(order)
    assert not isinstance(caught.value, ProviderError)
    with pytest.raises(UnavailableError):
        runpod.provider.launch(order)
    successor = provider_of(runpod.fake)
    with pytest.raises(UnavailableError):
        successor.find("run_1", 1, "vnd_a", since)
    runpod.fake.clock.advance(60)
    found = successor.find("run_1", 1, "vnd_a", since)
    assert found is not None
    assert [found.ref] == runpod.alive()
    assert found.ref == runpod.provider.launch(order).ref
    assert 1 == len(runpod.asked("create"))
    successor.close()


@pytest.mark.parametrize("fault", [Fault.SERVER_ERROR, Fault.NO_ANSWER, Fault.NO_JSON])
def test_lost_answer_of_nothing(runpod: Pair, fault: Fault):
    """What was never made is called absent after the settling time and several readings, not before."""
    runpod.fake.faults.next("create", fault)
    since = runpod.fake.clock.now()
    with pytest.raises(UnavailableError) as caught:
        runpod.provider.launch(runpod.order())
    assert not isinstance(caught.value, ProviderError)
    with pytest.raises(UnavailableError, match="at the earliest"):
        runpod.provider.find("run_1", 1, "vnd_a", since)
    runpod.fake.clock.advance(120)
    before = len(runpod.asked("list"))
    assert runpod.provider.find("run_1", 1, "vnd_a", since) is None
    assert 3 == len(runpod.asked("list")) - before
    assert 1 == len(runpod.asked("create"))


def test_crash_between_order_and_store(runpod: Pair):
    """A new process that is given the same attempt finds the pod."""
    first = runpod.provider.launch(runpod.order())
    successor = provider_of(runpod.fake)
    assert first.ref == successor.launch(runpod.order()).ref
    assert 1 == len(runpod.asked("create"))
    successor.close()


def test_list_without_answer_orders_nothing(runpod: Pair):
    """While it cannot be told whether an earlier call made a pod, none is ordered."""
    runpod.fake.faults.next("list", Fault.SERVER_ERROR, times=3)
    with pytest.raises(UnavailableError) as caught:
        runpod.provider.launch(runpod.order())
    assert isinstance(caught.value, UnsearchedError)
    assert not isinstance(caught.value, ProviderError)
    assert [] == runpod.asked("create")


def test_list_without_answer_about_a_lost_order(runpod: Pair):
    """Whoever has ordered it, and lost the answer, can't say that nothing was ordered."""
    runpod.fake.faults.next("create", Fault.CREATED_BUT_500, Fault.HIDDEN, seconds=60.0)
    with pytest.raises(UnavailableError):
        runpod.provider.launch(runpod.order())
    runpod.fake.faults.next("list", Fault.SERVER_ERROR, times=3)
    with pytest.raises(UnavailableError) as caught:
        runpod.provider.launch(runpod.order())
    assert not isinstance(caught.value, ProviderError | UnsearchedError)


def test_finds_share_a_list_until_they_could_prove_something():
    """Before the settling time one list serves all; what is called absent afterwards takes readings of its own."""
    with pair(list_seconds=2.0) as both:
        since = both.fake.clock.now()
        for number in range(20):
            with pytest.raises(UnavailableError, match="at the earliest"):
                both.provider.find(f"run_{number}", 1, "vnd_a", since)
        assert 1 == len(both.asked("list"))
        both.fake.clock.advance(119.9)
        with pytest.raises(UnavailableError):
            both.provider.find("run_0", 1, "vnd_a", since)
        both.fake.clock.advance(0.2)
        assert both.provider.find("run_0", 1, "vnd_a", since) is None
        assert 5 == len(both.asked("list"))


def test_ended_pod_of_the_attempt_is_not_ordered_again(runpod: Pair):
    """An attempt whose pod has exited is that pod's, for better or worse."""
    first = runpod.provider.launch(runpod.order())
    runpod.fake.end(first.ref, "EXITED")
    assert first.ref == runpod.provider.launch(runpod.order()).ref


def test_double_names_keep_the_oldest(runpod: Pair):
    """Two pods of one name: the oldest stays, the other is ended, whoever comes by."""
    first = runpod.provider.launch(runpod.order("run_1", 1))
    runpod.fake.clock.advance(5)
    second = runpod.provider.launch(runpod.order("run_2", 1))
    key = runpod.provider._account("vnd_a")
    runpod.provider._api._client.patch(
        f"{runpod.fake.url}/pods/{second.ref}",
        json={"name": f"{PREFIX}-run_1-a1"},
        headers={"Authorization": f"Bearer {key.key}"},
    )
    found = runpod.provider.find("run_1", 1, "vnd_a", runpod.fake.clock.now())
    assert found is not None
    assert first.ref == found.ref
    assert [first.ref] == runpod.alive()


REFUSALS = [
    ([Fault.NO_CAPACITY], ProviderError, "no place now"),
    ([Fault.NO_ACCESS], ForbiddenError, "may use none"),
    ([Fault.NO_BALANCE], BudgetError, "no balance"),
]


@pytest.mark.parametrize(("faults", "error", "words"), REFUSALS)
def test_refusals(runpod: Pair, faults: list[Fault], error: type[MarketplaceError], words: str):
    """What RunPod refuses on every machine, and what that means."""
    runpod.fake.faults.always("create", faults[0])
    with pytest.raises(error, match=words):
        runpod.provider.launch(runpod.order(machine={"gpu": "A100"}))
    assert [] == runpod.alive()


def test_no_capacity_takes_the_next(runpod: Pair):
    """A GPU that is sold out leads to the next one of the same name."""
    runpod.fake.faults.always("create", Fault.NO_CAPACITY, gpu="NVIDIA A100 80GB PCIe")
    handle = runpod.provider.launch(runpod.order(machine={"gpu": "A100"}))
    assert "NVIDIA A100-SXM4-80GB" == handle.data["gpu"]
    assert ["NVIDIA A100-SXM4-80GB"] == [pod.gpu for pod in runpod.fake.pods]


def test_no_access_takes_the_next(runpod: Pair):
    """So does one that the account may not use."""
    runpod.fake.faults.always("create", Fault.NO_ACCESS, gpu="NVIDIA A100 80GB PCIe")
    assert "NVIDIA A100-SXM4-80GB" == runpod.provider.launch(runpod.order(machine={"gpu": "a100-80gb"})).data["gpu"]


def test_community_cloud_follows_the_secure_one():
    """Where it is wanted, the community cloud is tried too; here it is the cheaper one."""
    with pair(community=True) as both:
        both.provider.launch(both.order(machine={"gpu": "RTX4090"}))
        assert ["COMMUNITY"] == [request.body["cloud"] for request in both.asked("create")]


def test_rate_limit_is_waited_for(runpod: Pair):
    """A short 429 is waited for and asked again: RunPod did not look at the order."""
    runpod.fake.faults.next("create", Fault.RATE_LIMITED, seconds=3.0)
    before = runpod.fake.clock.now()
    runpod.provider.launch(runpod.order())
    assert timedelta(seconds=3) <= runpod.fake.clock.now() - before
    assert 2 == len(runpod.asked("create"))


def test_long_rate_limit_is_told(runpod: Pair):
    """A long one is the supervisor's to wait for."""
    runpod.fake.faults.next("create", Fault.RATE_LIMITED, seconds=40.0)
    with pytest.raises(PacedError) as caught:
        runpod.provider.launch(runpod.order())
    assert 40 == caught.value.retry_after
    assert [] == runpod.alive()


def test_unknown_key_is_a_credential_error():
    """A key that RunPod refuses."""
    with pair() as both:
        both.fake._cloud.accounts.pop(KEY)
        with pytest.raises(CredentialError, match="does not accept"):
            both.provider.launch(both.order())


def test_vendor_without_account(runpod: Pair):
    """No key: nothing is asked of RunPod."""
    with pytest.raises(CredentialError, match="vnd_x"):
        runpod.provider.launch(runpod.order(vendor_id="vnd_x"))
    assert [] == runpod.fake.requests


def test_price_above_quote_is_ended_at_once(runpod: Pair):
    """A pod that costs more than the budget bears is gone at once, and its GPU is not taken again for a while."""
    runpod.fake.faults.next("create", Fault.PRICE_ABOVE_QUOTE, factor=2.0)
    told: list[Handle] = []
    order = runpod.order(max_cost_usd=2.0, on_made=told.append)  # L4: 0.43 an hour, four hours
    with pytest.raises(ProviderError, match=r"\$0\.8600 per hour"):
        runpod.provider.launch(order)
    assert [] == runpod.alive()
    assert [(pod.id, 0.86) for pod in runpod.fake.pods] == [(made.ref, made.price_per_hour) for made in told]
    with pytest.raises(BudgetError, match="cheapest"):
        runpod.provider.launch(runpod.order(attempt=2, max_cost_usd=2.0))


def test_price_above_quote_that_cannot_be_ended(runpod: Pair):
    """It stays condemned: nobody adopts it, and each look tries to end it."""
    runpod.fake.faults.next("create", Fault.PRICE_ABOVE_QUOTE, factor=2.0)
    runpod.fake.faults.always("delete", Fault.SERVER_ERROR)
    runpod.fake.faults.always("action", Fault.SERVER_ERROR)
    order = runpod.order(max_cost_usd=2.0)
    with pytest.raises(UnavailableError, match="could not be ended"):
        runpod.provider.launch(order)
    runpod.fake.faults.clear()
    runpod.fake.clock.advance(121)
    assert runpod.provider.find("run_1", 1, "vnd_a", runpod.fake.clock.now() - timedelta(hours=1)) is None
    assert [] == runpod.alive()


def test_budget_below_every_price(runpod: Pair):
    """Nothing is ordered that the budget does not bear; the sentence has both prices."""
    with pytest.raises(BudgetError, match=r"\$0\.4300 per hour.*bears \$0\.2500") as caught:
        runpod.provider.launch(runpod.order(max_cost_usd=1.0))
    assert "max_cost_usd" in caught.value.hint
    assert [] == runpod.asked("create")


def test_budget_leaves_out_what_is_too_dear(runpod: Pair):
    """Of a name's GPUs only those within the budget are tried."""
    order = runpod.order(machine={"gpu": "H100"}, max_cost_usd=10.0)
    assert "NVIDIA H100 PCIe" == runpod.provider.launch(order).data["gpu"]


def test_no_hours_left(runpod: Pair):
    """After its deadline a run is not started, but still found."""
    late = runpod.order(deadline=runpod.fake.clock.now() - timedelta(seconds=1), max_cost_usd=9.0)
    with pytest.raises(BudgetError, match="no hours"):
        runpod.provider.launch(late)
    first = runpod.provider.launch(runpod.order(max_cost_usd=9.0))
    assert first.ref == runpod.provider.launch(late).ref


def test_what_is_ordered(runpod: Pair):
    """Name, image, command, disk, GPU and environment of an order."""
    order = runpod.order("run_7", 3, machine={"gpu": "2xA100", "disk": 80, "base_image": "trainers/torch:2"})
    handle = runpod.provider.launch(order)
    (request,) = runpod.asked("create")
    env = {"MP_RUN_TOKEN", "TASK", "MP_DEADLINE", "MP_RUNPOD_URL"}
    assert env == set(request.body.pop("env"))
    assert {
        "name": "mp-test-run_7-a3",
        "image": "trainers/torch:2",
        "args": '{"entrypoint": ["python"], "cmd": ["-m", "mp_kit.trainer"]}',
        "disk": 80,
        "cloud": "SECURE",
        "gpu": {"id": "NVIDIA A100 80GB PCIe", "count": 2},
    } == request.body
    assert 3.18 == handle.price_per_hour
    assert "mp-test-run_7-a3" == handle.data["name"]


def test_data_centres_are_enforced():
    """Allowed data centres are sent one by one, in the given order among equals."""
    with pair(places=["US-KS-2", "EU-RO-1"]) as both:
        both.fake.faults.next("create", Fault.NO_CAPACITY)
        both.provider.launch(both.order())
        assert [["US-KS-2"], ["EU-RO-1"]] == [request.body["dataCenterIds"] for request in both.asked("create")]


BAD_ORDERS = [
    ({"env": {"RUNPOD_API_KEY": "x"}}, "RUNPOD_API_KEY must not be set"),
    ({"env": {f"V{number:02}": "x" for number in range(50)}}, "52 variables.*50 per pod; too many by: V48, V49"),
    ({"env": {"SMALL": "x", "DATASET_URLS": "y" * 100_000}}, r"DATASET_URLS \(100,000 characters\)"),
    ({"machine": {"gpu": "A1000"}}, "no GPU called 'A1000'"),
    ({"machine": {"gpu": "0xA100"}}, "no GPU at all"),
    ({"machine": {"gpu": "A100:64"}}, "no pod has 64"),
    ({"machine": {"gpu": "L4", "disk": -1}}, "disk: -1"),
    ({"machine": {"gpu": "L4", "base_image": "a b"}}, "base_image: 'a b'"),
    ({"run_id": "run-1"}, "'run-1'"),
    ({"attempt": 0}, "attempt 0"),
]


@pytest.mark.parametrize(("changes", "words"), BAD_ORDERS)
def test_bad_orders_are_refused_before_they_are_sent(runpod: Pair, changes: dict[str, object], words: str):
    """Each says what is wrong and where; no value of the environment is quoted."""
    with pytest.raises(InvalidInputError, match=words):
        runpod.provider.launch(runpod.order(**changes))
    assert [] == runpod.asked("create")


def test_no_image_anywhere():
    """A marketplace without a trainer image says so, and orders nothing; an order may bring one."""
    with pair(image="") as both:
        with pytest.raises(InvalidInputError, match="names no trainer image"):
            both.provider.launch(both.order())
        both.provider.launch(both.order(machine={"gpu": "L4", "base_image": "trainers/own:1"}))


def test_launches_share_lists_and_the_catalogue():
    """Launches of one account within a moment cost one list, one catalogue, and one order each."""
    with pair(list_seconds=2.0) as both:
        handles = [both.provider.launch(both.order(f"run_{number}")) for number in range(20)]
        assert 20 == len({handle.ref for handle in handles})
        assert (1, 1, 20) == tuple(len(both.asked(name)) for name in ("list", "catalog", "create"))


def test_offers_without_a_wish(runpod: Pair):
    """Without a wish small GPUs are offered, the cheapest first."""
    offers = runpod.provider.offers("vnd_a", {})
    assert ("NVIDIA RTX A4000", Decimal("0.24"), "secure") == (
        offers[0].name,
        offers[0].price_per_hour,
        offers[0].cloud,
    )
    assert sorted(offers, key=lambda offer: offer.price_per_hour) == list(offers)


def test_offers_of_a_sold_out_gpu(runpod: Pair):
    """What the catalogue calls sold out is offered all the same, and says so."""
    (offer,) = runpod.provider.offers("vnd_a", {"gpu": "B200"})
    assert "none" == offer.stock


def test_command_reaches_the_container():
    """Its arguments arrive as they were, quotes and spaces included; so does the environment."""
    words = 'it\'s a "quoted" $HOME'
    code = "import os, sys; print(sys.argv[1], os.environ['TASK'], os.environ['MP_RUNPOD_URL'])"
    with checked({KEY: None}, pace=Pace(0.0, 0.0)) as fake:
        both = Pair(fake, provider_of(fake, command=["python", "-c", code, words], sleep=time.sleep))
        handle = both.provider.launch(both.order())
        wanted = f"container: {words} signal {fake.url}"
        for _ in range(200):
            if wanted in fake.logs(handle.ref):
                break
            time.sleep(0.05)
        assert wanted in fake.logs(handle.ref)
        both.provider.terminate(handle)
        both.provider.close()
