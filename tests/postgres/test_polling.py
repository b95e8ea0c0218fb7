"""Asking deployments at bars' closes, over servers that misbehave: what is stored, paid, and left alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from polls import MINUTE, answering, ask, change, execute, live, newest, shown, stored, vendor, wanting
from receivers import Receiver, cut, endless, receiving, status
from sqlalchemy import text
from webhook_steps import count, endpoint

from mp_kit.contracts import ModelRegistration, Task, WebhookEventType
from mp_kit.errors import AuthError, InvalidInputError, NotFoundError
from mp_kit.server.house import House
from mp_kit.server.providers.addresses import AddressGuard
from mp_kit.server.providers.inference import Said
from mp_kit.server.services import deployments, models, polling
from mp_kit.server.services.ids import new_id
from mp_kit.server.services.poll_calls import Claim, Terms, claim, note
from mp_kit.server.store.polling import Bar
from tests.support.hosts import MemoryHost, everywhere

RUN = """INSERT INTO training_runs (id, vendor_id, round_id, task, provider, state, body_sha256, finished_at)
         VALUES (:run, :vendor, :round, 'signal', 'local', 'succeeded', '', now())"""
ROUND = """INSERT INTO dataset_rounds
           (id, name, fingerprint, manifest, manifest_sha256, manifest_key_id, manifest_signature)
           VALUES (:round, 'r', :round, convert_to('{"timeframe": "1h"}', 'UTF8'), '', 'k', '')"""
HOSTED = """INSERT INTO hostings (deployment_id, vendor_id, provider, kind, state, provider_ref, provider_data)
            SELECT :id, :vendor, 'runpod', 'endpoint', 'running', 'e1',
                   jsonb_build_object('endpoint', CAST(:where AS text))"""


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


def drip(handler: Any) -> None:
    """A good status, then its body a byte at a time, each well within any read's time-out."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
    for _ in range(200):
        handler.wfile.write(b" ")
        time.sleep(0.05)


def hang_up(handler: Any) -> None:
    """Dies in the middle of its answer."""
    handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"decision": "BUY"')


MISDEEDS: dict[str, tuple[Any, str, bool]] = {
    "a slow trickle": (drip, "did not answer within", True),
    "cut in its status": (cut, "connection failed", True),
    "killed in its answer": (hang_up, "connection failed", True),
    "without end": (endless, "larger than", False),
    "500": (status(500, b"Traceback: secret"), "it answered 500", True),
    "503": (status(503), "it answered 503", True),
    "422": (status(422, b'{"error": "secret"}'), "it answered 422", False),
    "a redirect": (status(307, Location="http://169.254.169.254/"), "redirects are not followed", False),
    "no content": (status(204), "only 200", False),
    "compressed": (status(200, b"x", Content_Encoding="gzip"), "compressed", False),
    "garbage": (status(200, b"<html>secret</html>"), "no JSON", False),
    "NaN": (answering(confidence=float("nan")), "no JSON", False),
    "a huge body": (answering(rationale=["secret " * 30_000]), "larger than", False),
    "an odd word": (answering(decision="secret"), "decision", False),
    "metadata that cannot be kept": (answering(metadata={"a": "\x00"}), "NUL", False),
}


@pytest.mark.parametrize("case", MISDEEDS)
def test_a_bad_answer_is_no_signal(house: House, server: Receiver, case: str):
    """Nothing is stored; why stands in our words; only what may pass is asked again; the wait is paid as it was."""
    server.misdeed, said, passes = MISDEEDS[case]
    owner = vendor(house)
    made = wanting(house, owner, server.url)
    bars = live()
    [asked] = ask(house, bars, seconds=0.5)
    assert (True, True) == (asked.outcome in {"failed", "rejected"}, said in str(asked.reason)), asked
    assert "secret" not in str(asked.reason)
    assert [] == stored(house, made)
    told = shown(house, owner, made).polling
    assert told is not None
    assert (1, 1, asked.reason) == (told.failures, told.calls_today, told.last_reason)
    assert asked.milliseconds is not None
    assert asked.milliseconds <= 1_000 * told.seconds_today + 1 <= 600
    again = ask(house, bars, seconds=0.5)
    assert passes == bool(again)


def test_a_good_answer_is_a_signal_of_the_deployment(house: House, server: Receiver):
    """Marked as a dry run, asked once, with the newest bar last; attributed, receipted and told as a push would be."""
    owner = vendor(house)
    endpoint(house, owner, server.url.replace("hook", "news"), WebhookEventType.SIGNAL_STORED)
    made = wanting(house, owner, server.url)
    bars = live()
    [asked] = ask(house, bars)
    assert ("accepted", 200, None) == (asked.outcome, asked.http_status, asked.reason)
    assert [] == ask(house, bars)
    [(headers, body)] = server.got
    assert ("true", "identity", None) == (
        headers["x-marketplace-dry-run"],
        headers["accept-encoding"],
        headers.get("authorization"),
    )
    assert bars.windows[0].question() == body
    [signal] = stored(house, made)
    assert (owner, "BUY", 0.75, False) == (signal.vendor_id, signal.decision, signal.confidence, signal.late)
    assert bars.windows[0].event_time == signal.event_time
    with house.db.begin() as tx:
        receipts = tx.execute(text("SELECT count(*) FROM signal_receipts WHERE deployment_id = :id"), {"id": made})
        assert 1 == receipts.scalar_one()
        [poll] = deployments.polls(tx, owner, made, 10)
    assert ("accepted", False, 1) == (poll.outcome, poll.late, poll.attempts)
    assert 1 == count(house, "webhook_deliveries")
    assert "is asked at each bar's close" in str(shown(house, owner, made).words)


def test_an_old_bar_is_late_and_an_older_one_is_not_asked_about(house: House, server: Receiver):
    """By the usual rule; and nothing goes back in time."""
    made = wanting(house, vendor(house), server.url)
    old = datetime(2026, 1, 5, 10, tzinfo=UTC)
    ask(house, live(at=old))
    assert [True] == [signal.late for signal in stored(house, made)]
    assert [] == ask(house, live(at=old - MINUTE))
    assert ["accepted"] == [one.outcome for one in ask(house, live(at=old + MINUTE))]


def test_what_was_pushed_is_told_apart(house: House, server: Receiver):
    """The same again is a duplicate, another decision a conflict; neither is a failure."""
    owner = vendor(house)
    made = wanting(house, owner, server.url)
    bars = live("EURUSD", "GBPUSD")
    ask(house, bars)
    execute(house, "DELETE FROM polls")
    execute(house, "UPDATE signals SET decision = 'SELL' WHERE deployment_id = :id AND symbol = 'GBPUSD'", id=made)
    assert {"EURUSD": "duplicate", "GBPUSD": "conflict"} == {one.symbol: one.outcome for one in ask(house, bars)}
    told = shown(house, owner, made).polling
    assert (0, 2) == (told and told.failures, len(stored(house, made)))


def test_another_version_than_the_deployments(house: House, server: Receiver):
    """It is refused, and the vendor reads what to do."""
    owner = vendor(house)
    with house.db.begin() as tx:
        registered = models.register(tx, owner, ModelRegistration(name="m", task=Task.SIGNAL, version="2"))
    made = wanting(house, owner, server.url, model_id=registered.model_id)
    [asked] = ask(house, live())
    assert ("failed", True) == (asked.outcome, "MODEL_VERSION" in str(asked.reason))
    server.misdeed = answering(model_version="2")
    assert ["accepted"] == [one.outcome for one in ask(house, live(at=newest() + MINUTE))]
    assert ["2"] == [signal.model_version for signal in stored(house, made)]


def test_private_addresses_are_not_asked(house: House, server: Receiver):
    """Whatever the name led to when it was stored: it is checked again, and nothing is sent."""
    wanting(house, vendor(house), server.url.replace("http:", "https:"))
    [asked] = ask(house, live(), guard=AddressGuard())
    assert ("failed", True, []) == (asked.outcome, "not public" in str(asked.reason), server.got)


def test_who_may_not_act_is_not_asked(house: House, server: Receiver):
    """A suspended vendor; one that is suspended while it answers gets nothing stored."""
    owner = vendor(house)
    made = wanting(house, owner, server.url)

    def suspended(handler: Any) -> None:
        execute(house, "UPDATE marketplace_vendors SET status = 'suspended' WHERE id = :id", id=owner)
        answering()(handler)

    server.misdeed = suspended
    [asked] = ask(house, live())
    assert ("rejected", "the vendor is suspended", []) == (asked.outcome, asked.reason, stored(house, made))
    assert [] == ask(house, live(at=newest() + MINUTE))


def test_a_hosted_server_is_asked_where_its_provider_said(house: House, server: Receiver):
    """With its vendor's key; nowhere else, and not once it is to be removed."""
    owner, host = vendor(house), MemoryHost()
    made = wanting(house, owner, server.url)
    where = server.url.rpartition("/")[0]
    execute(house, "UPDATE pollings SET infer_url = NULL")
    execute(house, HOSTED, id=made, vendor=owner, where=where)
    assert ["accepted"] == [one.outcome for one in ask(house, live(), hosts=everywhere(host))]
    assert "Bearer key-of-the-vendor" == server.got[0][0]["authorization"]
    with pytest.raises(InvalidInputError, match="knows its address"):
        change(house, owner, made, infer_url=server.url)
    later = live(at=newest() + MINUTE)
    assert ["failed"] == [one.outcome for one in ask(house, later)]
    execute(house, "UPDATE hostings SET wanted = 'removed'")
    assert [] == ask(house, later, hosts=everywhere(host))
    execute(house, "DELETE FROM hostings")


def test_a_server_that_asks_its_callers_is_shown_a_pass(house: House, server: Receiver):
    """A token of the deployment, good for being asked about and nothing else; the same for a round, and then gone."""
    owner, host, seen = vendor(house), MemoryHost(), []
    host.asks_callers = True
    made = wanting(house, owner, server.url)
    execute(house, "UPDATE pollings SET infer_url = NULL")
    execute(house, HOSTED, id=made, vendor=owner, where=server.url.rpartition("/")[0])

    def asking(handler: Any) -> None:
        token = handler.headers["authorization"].removeprefix("Bearer ")
        seen.append((token, house.tokens.authenticate(token, house.db.begin)))
        answering()(handler)

    server.misdeed = asking
    try:
        assert ["accepted"] * 2 == [one.outcome for one in ask(house, live("A", "B"), hosts=everywhere(host))]
        [(token, who), (again, _)] = seen
        assert (again, owner, made, []) == (token, who.vendor_id, who.deployment_id, who.scope["routes"])
        house.tokens.forget()
        with pytest.raises(AuthError):
            house.tokens.authenticate(token, house.db.begin)
    finally:
        execute(house, "DELETE FROM hostings")


def test_a_flow_that_is_killed_between_call_and_store(house: House, server: Receiver):
    """Its claim is taken again after its lease; what comes from the dead one then is dropped."""
    made = wanting(house, vendor(house), server.url)
    bar, terms = Bar(made, "EURUSD", "1m", newest()), Terms()
    with house.db.begin() as tx:
        dead = claim(tx, bar, terms)
    assert isinstance(dead, Claim)
    assert [] == ask(house, live())
    execute(house, "UPDATE polls SET locked_until = now()")
    assert ["accepted"] == [one.outcome for one in ask(house, live(at=bar.event_time))]
    with house.db.begin() as tx:
        assert note(tx, house.signer, dead, Said(b"{}", 200), terms) is None
    assert 1 == len(stored(house, made))
    for _ in range(9):
        execute(house, "UPDATE polls SET state = 'asking', lock_token = 'x', locked_until = now()")
        ask(house, live(at=bar.event_time))
    assert terms.attempts == len(server.got) + 1


def test_bounds_of_the_vendor_and_of_the_training(house: House, server: Receiver):
    """Symbols and timeframes that it names; bars of the round that its model was trained on."""
    owner = vendor(house)
    wanting(house, owner, server.url, poll_symbols=["EURUSD"])
    wanting(house, owner, server.url, poll_timeframes=["1d"])
    run, round_id = new_id("run"), new_id("rnd")
    execute(house, "INSERT INTO signing_keys (id, public_key) VALUES ('k', '') ON CONFLICT DO NOTHING")
    execute(house, ROUND, round=round_id)
    execute(house, RUN, run=run, vendor=owner, round=round_id)
    with house.db.begin() as tx:
        trained = ModelRegistration(name="t", task=Task.SIGNAL, version="1", run_id=run)
        model = models.register(tx, owner, trained).model_id
    hourly = wanting(house, owner, server.url, model_id=model)
    bars = live("EURUSD", "GBPUSD")
    assert ["EURUSD"] == [one.symbol for one in ask(house, bars)]
    closed = live("USDJPY", at=datetime(2026, 1, 5, 10, tzinfo=UTC), timeframe="1h")
    assert [hourly] == [one.deployment_id for one in ask(house, closed)]


def test_only_models_that_answer_to_bars(house: House, server: Receiver):
    """A consensus model is refused when it is wanted, and left out when it becomes one."""
    owner = vendor(house)
    with house.db.begin() as tx:
        made = models.register(tx, owner, ModelRegistration(name="c", task=Task.CONSENSUS, version="1"))
    with pytest.raises(InvalidInputError, match="consensus"):
        wanting(house, owner, server.url, model_id=made.model_id)
    later = wanting(house, owner, server.url)
    execute(house, "UPDATE deployments SET model_id = :model WHERE id = :id", model=made.model_id, id=later)
    assert [] == ask(house, live())


def test_who_runs_it_says_where(house: House):
    """Without an address it cannot be wanted; another vendor's deployment does not exist."""
    owner = vendor(house)
    made = wanting(house, owner, "http://127.0.0.1:9/infer", poll=False)
    execute(house, "DELETE FROM pollings")
    with pytest.raises(InvalidInputError, match="does not know where"):
        change(house, owner, made, poll=True)
    with pytest.raises(NotFoundError):
        change(house, vendor(house), made, poll=True)
    with house.db.begin() as tx, pytest.raises(NotFoundError):
        deployments.polls(tx, vendor(house), made, 5)


def test_old_polls_are_forgotten_but_the_newest(house: House, server: Receiver):
    """So that its bar is not asked about anew."""
    wanting(house, vendor(house), server.url)
    old = datetime(2026, 1, 5, 10, tzinfo=UTC)
    for step in range(3):
        ask(house, live(at=old + step * MINUTE))
    execute(house, "UPDATE polls SET asked_at = now() - interval '31 days'")
    execute(house, "UPDATE poll_budgets SET day = day - 31")
    with house.db.begin() as tx:
        assert 2 == polling.forget(tx, datetime.now(UTC))
    assert (1, 0) == (count(house, "polls"), count(house, "poll_budgets"))
    assert [] == ask(house, live(at=old + 2 * MINUTE))
