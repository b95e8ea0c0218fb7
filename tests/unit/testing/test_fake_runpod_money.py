from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import httpx
import pytest
import runpod_orders
from runpod_orders import order

from mp_kit.testing.fake_runpod import FakeRunPod, Fault

HOUR = 3_600


def cents(amount: Decimal | float) -> Decimal:
    """Rounded as on a bill."""
    return Decimal(str(amount)).quantize(Decimal("0.01"))


def test_pod_costs_from_creation_to_termination_per_second(fake: FakeRunPod, api: httpx.Client) -> None:
    """Price and disk of 1 h 1 s: pulls included, nothing after the end."""
    pod_id = api.post("/pods", json=order(disk=73)).json()["id"]
    fake.clock.advance(HOUR + 0.2)
    api.delete(f"/pods/{pod_id}")
    fake.clock.advance(HOUR)
    seconds = Decimal(HOUR + 1)
    expected = seconds * Decimal("0.43") / HOUR + seconds * 73 * Decimal("0.10") / (730 * HOUR)
    assert expected == fake.billing()[pod_id]


def test_exited_pod_costs_its_volume_alone(fake: FakeRunPod, api: httpx.Client) -> None:
    """At a stopped volume's price; the container's disk is free."""
    pod_id = api.post("/pods", json=order(mounts={"persistent": {"size": 73, "path": "/v"}})).json()["id"]
    before = fake.billing()[pod_id]
    fake.end(pod_id, "EXITED")
    fake.clock.advance(10 * HOUR)
    assert Decimal("0.20") == fake.billing()[pod_id] - before


def test_bill_adds_up_to_the_cent_whatever_the_buckets(fake: FakeRunPod, api: httpx.Client) -> None:
    """Hours, days and the fake's own sum tell the same, pod by pod."""
    fake.set_credit("rp-key", None)
    for seconds in (1_234.5, 7_200, 100_000.25):
        pod_id = api.post("/pods", json=order(gpu={"id": "NVIDIA H200", "count": 4})).json()["id"]
        fake.clock.advance(seconds)
        api.delete(f"/pods/{pod_id}")
    for bucket in ("hour", "day"):
        bill = api.get("/billing/pods", params={"bucketSize": bucket, "lastN": 50}).json()
        told = {record["podId"]: Decimal(0) for record in bill["records"]}
        for record in bill["records"]:
            told[record["podId"]] += Decimal(str(record["totalAmount"]))
        assert {pod: cents(cost) for pod, cost in fake.billing().items()} == {p: cents(c) for p, c in told.items()}
        assert cents(sum(told.values())) == cents(bill["metadata"]["totals"]["totalAmount"])


def test_bill_of_one_pod_between_two_instants(fake: FakeRunPod, api: httpx.Client) -> None:
    """Only what it cost in between; a start without an end is 400, as seen live."""
    pod_id, other = (api.post("/pods", json=order(name, disk=1)).json()["id"] for name in "ab")
    fake.clock.advance(2 * HOUR)
    start, end = fake.pods[0].created_at + timedelta(minutes=30), fake.pods[0].created_at + timedelta(minutes=60)
    query = {"podId": pod_id, "startTime": start.isoformat(), "endTime": end.isoformat(), "bucketSize": "hour"}
    records = api.get("/billing/pods", params=query).json()["records"]
    assert [(pod_id, 0.215)] == [(record["podId"], round(record["gpuAmount"], 6)) for record in records]
    assert other not in str(records)
    del query["endTime"]
    assert 400 == api.get("/billing/pods", params=query).status_code


def test_creation_needs_an_hour_of_credit(fake: FakeRunPod, api: httpx.Client) -> None:
    """402 otherwise, and nothing is made."""
    fake.set_credit("rp-key", "0.42")
    assert 402 == api.post("/pods", json=order()).status_code
    assert [] == fake.pods


def test_zero_balance_terminates_at_the_very_second(fake: FakeRunPod, api: httpx.Client) -> None:
    """Not at the next look: the account never owes more than the last second."""
    fake.set_credit("rp-key", Decimal("0.86"))
    api.post("/pods", json=order())
    fake.clock.advance(10 * HOUR)
    pod = fake.pods[0]
    assert "TERMINATED" == pod.status
    assert HOUR < (pod.ended_at - pod.created_at).total_seconds() <= 2 * HOUR
    assert Decimal("0.86") == cents(pod.cost)
    assert 402 == api.post("/pods", json=order()).status_code


def test_zero_balance_stops_a_pod_with_a_network_volume(fake: FakeRunPod, api: httpx.Client) -> None:
    """It is kept, EXITED."""
    fake.set_credit("rp-key", 1)
    api.post("/pods", json=order(mounts={"network": [{"volumeId": "v", "path": "/v"}]}))
    fake.clock.advance(10 * HOUR)
    assert ["EXITED"] == [pod["status"] for pod in api.get("/pods").json()["pods"]]


@pytest.mark.parametrize("fault", [Fault.STUCK, Fault.ERRORS])
def test_a_pod_that_does_no_work_costs_all_the_same(fake: FakeRunPod, api: httpx.Client, fault: Fault) -> None:
    """As long as it is not terminated it holds a machine."""
    fake.faults.next("create", fault)
    pod_id = api.post("/pods", json=order(disk=1)).json()["id"]
    fake.clock.advance(HOUR)
    assert Decimal("0.43") == cents(fake.billing()[pod_id])


def test_accounts_pay_for_their_own(fake: FakeRunPod, api: httpx.Client) -> None:
    """One's pods are not on the other's bill."""
    api.post("/pods", json=order())
    fake.clock.advance(HOUR)
    with runpod_orders.client(fake, "other") as other:
        assert [] == other.get("/billing/pods").json()["records"]
    assert Decimal("99.57") == cents(fake.balance("rp-key") or 0)
