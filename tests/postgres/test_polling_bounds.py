"""Bounds of asking: the breaker, the vendor's day, turns, two flows at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from polls import MINUTE, answering, ask, change, execute, live, newest, poller, shown, stored, vendor, wanting
from receivers import Receiver, receiving, status
from sqlalchemy import text
from webhook_steps import count, endpoint

from mp_kit.contracts import PollBreaker, WebhookEventType
from mp_kit.server.house import House
from mp_kit.server.services.poll_breaker import Rules
from mp_kit.server.services.poll_calls import Budget, Claim, Refusal, Terms, claim
from mp_kit.server.services.poller import ask_all
from mp_kit.server.store.polling import Bar


@pytest.fixture
def server() -> Iterator[Receiver]:
    with receiving() as found:
        found.misdeed = answering()
        yield found


@pytest.fixture(autouse=True)
def _own_polls(house: House) -> Iterator[None]:
    """No deployment of another test's is asked."""
    yield
    execute(house, "TRUNCATE pollings, polls, poll_budgets, webhook_endpoints, webhook_events, webhook_deliveries")


def slow(handler: Any) -> None:
    time.sleep(0.3)
    answering()(handler)


def test_the_breaker_opens_and_is_told_of(house: House, server: Receiver):
    """Three failures cost three calls; then one call a wait, however many bars wait; one that goes well closes it."""
    owner = vendor(house)
    kinds = (WebhookEventType.POLL_PAUSED, WebhookEventType.POLL_RESUMED)
    endpoint(house, owner, "http://127.0.0.1:9999/", *kinds)
    made = wanting(house, owner, server.url)
    server.misdeed = status(500)
    bars = live(*(f"S{number}" for number in range(8)))
    outcomes = [one.outcome for one in ask(house, bars)]
    assert (3, ["failed"] * 3 + ["not asked"]) == (len(server.got), outcomes)
    seen = shown(house, owner, made)
    assert PollBreaker.OPEN is (seen.polling and seen.polling.breaker)
    assert "3 calls in a row failed (the last: it answered 500)" in str(seen.words)
    assert [] == ask(house, bars)
    execute(house, "UPDATE pollings SET retry_at = now()")
    assert (["failed"], 4) == ([one.outcome for one in ask(house, bars)], len(server.got))
    execute(house, "UPDATE pollings SET retry_at = now()")
    server.misdeed = answering()
    assert (["accepted"], 5) == ([one.outcome for one in ask(house, bars)], len(server.got))
    assert PollBreaker.CLOSED is getattr(shown(house, owner, made).polling, "breaker", None)
    assert 2 == count(house, "webhook_events")
    assert 7 == len(ask(house, bars))


def test_the_breakers_one_call_is_one_call(house: House, server: Receiver):
    """Of two flows at once, one makes it; who dies making it leaves it to another after the lease."""
    wanting(house, vendor(house), server.url)
    execute(house, "UPDATE pollings SET failures = 3, opens = 1, retry_at = now()")
    bar = Bar(deployment_of(house), "EURUSD", "1m", newest())
    with house.db.begin() as tx:
        first = claim(tx, bar, Terms())
    assert isinstance(first, Claim)
    assert first.probe
    with house.db.begin() as tx:
        assert Refusal.BREAKER is claim(tx, bar._replace(symbol="GBPUSD"), Terms())
    execute(house, "UPDATE pollings SET retry_at = now()")
    with house.db.begin() as tx:
        assert isinstance(claim(tx, bar._replace(symbol="GBPUSD"), Terms()), Claim)


def test_saying_so_again_closes_the_breaker(house: House, server: Receiver):
    """Who mended the server need not wait; turned off, it is not asked."""
    owner = vendor(house)
    made = wanting(house, owner, server.url)
    execute(house, "UPDATE pollings SET failures = 3, opens = 5, retry_at = now() + interval '1 hour'")
    change(house, owner, made, poll=True)
    assert 1 == len(ask(house, live()))
    change(house, owner, made, poll=False)
    assert [] == ask(house, live(at=newest() + MINUTE))


def test_a_spent_day_is_said_and_ends_at_midnight(house: House, server: Receiver):
    """Calls and seconds are bounded, for all deployments of the vendor together, and exactly."""
    owner, other = vendor(house), vendor(house)
    made, second = wanting(house, owner, server.url), wanting(house, owner, server.url)
    wanting(house, other, server.url)
    bars = live(*(f"S{number}" for number in range(4)))
    asked = ask(house, bars, budget=Budget(5, 3_600), each=4)
    mine = [one.outcome for one in asked if one.deployment_id in {made, second}]
    assert (5, True, 4) == (mine.count("accepted"), "not asked" in mine, len(asked) - len(mine))
    told = shown(house, owner, second)
    assert (5, 5, True) == (told.polling.calls_today, told.polling.calls_per_day, told.polling.exhausted)  # type: ignore[union-attr]
    assert "until 00:00 UTC" in str(told.words)
    execute(house, "UPDATE poll_budgets SET day = day - 1")
    assert "until 00:00 UTC" not in str(shown(house, owner, second).words)
    assert {"accepted"} == {one.outcome for one in ask(house, bars, budget=Budget(5, 3_600))}
    execute(house, "TRUNCATE polls, poll_budgets")
    refused = ask(house, bars, budget=Budget(100, 1), seconds=2)
    assert {"not asked"} == {one.outcome for one in refused}


def test_two_flows_at_once_ask_once(house: House, server: Receiver):
    """Whoever claims a bar asks about it alone."""
    server.misdeed = slow
    mine = [wanting(house, vendor(house), server.url) for _ in range(3)]
    bars = live("EURUSD", "GBPUSD")
    with ThreadPoolExecutor(2) as pool:
        rounds = list(pool.map(lambda _: ask_all(poller(house), bars, seconds=20), range(2)))
    accepted = [one for asked in rounds for one in asked if one.outcome == "accepted"]
    assert (6, 6) == (len(accepted), len(server.got))
    assert [2, 2, 2] == [len(stored(house, one)) for one in mine]


def test_a_slow_vendor_holds_up_nobody(house: House, server: Receiver):
    """It has one call under way, and others are answered meanwhile; all of theirs are."""
    with receiving() as stuck:
        stuck.misdeed = stuck.hang
        sluggish = wanting(house, vendor(house), stuck.url)
        quick = {wanting(house, vendor(house), server.url) for _ in range(3)}
        bars = live(*(f"S{number}" for number in range(4)))
        asked = ask(house, bars, seconds=1.0, rules=Rules(failures=2), threads=2)
    accepted = [one.deployment_id for one in asked if one.outcome == "accepted"]
    assert (12, quick) == (len(accepted), {*accepted})
    assert ("accepted", 2) == (asked[0].outcome, len(stuck.got))
    assert ["failed", "failed", "not asked"] == [one.outcome for one in asked if one.deployment_id == sluggish]


def test_no_call_outlasts_the_round(house: House, server: Receiver):
    """What cannot be through in time is left for the next one."""
    wanting(house, vendor(house), server.url)
    assert (["left"], []) == ([one.outcome for one in ask(house, live(), seconds=5.0, within=4.0)], server.got)
    assert ["accepted"] == [one.outcome for one in ask(house, live(), seconds=5.0)]


def deployment_of(house: House) -> str:
    with house.db.begin() as tx:
        return str(tx.execute(text("SELECT deployment_id FROM pollings")).scalar_one())
