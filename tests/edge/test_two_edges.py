"""Two edge processes over one Postgres: limits hold across both, revocations reach both, and either may be killed."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from mp_kit.contracts import DeploymentRequest, VendorStatus
from mp_kit.server.house import House
from mp_kit.server.rates import DEFAULTS
from mp_kit.server.services import deployments, revocation, vendors
from mp_kit.server.services.limits import SHARE
from tests.support.edges import Edge, processes

START = datetime(2024, 1, 1, tzinfo=UTC)
WRITES = DEFAULTS["writes"]


@pytest.fixture(scope="module")
def edges(house: House) -> Iterator[list[Edge]]:
    """Two of them, with the wire's limits for all but pages."""
    with processes(house, 2, MP_LIMITS="public=30/min,failures=10/min") as made:
        yield made


@pytest.fixture(scope="module")
def clients(edges: list[Edge]) -> Iterator[list[httpx.Client]]:
    """A client of each."""
    made = [httpx.Client(base_url=edge.url, timeout=30) for edge in edges]
    yield made
    for client in made:
        client.close()


@pytest.fixture
def new(house: House) -> Callable[[], SimpleNamespace]:
    """A factory of vendors with a deployment: ids, key, headers of both."""

    def create() -> SimpleNamespace:
        with house.db.begin() as tx:
            vendor = vendors.create(tx, house.tokens, f"vendor {time.monotonic_ns()}", actor="test")
            wanted = DeploymentRequest(name="live", provider="byoc")
            made = deployments.create(tx, house.tokens, vendor.vendor_id, wanted, actor="test")
        key, token = ({"Authorization": f"Bearer {one}"} for one in (vendor.api_key, made.infra_token))
        key_id = vendor.api_key.split("_")[1]
        return SimpleNamespace(id=vendor.vendor_id, key_id=key_id, key=key, deployment=made.deployment_id, token=token)

    return create


def rows(count: int, name: str = "EURUSD") -> list[dict[str, Any]]:
    """So many signals."""
    shape = {"symbol": name, "timeframe": "1m", "decision": "BUY", "confidence": 0.5, "model_version": "1"}
    return [{**shape, "timestamp": (START + timedelta(minutes=n)).isoformat()} for n in range(count)]


def push(client: httpx.Client, who: SimpleNamespace, batch: list[dict[str, Any]], key: str | None = None) -> Any:
    """One push."""
    headers = who.token | ({"X-Idempotency-Key": key} if key else {})
    return client.post("/api/signals/store", json=batch, headers=headers)


def test_a_limit_holds_across_both(clients: list[httpx.Client], new: Callable[[], SimpleNamespace]):
    """Of pushes that go to both in turn so many pass as the limit has, and what time and leases may add."""
    who, began = new(), time.monotonic()
    answers = [push(clients[n % 2], who, [{}]) for n in range(WRITES.burst + 40)]
    passed = sum(answer.status_code == 200 for answer in answers)
    assert {200, 429} == {answer.status_code for answer in answers}
    assert WRITES.burst <= passed <= WRITES.burst + (time.monotonic() - began) / WRITES.step + 2 * WRITES.burst / SHARE
    told = answers[-1]
    assert ("rate_limited", "60", "0") == (
        told.json()["code"], told.headers["X-RateLimit-Limit"], told.headers["X-RateLimit-Remaining"],
    )  # fmt: skip
    assert "Retry-After" in told.json()["hint"]
    time.sleep(int(told.headers["Retry-After"]))
    assert 200 == push(clients[1], who, [{}]).status_code
    assert 200 == push(clients[0], new(), [{}]).status_code  # another deployment's are its own


def test_a_forged_address_neither_helps_nor_harms(
    clients: list[httpx.Client], house: House, new: Callable[[], SimpleNamespace]
):
    """Nobody before these edges is trusted: what a request says of its address is nothing."""
    statuses = {
        clients[n % 2].get("/api/catalog", headers={"X-Forwarded-For": f"203.0.113.{n}"}).status_code for n in range(45)
    }
    assert {200, 429} == statuses
    with house.db.begin() as tx:
        counted = tx.execute(text("SELECT key FROM rate_buckets WHERE key LIKE 'public:%'")).scalars().all()
    assert ["public:127.0.0.1"] == counted
    assert {200} == {client.get("/api/health").status_code for client in clients}
    assert {200} == {client.get("/api/vendors/me", headers=new().key).status_code for client in clients}


def refuses(client: httpx.Client, who: SimpleNamespace, status: int) -> None:
    """Waits until an edge refuses what it let in; it remembers for 60 s, so that ten are no forgetting by age."""
    began = time.monotonic()
    while client.get("/api/vendors/me", headers=who.key).status_code != status:
        assert time.monotonic() - began < 10, "the edge still lets it in"
        time.sleep(0.02)


def by_the_vendor(_: House, first: httpx.Client, who: SimpleNamespace) -> None:
    """At the other edge."""
    assert 200 == first.delete(f"/api/vendors/keys/{who.key_id}?force=true", headers=who.key).status_code


def by_the_operator(house: House, _: httpx.Client, who: SimpleNamespace) -> None:
    """By its id."""
    with house.db.begin() as tx:
        revocation.revoke(tx, who.key_id, actor="test")


def by_hand(house: House, _: httpx.Client, who: SimpleNamespace) -> None:
    """In SQL."""
    with house.db.begin() as tx:
        tx.execute(text("UPDATE vendor_keys SET revoked_at = now() WHERE id = :id"), {"id": who.key_id})


def by_suspension(house: House, _: httpx.Client, who: SimpleNamespace) -> None:
    """Of its vendor."""
    with house.db.begin() as tx:
        vendors.set_status(tx, who.id, VendorStatus.SUSPENDED, actor="test")


@pytest.mark.parametrize("revoke", [by_the_vendor, by_the_operator, by_hand, by_suspension])
def test_a_revocation_reaches_both(
    clients: list[httpx.Client],
    house: House,
    new: Callable[[], SimpleNamespace],
    revoke: Callable[..., None],
):
    """Whoever ends it, and though both remember it."""
    who = new()
    for _ in range(2):
        assert {200} == {client.get("/api/vendors/me", headers=who.key).status_code for client in clients}
    revoke(house, clients[0], who)
    for client in reversed(clients):
        refuses(client, who, 403 if revoke is by_suspension else 401)


def ears(house: House) -> list[int]:
    """The database's processes that tell edges of revocations."""
    with house.db.begin() as tx:
        return [row.pid for row in revocation.listeners(tx)]


def test_an_edge_that_is_deaf_asks_the_database(
    clients: list[httpx.Client], house: House, new: Callable[[], SimpleNamespace]
):
    """Both connections are silent without an end, as behind a firewall that forgot them; nothing is let in for that."""
    who = new()
    assert {200} == {client.get("/api/vendors/me", headers=who.key).status_code for client in clients}
    listeners = ears(house)
    assert 2 == len(listeners)
    for pid in listeners:
        os.kill(pid, signal.SIGSTOP)
    try:
        by_hand(house, clients[0], who)
        for client in clients:
            refuses(client, who, 401)
        assert {200} == {client.get("/api/vendors/me", headers=new().key).status_code for client in clients}
    finally:
        for pid in listeners:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.hardening
def test_an_edge_whose_ear_broke_listens_again(
    clients: list[httpx.Client], house: House, new: Callable[[], SimpleNamespace]
):
    """And what was revoked meanwhile is no longer let in."""
    who, listeners = new(), ears(house)
    assert {200} == {client.get("/api/vendors/me", headers=who.key).status_code for client in clients}
    with house.db.begin() as tx:
        for pid in listeners:
            tx.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    by_hand(house, clients[0], who)
    for client in clients:
        refuses(client, who, 401)
    deadline = time.monotonic() + 20
    while len(ears(house)) < 2 or set(ears(house)) & set(listeners):
        assert time.monotonic() < deadline, "nobody listens again"
        time.sleep(0.05)


def stored(house: House, who: SimpleNamespace) -> list[tuple[str, datetime]]:
    """What is stored of a deployment."""
    found = text("SELECT symbol, event_time FROM signals WHERE deployment_id = :id ORDER BY 1, 2")
    with house.db.begin() as tx:
        return [(row.symbol, row.event_time) for row in tx.execute(found, {"id": who.deployment})]


def storm(edges: list[Edge], who: SimpleNamespace, seconds: float, seed: int) -> tuple[int, int]:
    """Pushes of 300 signals while one edge after another is killed and started anew.

    Returns:
        Batches that were acknowledged, and pushes that were sent once more.
    """
    dice, over, again = random.Random(seed), threading.Event(), 0

    def murder() -> None:
        while not over.wait(dice.uniform(0.2, 1.0)):
            edge = dice.choice(edges)
            edge.kill()
            edge.start()
            edge.await_ready()  # the other one answers meanwhile

    killer = threading.Thread(target=murder)
    killer.start()
    ends, number = time.monotonic() + seconds, 0
    try:
        while time.monotonic() < ends:
            batch, where = rows(300, f"S{number}"), number
            while True:
                where += 1
                with suppress(httpx.TransportError):
                    body = json.dumps(batch).encode()
                    headers = who.token | {"X-Idempotency-Key": f"storm:{seed}:{number}"}
                    url = f"{edges[where % len(edges)].url}/api/signals/store"
                    answer = httpx.post(url, content=body, headers=headers, timeout=20)
                    if answer.status_code == 200:
                        told = answer.json()["data"]
                        assert (300, 0, 0) == (
                            told["accepted"] + told["duplicates"], told["rejected"], told["conflicts"],
                        )  # fmt: skip
                        break
                    assert answer.status_code in {429, 503}, answer.text
                    time.sleep(float(answer.headers["Retry-After"]) / 4)
                again += 1
                time.sleep(0.02)
            number += 1
    finally:
        over.set()
        killer.join()
    return number, again


def test_killing_either_loses_nothing(edges: list[Edge], house: House, new: Callable[[], SimpleNamespace]):
    """A push that an edge died under is sent to the other one under its key: every signal is there, once."""
    who = new()
    acknowledged, again = storm(edges, who, 4, seed=8)
    found = stored(house, who)
    assert acknowledged * 300 == len(set(found)) == len(found)
    assert again > 0


@pytest.mark.hardening
def test_killing_either_for_minutes_loses_nothing(house: House, new: Callable[[], SimpleNamespace]):
    """The same for two minutes, without limits, so that kills meet pushes at every instant."""
    who = new()
    with processes(house, 2, MP_LIMITS="off") as fresh:
        acknowledged, again = storm(fresh, who, 120, seed=88)
    found = stored(house, who)
    assert acknowledged * 300 == len(set(found)) == len(found)
    assert (acknowledged > 100, again > 10) == (True, True)
