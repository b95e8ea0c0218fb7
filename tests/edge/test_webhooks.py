"""Webhooks over HTTP: their routes, who sees what, and that each deed tells of itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from receivers import Receiver, eventually, receiving, status
from sqlalchemy import text

from mp_kit import verify_webhook
from mp_kit.contracts import WebhookRequest
from mp_kit.errors import InvalidInputError
from mp_kit.server.house import House
from mp_kit.server.processes import free_port
from mp_kit.server.services import consensus, rounds, webhooks
from mp_kit.server.services.rounds import Draft
from mp_kit.server.services.webhook_delivery import Courier, deliver
from mp_kit.server.wiring import build

PATH = "/api/vendors/webhooks"
EVENTS = ["run.finished", "signal.stored", "consensus.updated", "round.published", "model.promoted"]


@pytest.fixture(scope="module")
def edge_house(house: House) -> Iterator[House]:
    """A house that may send to loopback, and whose webhooks are being delivered."""
    base = f"http://127.0.0.1:{free_port()}"
    built = build(replace(house.settings, base_url=base, webhook_allow_private=True))
    over = threading.Event()
    courier = Courier(built.db, built.vault, built.poster)
    work = {"seconds": 300, "poll": 0.1, "stop": over.is_set}
    thread = threading.Thread(target=deliver, args=(courier,), kwargs=work, daemon=True)
    thread.start()
    yield built
    over.set()
    thread.join(timeout=20)
    built.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def make(edge: httpx.Client, who: SimpleNamespace, url: str, *events: str) -> dict[str, Any]:
    response = edge.post(PATH, json={"url": url, "events": events or EVENTS}, headers=who.headers)
    assert 200 == response.status_code, response.text
    made: dict[str, Any] = response.json()["data"]
    return made


def told(receiver: Receiver, secret: str) -> list[tuple[str, dict[str, Any]]]:
    """Type and data of what came, each verified."""
    events = [verify_webhook(headers, body, secret) for headers, body in receiver.got]
    return [(event["type"], event["data"]) for event in events]


BAD = {
    "http://example.com/": "https",
    "https://127.0.0.1:22/": "port",
    "https://u:p@example.com/": "user name",
    "https://169.254.169.254/latest/meta-data": "not public",
    "https://nowhere.invalid/": "does not resolve",
}


@pytest.mark.parametrize("url", [*BAD][1:])
def test_a_url_that_may_not_be_sent_to(edge: httpx.Client, vendor: SimpleNamespace, url: str):
    """422 with the rule; what stood in the URL is not repeated."""
    response = edge.post(PATH, json={"url": url, "events": EVENTS}, headers=vendor.headers)
    assert (422, True) == (response.status_code, BAD[url] in response.json()["error"])
    assert url not in response.text


def test_without_the_setting_nothing_private(house: House, vendor: SimpleNamespace):
    """The setting is for rehearsals: without it http and loopback are refused."""
    for url, why in {**BAD, "https://localhost/": "not public"}.items():
        wanted = WebhookRequest(url=url, events=["run.finished"])
        with pytest.raises(InvalidInputError, match=why):
            webhooks.create(house.db.begin, house.vault, house.poster.guard, vendor.id, wanted, actor="test")


@pytest.mark.parametrize(
    "body",
    [
        {"url": "https://example.com/"},
        {"url": "https://example.com/", "events": []},
        {"url": "https://example.com/", "events": ["ping"]},
        {"url": "https://example.com/", "events": ["everything"]},
        {"url": "", "events": EVENTS},
        {"url": "https://example.com/" + "x" * 3000, "events": EVENTS},
        {"url": 7, "events": EVENTS},
        [],
    ],
)
def test_a_body_that_does_not_fit(edge: httpx.Client, vendor: SimpleNamespace, body: Any):
    """422, and nothing is made."""
    assert 422 == edge.post(PATH, json=body, headers=vendor.headers).status_code
    assert [] == edge.get(PATH, headers=vendor.headers).json()["data"]


def test_who_may(edge: httpx.Client, deployment: SimpleNamespace):
    """Vendors."""
    assert 403 == edge.get(PATH, headers=deployment.headers).status_code
    assert 401 == edge.get(PATH).status_code


def test_vendors_never_see_each_others(
    edge: httpx.Client, vendor: SimpleNamespace, new_vendor: Callable[[], SimpleNamespace], receiver: Receiver
):
    """Another vendor's endpoint and messages are 404 on every route, exactly as if they were not there."""
    made, other = make(edge, vendor, receiver.url), new_vendor()
    ping = edge.post(f"{PATH}/{made['id']}/test", headers=vendor.headers).json()["data"]
    own = make(edge, other, receiver.url)
    routes = [("GET", ""), ("DELETE", ""), ("POST", "/rotate"), ("POST", "/enable"), ("POST", "/test")]
    routes += [("GET", "/deliveries"), ("POST", f"/deliveries/{ping['id']}/replay")]
    for method, rest in routes:
        theirs = edge.request(method, f"{PATH}/{made['id']}{rest}", headers=other.headers)
        nobodys = edge.request(method, f"{PATH}/whe_nobody{rest}", headers=other.headers)
        assert (404, 404) == (theirs.status_code, nobodys.status_code)
        assert theirs.json()["error"].replace(made["id"], "") == nobodys.json()["error"].replace("whe_nobody", "")
    mixed = edge.post(f"{PATH}/{own['id']}/deliveries/{ping['id']}/replay", headers=other.headers)
    assert 404 == mixed.status_code
    assert [own["id"]] == [each["id"] for each in edge.get(PATH, headers=other.headers).json()["data"]]


def test_the_life_of_an_endpoint(edge: httpx.Client, edge_house: House, vendor: SimpleNamespace, receiver: Receiver):
    """Made, tested, rotated, replayed, removed; the secret is told twice and never again; each deed is audited."""
    made = make(edge, vendor, receiver.url, "run.finished")
    one = f"{PATH}/{made['id']}"
    sent = edge.post(f"{one}/test", headers=vendor.headers).json()["data"]
    assert ("ping", "pending") == (sent["event_type"], sent["status"])
    assert eventually(lambda: len(receiver.got) == 1)
    assert [("ping", {"webhook_id": made["id"], "message": "A test: nothing happened."})] == told(
        receiver, made["secret"]
    )

    def delivered() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = edge.get(
            f"{one}/deliveries", params={"status": "delivered"}, headers=vendor.headers
        ).json()["data"]
        return found

    assert eventually(lambda: len(delivered()) == 1)
    assert 204 == delivered()[0]["log"][0]["http_status"]
    rotated = edge.post(f"{one}/rotate", params={"overlap_hours": 1}, headers=vendor.headers).json()["data"]
    assert rotated["secret"] != made["secret"]
    edge.post(f"{one}/deliveries/{sent['id']}/replay", headers=vendor.headers)
    assert eventually(lambda: len(receiver.got) == 2)
    assert 1 == len(set(receiver.ids))
    assert told(receiver, made["secret"])[0] == told(SimpleNamespace(got=receiver.got[1:]), rotated["secret"])[0]
    reads = [edge.get(one, headers=vendor.headers), edge.get(PATH, headers=vendor.headers)]
    reads += [edge.delete(one, headers=vendor.headers)]
    assert not any("whsec_" in read.text or "mpc1" in read.text or "mpk1" in read.text for read in reads)
    assert 404 == edge.get(one, headers=vendor.headers).status_code
    with edge_house.db.begin() as tx:
        rows = tx.execute(
            text("SELECT action, detail::text FROM audit_log WHERE subject = :s"), {"s": made["id"]}
        ).all()
    assert {f"webhook.{verb}" for verb in ("create", "test", "rotate", "replay", "remove")} == {r.action for r in rows}
    assert not any("whsec_" in row.detail or "hook?key" in row.detail for row in rows)


@pytest.mark.parametrize("hours", [-1, 721, "x"])
def test_an_overlap_that_is_none(edge: httpx.Client, vendor: SimpleNamespace, receiver: Receiver, hours: Any):
    """422, and the secret stands."""
    made = make(edge, vendor, receiver.url)
    rotated = edge.post(f"{PATH}/{made['id']}/rotate", params={"overlap_hours": hours}, headers=vendor.headers)
    assert 422 == rotated.status_code


def test_a_disabled_endpoint_says_why(edge: httpx.Client, vendor: SimpleNamespace, receiver: Receiver):
    """409 for tests and replays, with the reason; enabling mends it."""
    made = make(edge, vendor, receiver.url)
    one = f"{PATH}/{made['id']}"
    receiver.misdeed = status(410)
    ping = edge.post(f"{one}/test", headers=vendor.headers).json()["data"]
    assert eventually(lambda: edge.get(one, headers=vendor.headers).json()["data"]["status"] == "disabled")
    again = edge.post(f"{one}/deliveries/{ping['id']}/replay", headers=vendor.headers)
    assert (409, True) == (again.status_code, "it answered 410" in again.json()["error"])
    receiver.misdeed = None
    assert "enabled" == edge.post(f"{one}/enable", headers=vendor.headers).json()["data"]["status"]
    assert 200 == edge.post(f"{one}/deliveries/{ping['id']}/replay", headers=vendor.headers).status_code
    assert eventually(lambda: len(receiver.got) == 2)


def test_each_deed_tells_of_itself(
    edge: httpx.Client,
    edge_house: House,
    vendor: SimpleNamespace,
    deployment: SimpleNamespace,
    new_vendor: Callable[[], SimpleNamespace],
):
    """A batch of signals, its consensus, a run's end, a round, a promotion: to the vendor; public ones to all."""
    with receiving() as mine, receiving() as theirs, receiving() as operators:
        secret = make(edge, vendor, mine.url)["secret"]
        other = make(edge, new_vendor(), theirs.url)["secret"]
        public = ["consensus.updated", "round.published"]
        wanted = WebhookRequest(url=operators.url, events=public)
        guard = edge_house.poster.guard
        house_secret = webhooks.create(edge_house.db.begin, edge_house.vault, guard, None, wanted, actor="t").secret
        _push(edge, deployment)
        with edge_house.db.begin() as tx:
            assert consensus.refresh(tx)
        with edge_house.db.begin() as tx:
            round_id = rounds.publish(tx, edge_house.signer, Draft({**MANIFEST}, []), actor="test").round_id
            assert not rounds.publish(tx, edge_house.signer, Draft({**MANIFEST}, []), actor="test").created
        run_id = _cancelled_run(edge, vendor, round_id)
        _promote(edge, vendor)
        assert eventually(lambda: (len(mine.got), len(theirs.got), len(operators.got)) == (5, 2, 2))
        found = dict(told(mine, secret))
    bar = "2026-01-05T00:00:00Z"
    assert {"deployment_id": deployment.id, "accepted": 2, "rows": 3, "first_bar": bar, "last_bar": bar} == found[
        "signal.stored"
    ]
    assert (2, ["EURUSD", "GBPUSD"]) == (found["consensus.updated"]["bars"], found["consensus.updated"]["symbols"])
    assert {"round_id": round_id, "is_current": True} == found["round.published"]
    assert (run_id, "cancelled") == (found["run.finished"]["run_id"], found["run.finished"]["status"])
    assert ("shadow", "pilot") == (found["model.promoted"]["from_stage"], found["model.promoted"]["to_stage"])
    assert sorted(public) == sorted(kind for kind, _ in told(theirs, other))
    assert sorted(public) == sorted(kind for kind, _ in told(operators, house_secret))
    assert b"do not tell" not in b"".join(body for _, body in [*mine.got, *theirs.got, *operators.got])


MANIFEST = {
    "name": "r",
    "timeframe": "1d",
    "symbols": [],
    "horizon": 1,
    "embargo": 0,
    "source": {},
    "code_version": "1",
}


def _push(edge: httpx.Client, deployment: SimpleNamespace) -> None:
    """Three rows, one of them bad; then the same again, which stores and tells nothing."""
    row = {
        "timeframe": "1h",
        "decision": "BUY",
        "confidence": 0.5,
        "model_version": "1",
        "metadata": {"x": "do not tell"},
    }
    row |= {"timestamp": "2026-01-05T00:00:00Z"}
    rows = [row | {"symbol": symbol} for symbol in ("EURUSD", "GBPUSD")] + [{"symbol": "bad"}]
    for _ in range(2):
        pushed = edge.post("/api/signals/store", json=rows, headers=deployment.headers)
        assert 200 == pushed.status_code, pushed.text


def _cancelled_run(edge: httpx.Client, vendor: SimpleNamespace, round_id: str) -> str:
    order = {"round_id": round_id, "task": "signal", "provider": "local"}
    run = edge.post("/api/training/runs", json=order, headers=vendor.headers).json()["data"]
    ended = edge.post(f"/api/training/runs/{run['run_id']}/cancel", headers=vendor.headers)
    assert "cancelled" == ended.json()["data"]["status"]
    return str(run["run_id"])


def _promote(edge: httpx.Client, vendor: SimpleNamespace) -> None:
    wanted = {"name": "trend", "description": "", "task": "signal", "version": "1"}
    made = edge.post("/api/vendors/models", json=wanted, headers=vendor.headers).json()["data"]
    path = f"/api/vendors/models/{made['model_id']}/versions/1"
    assert 200 == edge.patch(path, json={"stage": "pilot"}, headers=vendor.headers).status_code
