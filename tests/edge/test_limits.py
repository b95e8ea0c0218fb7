"""Limits over HTTP: who is counted where, what the headers say, and that wrong secrets starve nobody."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from mp_kit.client.http import Patience
from mp_kit.client.marketplace import Marketplace
from mp_kit.server.house import House
from mp_kit.server.processes import free_port
from mp_kit.server.rates import parse
from mp_kit.server.wiring import build
from tests.support.edges import serving

NARROW = "writes=2/min heartbeats=120/h:2 vendor=3/min pages=3/min public=6/min runs=2/min failures=4/min"
WRONG = "vk_0123456789abcdef_" + "A" * 43


@pytest.fixture(scope="module")
def edge_house(house: House) -> Iterator[House]:
    """A house with limits so narrow that a few requests use them up."""
    base_url = f"http://127.0.0.1:{free_port()}"
    built = build(replace(house.settings, base_url=base_url, limits=parse(NARROW)))
    yield built
    built.close()


@pytest.fixture(autouse=True)
def _fresh(edge_house: House) -> None:
    """All tests come from one address: each begins with full buckets."""
    with edge_house.db.begin() as tx:
        tx.execute(text("DELETE FROM rate_buckets"))
    with edge_house.limiter._changed:
        edge_house.limiter._purses.clear()
        edge_house.limiter._due.clear()


def statuses(ask: Callable[[], httpx.Response], times: int) -> list[int]:
    """What so many requests are answered with."""
    return [ask().status_code for _ in range(times)]


def test_writes_are_a_deployments(
    edge: httpx.Client, deployment: SimpleNamespace, vendor: SimpleNamespace, new_vendor: Callable[[], SimpleNamespace]
):
    """Signals and consensus of a deployment share a limit; its heartbeats, its vendor and others have their own."""

    def push() -> httpx.Response:
        return edge.post("/api/signals/store", json=[{}], headers=deployment.headers)

    assert [200, 200, 429] == statuses(push, 3)
    assert 429 == edge.post("/api/consensus/store", json=[{}], headers=deployment.headers).status_code
    beat = {"deployment_id": deployment.id, "status": "ready", "timestamp": "2026-01-05T10:00:00Z"}
    beats = lambda: edge.post("/api/vendors/heartbeats", json=beat, headers=deployment.headers)  # noqa: E731
    assert [200, 200, 429] == statuses(beats, 3)
    assert 200 == edge.get("/api/vendors/me", headers=deployment.headers).status_code
    for who in (vendor, new_vendor()):
        assert [200, 200, 200, 429] == statuses(lambda who=who: edge.get("/api/vendors/me", headers=who.headers), 4)


def test_the_headers_are_exact(edge: httpx.Client, deployment: SimpleNamespace):
    """What is left and when all is there again on each answer; when to come back on the one that is refused."""
    answers = [edge.post("/api/signals/store", json=[{}], headers=deployment.headers) for _ in range(3)]
    told = [{name: int(answer.headers[f"X-RateLimit-{name}"]) for name in ("Limit", "Remaining", "Reset")}
            for answer in answers]  # fmt: skip
    assert [2, 2, 2] == [one["Limit"] for one in told]
    assert [1, 0, 0] == [one["Remaining"] for one in told]
    assert 59 <= told[2]["Reset"] - time.time() <= 61
    refused = answers[2]
    assert 25 <= int(refused.headers["Retry-After"]) <= 30
    assert ("rate_limited", False, True) == (
        refused.json()["code"], refused.json()["success"], "2/min" in refused.json()["error"],
    )  # fmt: skip
    assert {"X-Request-Id", "X-Marketplace-Contracts-Version"} <= {name.title() for name in refused.headers} | {
        "X-Marketplace-Contracts-Version"
    }
    assert "Retry-After" not in answers[0].headers


def test_public_routes_are_an_addresss(edge: httpx.Client):
    """All of them together, pages too; health, files and what never changes are free."""
    paths = ["/api/catalog", "/api/leaderboard", "/marketplace", "/docs", "/api/rounds/keys", "/openapi.json"]
    assert {200} == {edge.get(path).status_code for path in paths}
    for path in paths:
        refused = edge.get(path)
        assert (429, "6", True) == (
            refused.status_code, refused.headers["X-RateLimit-Limit"], "Retry-After" in refused.headers,
        )  # fmt: skip
    assert [200] * 8 == statuses(lambda: edge.get("/api/health"), 8)
    assert [403] * 8 == statuses(lambda: edge.get("/files/nothing"), 8)
    assert [200] * 8 == statuses(lambda: edge.get("/marketplace/static/console.css"), 8)


def test_pages_of_somebody_signed_in_are_a_vendors(edge: httpx.Client, edge_house: House, vendor: SimpleNamespace):
    """Apart from its API's limit, and from its address's."""
    session = edge.post("/api/vendors/login", json={"api_key": vendor.key}).json()["data"]["token"]
    with httpx.Client(base_url=edge_house.settings.base_url, cookies={"mp_session": session}) as browser:
        assert [200, 200, 200, 429] == statuses(lambda: browser.get("/marketplace/vendor"), 4)
        assert "Too many" in browser.get("/marketplace/vendor").text
    assert 200 == edge.get("/marketplace").status_code
    assert 200 == edge.get("/api/vendors/me", headers=vendor.headers).status_code


def test_run_tokens_have_their_own(edge: httpx.Client, edge_house: House, vendor: SimpleNamespace):
    """Per run."""
    from mp_kit.server.services.tokens import ends_in

    token = edge_house.tokens.run_token("run_x", vendor.id, ends_in(1))
    headers = {"Authorization": f"Bearer {token}"}
    asked = lambda: edge.post("/api/training/runs/run_x/heartbeat", json={}, headers=headers)  # noqa: E731
    assert [404, 404, 429] == statuses(asked, 3)


def test_the_operator_has_none(edge: httpx.Client, edge_house: House):
    """With the service key."""
    headers = {"Authorization": f"Bearer {edge_house.settings.service_key}"}
    assert {200} == set(statuses(lambda: edge.get("/api/rounds", headers=headers), 12))
    ask = lambda: edge.post("/api/tokens/introspect", json={"token": WRONG}, headers=headers)  # noqa: E731
    assert [200] * 6 + [429] == statuses(ask, 7)  # the route is everybody's; but no wrong token counted
    assert edge_house.limiter.refused("failures", "127.0.0.1") is None


def test_wrong_tokens_close_the_door_for_new_ones_alone(
    edge: httpx.Client, edge_house: House, vendor: SimpleNamespace, new_vendor: Callable[[], SimpleNamespace]
):
    """Of that address: whose token was seen before goes on, though it be forgotten meanwhile."""
    assert 200 == edge.get("/api/vendors/me", headers=vendor.headers).status_code
    wrong = {"Authorization": f"Bearer {vendor.key[:-5]}AAAAA"}
    assert [401] * 4 + [429] * 3 == statuses(lambda: edge.get("/api/vendors/me", headers=wrong), 7)
    stranger = new_vendor()
    refused = edge.get("/api/vendors/me", headers=stranger.headers)
    assert (429, True) == (refused.status_code, "your address" in refused.json()["error"])
    assert 1 <= int(refused.headers["Retry-After"]) <= 15
    edge_house.tokens.forget()
    assert 200 == edge.get("/api/vendors/me", headers=vendor.headers).status_code


@pytest.mark.parametrize(
    ("path", "body", "usual"),
    [
        ("/api/vendors/login", {"api_key": WRONG}, 401),
        ("/api/marketplace/vendor/auth/validate", {"api_key": WRONG}, 200),
        ("/api/marketplace/vendor/auth/rotate", {"current_api_key": WRONG}, 401),
        ("/api/marketplace/vendor/auth/exchange", {"auth_code": "ac_0123456789abcdef_" + "A" * 43}, 401),
        ("/api/tokens/introspect", {"token": WRONG}, 200),
    ],
)
def test_wrong_secrets_in_bodies_count_too(edge: httpx.Client, path: str, body: dict[str, str], usual: int):
    """Wherever one is shown."""
    assert [usual] * 4 + [429] == statuses(lambda: edge.post(path, json=body), 5)


def test_a_flood_of_wrong_secrets_takes_no_handlers_place(
    edge: httpx.Client, edge_house: House, vendor: SimpleNamespace
):
    """All Argon2 runs stand still; who is known is answered, and of the others no more wait than may."""
    assert 200 == edge.get("/api/vendors/me", headers=vendor.headers).status_code
    wrong = {"Authorization": f"Bearer {vendor.key[:-5]}AAAAA"}
    answers: list[int] = []

    def knock(way: Callable[[], httpx.Response]) -> None:
        answers.append(way().status_code)

    ways: list[Callable[[], httpx.Response]] = [
        lambda: httpx.get(f"{edge.base_url}/api/vendors/me", headers=wrong, timeout=30),
        lambda: httpx.post(f"{edge.base_url}/api/vendors/login", json={"api_key": vendor.key[:-5] + "AAAAA"}),
    ]
    with edge_house.tokens._argon, edge_house.tokens._argon:
        threads = [threading.Thread(target=knock, args=(ways[n % 2],)) for n in range(24)]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        assert 200 == edge.get("/api/vendors/me", headers=vendor.headers).status_code
        assert 200 == edge.get("/api/health").status_code
    for thread in threads:
        thread.join()
    assert 24 == len(answers)
    assert {401, 429, 503} >= set(answers)
    assert 503 in answers


def signal(number: int) -> dict[str, Any]:
    """A signal of its own minute."""
    shape = {"symbol": "EURUSD", "timeframe": "1m", "decision": "BUY", "confidence": 0.5, "model_version": "1"}
    return {**shape, "timestamp": f"2026-01-05T10:{number:02}:00Z"}


def test_an_outbox_loses_nothing_to_a_limit(
    house: House,
    vendor: SimpleNamespace,
    deployment: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """Who waits as Retry-After says gets through; who does not finds all in the outbox, and sends it later."""
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    base_url = f"http://127.0.0.1:{free_port()}"
    narrow, wide = (
        build(replace(house.settings, base_url=base_url, limits=parse(f"writes={rate}:3")))
        for rate in ("6/h", "60/min")
    )
    push = {"token": deployment.token, "deployment_id": deployment.id}
    with serving(narrow), Marketplace(base_url, vendor.key, patience=Patience(attempts=1)) as hasty:
        for number in range(6):
            hasty.signals.push([signal(number)], **push)
        assert 3 == len(hasty.signals.pending())
    with serving(wide), Marketplace(base_url, vendor.key) as patient:
        patient.signals.push([signal(6)], **push)
        assert (0, 0) == (len(patient.signals.pending()), len(patient.signals.rejected()))
    with wide.db.begin() as tx:
        count = text("SELECT count(*), count(DISTINCT event_time) FROM signals WHERE deployment_id = :id")
        assert (7, 7) == tuple(tx.execute(count, {"id": deployment.id}).one())
    for built in (narrow, wide):
        built.close()


def test_a_trusted_proxy_says_whose_request_it_is(house: House):
    """The last address that no trusted one wrote; what a client wrote before it is nothing."""
    base_url = f"http://127.0.0.1:{free_port()}"
    limits, trusted = parse("public=3/min"), ("127.0.0.1", "10.0.0.0/8")
    behind = build(replace(house.settings, base_url=base_url, limits=limits, trusted_proxies=trusted))

    def asked(addresses: list[str]) -> list[int]:
        ways = [{"X-Forwarded-For": address} for address in addresses]
        return [httpx.get(f"{base_url}/api/catalog", headers=way).status_code for way in ways]

    with serving(behind):
        assert [200] * 3 + [429] == asked([f"198.51.100.{number}, 203.0.113.7, 10.1.2.3" for number in range(4)])
        assert [200] * 3 + [429] == asked([f"2001:db8:1:2::{number}" for number in range(4)])
        assert [200] == asked(["203.0.113.8"])
    behind.close()
