from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import runpod_orders
from runpod_orders import L4, order

from mp_kit.errors import InvalidInputError
from mp_kit.testing.fake_runpod import NO_CAPACITY, Clock, FakeRunPod, Fault, Faults


def names(api: httpx.Client) -> list[str]:
    """Of the pods that a list shows."""
    return [pod["name"] for pod in api.get("/pods").json()["pods"]]


@pytest.mark.parametrize("fault", [Fault.CREATED_BUT_500, Fault.DONE_BUT_500])
def test_500_but_created(fake: FakeRunPod, api: httpx.Client, fault: Fault) -> None:
    """The pod is there and costs, though the answer denies it."""
    fake.faults.next("create", fault)
    assert 500 == api.post("/pods", json=order("ghost")).status_code
    assert ["ghost"] == names(api)
    assert 201 == api.post("/pods", json=order("next")).status_code


def test_cut_but_created(fake: FakeRunPod, api: httpx.Client) -> None:
    """No answer at all, and a pod."""
    fake.faults.next("create", Fault.CREATED_BUT_CUT)
    with pytest.raises(httpx.RemoteProtocolError):
        api.post("/pods", json=order("ghost"))
    assert ["ghost"] == names(api)


def test_answer_later_than_the_client_waits(fake: FakeRunPod) -> None:
    """The client gives up; the pod is there."""
    fake.faults.next("create", Fault.CREATED_BUT_SLOW, seconds=30)
    with runpod_orders.client(fake) as impatient, pytest.raises(httpx.ReadTimeout):
        impatient.post("/pods", json=order("ghost"), timeout=0.2)
    assert ["ghost"] == [pod.name for pod in fake.pods]


def test_no_answer_and_no_pod(fake: FakeRunPod, api: httpx.Client) -> None:
    """Cut before anything was done."""
    fake.faults.next("create", Fault.NO_ANSWER)
    with pytest.raises(httpx.RemoteProtocolError):
        api.post("/pods", json=order())
    assert [] == fake.pods


def test_new_pod_is_hidden_for_a_while(fake: FakeRunPod, api: httpx.Client) -> None:
    """404 and missing in the list; a DELETE then proves nothing, and the pod comes out and costs."""
    fake.faults.next("create", Fault.HIDDEN, seconds=8)
    pod_id = api.post("/pods", json=order()).json()["id"]
    assert (404, 404) == (api.get(f"/pods/{pod_id}").status_code, api.delete(f"/pods/{pod_id}").status_code)
    assert [] == names(api)
    fake.clock.advance(8)
    assert (200, ["a"]) == (api.get(f"/pods/{pod_id}").status_code, names(api))


@pytest.mark.parametrize(
    ("fault", "got", "listed"), [(Fault.HIDDEN_FROM_GET, 404, ["a"]), (Fault.HIDDEN_FROM_LIST, 200, [])]
)
def test_new_pod_is_hidden_in_one_place(
    fake: FakeRunPod, api: httpx.Client, fault: Fault, got: int, listed: list[str]
) -> None:
    """The list knows it and the single look does not, or the other way round."""
    fake.faults.next("create", fault)
    pod_id = api.post("/pods", json=order()).json()["id"]
    assert (got, listed) == (api.get(f"/pods/{pod_id}").status_code, names(api))


def test_capacity_of_one_type(fake: FakeRunPod, api: httpx.Client) -> None:
    """Others can be had; the fault waits for a request that it is meant for."""
    fake.faults.always("create", Fault.NO_CAPACITY, gpu=L4)
    refused = api.post("/pods", json=order())
    assert (400, NO_CAPACITY) == (refused.status_code, refused.json()["detail"])
    assert 201 == api.post("/pods", json=order(gpu={"id": "NVIDIA A40", "count": 1})).status_code
    fake.faults.clear()
    assert 201 == api.post("/pods", json=order()).status_code


@pytest.mark.parametrize(("fault", "status"), [(Fault.NO_BALANCE, 402), (Fault.NO_ACCESS, 403), (Fault.NO_JSON, 502)])
def test_refusals(fake: FakeRunPod, api: httpx.Client, fault: Fault, status: int) -> None:
    """Nothing is made."""
    fake.faults.next("create", fault)
    assert status == api.post("/pods", json=order()).status_code
    assert [] == fake.pods


def test_429_tells_how_long_to_wait(fake: FakeRunPod, api: httpx.Client) -> None:
    """An integer of seconds."""
    fake.faults.next("list", Fault.RATE_LIMITED, seconds=12, times=2)
    answers = [api.get("/pods") for _ in range(3)]
    assert [429, 429, 200] == [answer.status_code for answer in answers]
    assert "12" == answers[0].headers["retry-after"]


def test_5xx_of_any_operation(fake: FakeRunPod, api: httpx.Client) -> None:
    """The star stands for each of them; the status can be chosen."""
    fake.faults.always("*", Fault.SERVER_ERROR, status=503)
    assert [503, 503] == [api.get(path).status_code for path in ("/pods", "/catalog/gpus")]
    fake.faults.clear()
    assert 200 == api.get("/pods").status_code


@pytest.mark.parametrize(
    ("fault", "status"), [(Fault.EXITS, "EXITED"), (Fault.ERRORS, "ERROR"), (Fault.VANISHES, "TERMINATED")]
)
def test_pod_dies(fake: FakeRunPod, api: httpx.Client, fault: Fault, status: str) -> None:
    """After its seconds; one that vanished is 404."""
    fake.faults.next("create", fault, seconds=60)
    pod_id = api.post("/pods", json=order()).json()["id"]
    fake.clock.advance(59)
    assert "RUNNING" == api.get(f"/pods/{pod_id}").json()["status"]
    fake.clock.advance(1)
    assert status == fake.pods[0].status
    assert (404 if status == "TERMINATED" else 200) == api.get(f"/pods/{pod_id}").status_code


def test_pod_dies_on_the_tests_word(fake: FakeRunPod, api: httpx.Client) -> None:
    """As if somebody had deleted it in the console."""
    pod_id = api.post("/pods", json=order()).json()["id"]
    fake.end(pod_id)
    assert [] == names(api)


def test_slow_pull_and_stuck(fake: FakeRunPod, api: httpx.Client) -> None:
    """STARTING lasts longer, or nothing ever comes of it."""
    fake.faults.next("create", Fault.SLOW_PULL, seconds=600)
    fake.faults.next("create", Fault.STUCK)
    slow, stuck = (api.post("/pods", json=order(name)).json()["id"] for name in ("slow", "stuck"))
    fake.clock.advance(600)
    assert ["STARTING", "PROVISIONING"] == [api.get(f"/pods/{pod}").json()["status"] for pod in (slow, stuck)]
    fake.clock.advance(10)
    assert ["RUNNING", "PROVISIONING"] == [api.get(f"/pods/{pod}").json()["status"] for pod in (slow, stuck)]


def test_price_above_the_quote(fake: FakeRunPod, api: httpx.Client) -> None:
    """The pod's cost is not the catalogue's price."""
    fake.faults.next("create", Fault.PRICE_ABOVE_QUOTE, factor=3)
    assert 1.29 == api.post("/pods", json=order()).json()["cost"]


def test_delete_404_leaves_the_pod(fake: FakeRunPod, api: httpx.Client) -> None:
    """Its answer is no proof of absence."""
    pod_id = api.post("/pods", json=order()).json()["id"]
    fake.faults.next("delete", Fault.DELETE_404)
    assert (404, 200) == (api.delete(f"/pods/{pod_id}").status_code, api.get(f"/pods/{pod_id}").status_code)


def test_deleted_pod_lingers_and_costs(fake: FakeRunPod, api: httpx.Client) -> None:
    """204 is no proof either."""
    pod_id = api.post("/pods", json=order(disk=1)).json()["id"]
    fake.faults.next("delete", Fault.DELETE_LINGERS, seconds=100)
    assert (204, 200) == (api.delete(f"/pods/{pod_id}").status_code, api.get(f"/pods/{pod_id}").status_code)
    fake.clock.advance(3_600)
    assert 404 == api.get(f"/pods/{pod_id}").status_code
    assert 100 == (fake.pods[0].ended_at - fake.pods[0].created_at).total_seconds()


def test_restart_that_does_nothing(fake: FakeRunPod, api: httpx.Client) -> None:
    """200, and the uptime goes on."""
    pod_id = api.post("/pods", json=order()).json()["id"]
    fake.clock.advance(30)
    fake.faults.next("action", Fault.ACTION_NO_OP)
    assert 200 == api.post(f"/pods/{pod_id}/action", json={"action": "restart"}).status_code
    assert 20 == api.get(f"/pods/{pod_id}").json()["runtime"]["uptime"]


def test_started_again_without_gpus(fake: FakeRunPod, api: httpx.Client) -> None:
    """A stopped pod is bound to its host, whose GPUs may be taken."""
    pod_id = api.post("/pods", json=order()).json()["id"]
    fake.end(pod_id, "EXITED")
    fake.faults.next("action", Fault.ZERO_GPU)
    assert 0 == api.post(f"/pods/{pod_id}/action", json={"action": "start"}).json()["gpu"]["count"]


def test_restart_loop_shows_in_the_uptime(fake: FakeRunPod, api: httpx.Client) -> None:
    """Status stays RUNNING; the uptime falls; the system log says it."""
    pod_id = api.post("/pods", json=order()).json()["id"]
    fake.clock.advance(60)
    fake.restart(pod_id)
    fake.clock.advance(5)
    seen = api.get(f"/pods/{pod_id}").json()
    assert ("RUNNING", 5, 2) == (seen["status"], seen["runtime"]["uptime"], fake.pods[0].starts)
    assert 2 == sum("start container" in line for line in fake.logs(pod_id))


def test_chance_is_seeded() -> None:
    """The same seed gives the same story, and another seed another one."""

    def story(seed: int) -> list[bool]:
        faults = Faults(seed)
        faults.by_chance({("create", Fault.HIDDEN): 0.5})
        return [bool(faults.draw("create")) for _ in range(40)]

    assert story(1) == story(1) != story(2)
    assert 0 < sum(story(1)) < 40


def test_unknown_operation_is_refused() -> None:
    """A typo would otherwise be a fault that never happens."""
    with pytest.raises(InvalidInputError, match="creat"):
        Faults().next("creat", Fault.HIDDEN)


def test_scripted_lives() -> None:
    """Hundreds of pods without a single process."""
    clock = Clock(running=False)
    with FakeRunPod(clock=clock, run_containers=False, lives=lambda _pod: [(120, "EXITED"), (300, "ERROR")]) as fake:
        with runpod_orders.client(fake) as api:
            for number in range(20):
                api.post("/pods", json=order(f"pod-{number}"))
        seen = []
        for _ in range(4):
            seen.append({pod.status for pod in fake.pods})
            clock.advance(110)
        assert [{"PROVISIONING"}, {"RUNNING"}, {"EXITED"}, {"ERROR"}] == seen


def test_every_fault_is_on_the_page() -> None:
    """docs/testing.md lists what can go wrong."""
    page = (Path(__file__).parents[3] / "docs" / "testing.md").read_text()
    assert [] == [fault.name for fault in Fault if fault.name not in page]
