from __future__ import annotations

import http.client
from decimal import Decimal

import httpx
import pytest
import runpod_orders
from runpod_orders import L4, order

from mp_kit.testing.fake_runpod import NO_CAPACITY, FakeRunPod


def test_edge_refuses_a_call_without_a_user_agent(fake: FakeRunPod) -> None:
    """Cloudflare's answer comes before any look at the key."""
    connection = http.client.HTTPConnection(fake.url.removeprefix("http://").removesuffix("/v2"))
    connection.request("GET", "/v2/pods", headers={"Authorization": "Bearer rp-key"})
    answer = connection.getresponse()
    assert (403, b"error code: 1010") == (answer.status, answer.read())
    connection.close()


@pytest.mark.parametrize("key", ["", "wrong"])
def test_unknown_key_is_401(fake: FakeRunPod, key: str) -> None:
    """As problem+json."""
    with runpod_orders.client(fake, key or "x") as client:
        answer = client.get("/pods")
    assert (401, "application/problem+json") == (answer.status_code, answer.headers["content-type"])
    assert {"title", "status", "detail"} == set(answer.json())


def test_v1_is_gone(fake: FakeRunPod, api: httpx.Client) -> None:
    """REST v1 answers 410, and calling it is a violation."""
    assert 410 == api.get(fake.url.replace("/v2", "/v1") + "/pods").status_code
    assert 1 == len(fake.violations)


def test_pod_becomes_running_and_is_deleted(fake: FakeRunPod, api: httpx.Client) -> None:
    """Status, actions, runtime and cost follow the clock."""
    made = api.post("/pods", json=order())
    pod_id = made.json()["id"]
    assert (201, "PROVISIONING", None) == (made.status_code, made.json()["status"], made.json()["runtime"])
    fake.clock.advance(4)
    assert "STARTING" == api.get(f"/pods/{pod_id}").json()["status"]
    fake.clock.advance(9)
    seen = api.get(f"/pods/{pod_id}").json()
    assert ("RUNNING", 3, 0.43) == (seen["status"], seen["runtime"]["uptime"], seen["cost"])
    assert 204 == api.delete(f"/pods/{pod_id}").status_code
    assert 404 == api.get(f"/pods/{pod_id}").status_code == api.delete(f"/pods/{pod_id}").status_code
    assert [] == api.get("/pods").json()["pods"]
    assert ["TERMINATED"] == [pod.status for pod in fake.pods]
    fake.violations.check()


def test_environment_is_echoed_in_clear_but_masked_in_records(fake: FakeRunPod, api: httpx.Client) -> None:
    """What RunPod shows to everybody with the key is not kept by the fake."""
    made = api.post("/pods", json=order(env={"MP_RUN_TOKEN": "secret"})).json()
    assert {"MP_RUN_TOKEN": "secret"} == api.get(f"/pods/{made['id']}").json()["env"]
    assert {"MP_RUN_TOKEN": "***"} == fake.requests[0].body["env"]
    assert "secret" not in repr(fake.requests)


def test_others_pods_are_404(fake: FakeRunPod, api: httpx.Client) -> None:
    """An account neither sees nor ends another's pods."""
    pod_id = api.post("/pods", json=order()).json()["id"]
    with runpod_orders.client(fake, "other") as other:
        assert [] == other.get("/pods").json()["pods"]
        assert 404 == other.get(f"/pods/{pod_id}").status_code == other.delete(f"/pods/{pod_id}").status_code
        assert 404 == other.post(f"/pods/{pod_id}/action", json={"action": "stop"}).status_code


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (order(gpuTypeIds=["x"]), 422),
        (order(disk="20"), 422),
        (order(disk=0), 422),
        (order(name=""), 422),
        (order(env={"A": 1}), 422),
        (order(gpu=None), 422),
        (order(cloud="ALL"), 422),
        (order(entrypoint=["python"]), 422),
        ({"name": "a", "gpu": {"id": L4, "count": 1}}, 422),
        ([], 422),
        (order(cpu={"id": "cpu5c", "vcpuCount": 2}), 400),
        ({"name": "a", "image": "x"}, 400),
        (order(mounts={"persistent": {"size": 10, "path": "/a"}, "network": [{"volumeId": "v", "path": "/b"}]}), 400),
        (order(env={f"V{n}": "" for n in range(51)}), 400),
        (order(templateId="nope"), 404),
        (order(args="x" * 102_400), 413),
    ],
)
def test_bad_bodies_are_refused_and_422_is_on_record(
    fake: FakeRunPod, api: httpx.Client, body: object, status: int
) -> None:
    """The shape is 422 and a violation; a broken rule is 400."""
    answer = api.post("/pods", json=body)
    assert status == answer.status_code
    assert (1 if status == 422 else 0) == len(fake.violations)
    assert [] == fake.pods


def test_violations_check_names_what_was_broken(fake: FakeRunPod, api: httpx.Client) -> None:
    """A test that calls it fails with the request and the reason."""
    api.post("/pods", json=order(gpuTypeIds=["x"]))
    with pytest.raises(AssertionError, match="POST /v2/pods: gpuTypeIds"):
        fake.violations.check()


def test_unknown_query_parameters_are_ignored_but_on_record(fake: FakeRunPod, api: httpx.Client) -> None:
    """A filter that does not filter returns everything, and is somebody's mistake."""
    for name in ("a", "b"):
        api.post("/pods", json=order(name))
    assert 2 == len(api.get("/pods", params={"name": "a"}).json()["pods"])
    assert ["the query parameter 'name' is unknown and would be ignored"] == list(fake.violations[0].errors)


@pytest.mark.parametrize(
    "gpu", [{"id": L4}, {"id": L4, "count": 9}, {"id": "NVIDIA B200", "count": 1}, {"id": "?", "count": 1}]
)
def test_what_cannot_be_placed_gets_the_capacity_sentence(api: httpx.Client, gpu: dict[str, object]) -> None:
    """Too many GPUs, a sold-out type, and a request without a count, as seen live."""
    answer = api.post("/pods", json=order(gpu=gpu))
    assert (400, NO_CAPACITY) == (answer.status_code, answer.json()["detail"])


def test_data_centres_are_enforced(api: httpx.Client) -> None:
    """A list without the right place yields the capacity sentence and no word about data centres."""
    assert 400 == api.post("/pods", json=order(dataCenterIds=["AP-JP-1"])).status_code
    assert 201 == api.post("/pods", json=order(dataCenterIds=["US-KS-2"])).status_code


def test_list_comes_in_pages(api: httpx.Client, fake: FakeRunPod) -> None:
    """By cursor, each pod once."""
    for name in "abcde":
        api.post("/pods", json=order(name))
    names, cursor = [], ""
    while cursor is not None:
        page = api.get("/pods", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        names += [pod["name"] for pod in page["pods"]]
        cursor = page["pagination"]["nextCursor"]
    assert list("abcde") == names
    fake.violations.check()


def test_list_goes_on_although_a_pod_ends_between_two_pages(api: httpx.Client) -> None:
    """No pod is missed; what is no cursor or limit is refused."""
    ids = [api.post("/pods", json=order(name)).json()["id"] for name in "abcd"]
    cursor = api.get("/pods", params={"limit": 2}).json()["pagination"]["nextCursor"]
    api.delete(f"/pods/{ids[0]}")
    assert ids[2:] == [pod["id"] for pod in api.get("/pods", params={"cursor": cursor}).json()["pods"]]
    assert 400 == api.get("/pods", params={"cursor": "x"}).status_code
    assert {422} == {api.get("/pods", params={"limit": limit}).status_code for limit in ("0", "1001", "x")}


def test_actions_follow_the_status(fake: FakeRunPod, api: httpx.Client) -> None:
    """Illegal ones are 409; a stopped pod starts again; terminate is a delete."""
    pod_id = api.post("/pods", json=order()).json()["id"]

    def act(action: str) -> int:
        return api.post(f"/pods/{pod_id}/action", json={"action": action}).status_code

    assert 409 == act("restart")
    fake.clock.advance(20)
    assert 200 == act("restart")
    assert 0 == api.get(f"/pods/{pod_id}").json()["runtime"]["uptime"]
    assert 200 == act("stop")
    assert ("EXITED", 0.0) == tuple(api.get(f"/pods/{pod_id}").json()[name] for name in ("status", "cost"))
    assert (409, 200) == (act("stop"), act("start"))
    fake.clock.advance(6)
    assert "RUNNING" == api.get(f"/pods/{pod_id}").json()["status"]
    assert (204, 404) == (act("terminate"), act("terminate"))


def test_patch_renames_and_locks(api: httpx.Client) -> None:
    """Only what was sent is changed."""
    pod_id = api.post("/pods", json=order(env={"A": "1"})).json()["id"]
    seen = api.patch(f"/pods/{pod_id}", json={"name": "b", "locked": True}).json()
    assert ("b", True, {"A": "1"}) == (seen["name"], seen["locked"], seen["env"])


def test_template_lies_below_the_body(api: httpx.Client) -> None:
    """The body wins; environments are merged by name."""
    body = {"name": "t", "image": "base:1", "disk": 30, "env": {"A": "1", "B": "1"}}
    template = api.post("/templates", json=body).json()
    wanted = order(templateId=template["id"], env={"B": "2"})
    del wanted["image"]
    seen = api.post("/pods", json=wanted).json()
    assert ("base:1", 20, {"A": "1", "B": "2"}) == (seen["image"], seen["disk"], seen["env"])
    assert 204 == api.delete(f"/templates/{template['id']}").status_code


def test_rate_limit_headers_and_429(fake: FakeRunPod) -> None:
    """Each answer tells the quota; one request too many has to wait."""
    with (
        FakeRunPod(clock=fake.clock, run_containers=False, per_minute=2) as narrow,
        runpod_orders.client(narrow) as client,
    ):
        first = client.get("/pods")
        assert '"minute";r=1;t=60' == first.headers["ratelimit"]
        assert '"minute";q=2;w=60' in first.headers["ratelimit-policy"]
        client.get("/pods")
        third = client.get("/pods")
        assert (429, "60") == (third.status_code, third.headers["retry-after"])
        narrow.clock.advance(60)
        assert 200 == client.get("/pods").status_code


def test_each_answer_has_its_own_request_id(fake: FakeRunPod, api: httpx.Client) -> None:
    """The one that is on record."""
    ids = [api.get("/pods").headers["x-request-id"] for _ in range(3)]
    assert ids == [request.request_id for request in fake.requests]
    assert 3 == len(set(ids))


def test_catalogue_tells_stock_only_when_asked(fake: FakeRunPod, api: httpx.Client) -> None:
    """And needs to know for which product."""
    fake.catalogue.change(L4, stock="LOW", secure=Decimal("0.5"))
    plain = {gpu["id"]: gpu for gpu in api.get("/catalog/gpus").json()["gpus"]}
    assert "availability" not in plain[L4]
    assert 400 == api.get("/catalog/gpus", params={"include": "AVAILABILITY"}).status_code
    query = {"include": "AVAILABILITY", "product": "POD", "count": "many", "cloud": "SECURE"}
    assert 422 == api.get("/catalog/gpus", params=query).status_code
    fake.violations.clear()
    query["count"] = "1"
    stocked = {gpu["id"]: gpu for gpu in api.get("/catalog/gpus", params=query).json()["gpus"]}
    assert ("LOW", 0.5) == (stocked[L4]["availability"], stocked[L4]["price"]["secure"])
    assert L4 == api.get("/catalog/gpus/NVIDIA%20L4").json()["id"]
    assert 404 == api.get("/catalog/gpus/NVIDIA%20L5").status_code
    fake.violations.check()


def test_data_centres_are_filtered_by_region(api: httpx.Client) -> None:
    """With what they have in stock when asked."""
    query = {"regions": "EUROPE", "include": "GPU_AVAILABILITY"}
    centres = api.get("/catalog/datacenters", params=query).json()["dataCenters"]
    assert {"EU-RO-1", "EU-NL-1"} == {centre["id"] for centre in centres}
    assert L4 in {gpu["id"] for gpu in centres[0]["gpuAvailability"]}
