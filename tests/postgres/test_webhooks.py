"""Webhooks over a real database and a real receiver that misbehaves: at least once, never lost, nobody waits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from receivers import Receiver, cut, endless, receiving, status
from sqlalchemy import text
from webhook_steps import (
    QUICK,
    ROUND,
    RUN,
    count,
    courier,
    deliver_until,
    deliveries,
    endpoint,
    guard,
    happen,
    new_vendor,
    settled,
    shown,
)

from mp_kit.contracts import WebhookEventType, verify_webhook
from mp_kit.errors import ConflictError, IntegrityError, InvalidInputError
from mp_kit.server.house import House
from mp_kit.server.providers.webhook_post import Poster
from mp_kit.server.services import vault_keys, webhooks
from mp_kit.server.services.webhook_delivery import Courier, Schedule, deliver
from mp_kit.server.services.webhook_events import emit
from mp_kit.server.vault import Vault


@pytest.fixture
def vendor(house: House) -> str:
    return new_vendor(house)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture(autouse=True)
def _own_endpoints(house: House) -> Iterator[None]:
    """No endpoint of another test's is delivered to."""
    yield
    with house.db.begin() as tx:
        tx.execute(text("TRUNCATE webhook_endpoints, webhook_events, webhook_deliveries"))


def test_nothing_is_written_that_nobody_wants(house: House, vendor: str, receiver: Receiver):
    """No endpoint at all, one that wants something else, another vendor's, a disabled one."""
    happen(house, vendor)
    endpoint(house, vendor, receiver.url, WebhookEventType.SIGNAL_STORED)
    endpoint(house, new_vendor(house), receiver.url)
    off = endpoint(house, vendor, receiver.url)
    with house.db.begin() as tx:
        tx.execute(text("UPDATE webhook_endpoints SET status = 'disabled' WHERE id = :id"), {"id": off.id})
    happen(house, vendor)
    happen(house, None)
    assert (0, 0) == (count(house, "webhook_events"), count(house, "webhook_deliveries"))


def test_an_event_stands_with_its_deed(house: House, vendor: str, receiver: Receiver):
    """Rolled back together."""
    endpoint(house, vendor, receiver.url)
    with pytest.raises(ZeroDivisionError), house.db.begin() as tx:
        1 / (emit(tx, RUN, vendor, run_id="run_1") - 1)
    assert 0 == count(house, "webhook_events")


def test_public_events_reach_everybody_private_ones_their_vendor(house: House, vendor: str, receiver: Receiver):
    """The operator's endpoints get public ones; another vendor never sees a run."""
    other = new_vendor(house)
    endpoint(house, vendor, receiver.url, RUN, ROUND)
    endpoint(house, other, receiver.url, RUN, ROUND)
    endpoint(house, None, receiver.url, ROUND)
    with house.db.begin() as tx:
        assert (1, 3) == (emit(tx, RUN, vendor, run_id="r"), emit(tx, ROUND, None, round_id="d"))
    assert deliver_until(house, lambda: len(receiver.got) == 4)
    kinds = sorted(json.loads(body)["type"] for _, body in receiver.got)
    assert ["round.published"] * 3 + ["run.finished"] == kinds


def test_the_operator_gets_no_vendors_events(house: House, receiver: Receiver):
    """Refused when it is made."""
    with pytest.raises(InvalidInputError, match=r"public events and report\.finished, not run\.finished"):
        endpoint(house, None, receiver.url, RUN, ROUND)


def test_a_message_verifies_and_is_noted(house: House, vendor: str, receiver: Receiver):
    """Signed with the secret that was shown; the log says when and what came."""
    made = endpoint(house, vendor, receiver.url)
    happen(house, vendor)
    assert deliver_until(house, lambda: settled(house, vendor, made.id))
    [(headers, body)] = receiver.got
    event = verify_webhook(headers, body, made.secret)
    assert ("run.finished", {"number": 0}) == (event["type"], event["data"])
    [told] = deliveries(house, vendor, made.id)
    assert ("delivered", 1, headers["webhook-id"]) == (told.status, told.attempts, told.event_id)
    assert [(204, None)] == [(each.http_status, each.error) for each in told.log]
    assert shown(house, vendor, made.id).last_success_at is not None
    assert ("application/json", True) == (headers["content-type"], headers["user-agent"].startswith("mp-kit-webhooks"))


MISDEEDS: dict[str, tuple[Any, int | None, str]] = {
    "500": (status(500), 500, "answered 500"),
    "404": (status(404), 404, "answered 404"),
    "a redirect": (status(307, Location="http://127.0.0.1:9/"), 307, "redirects are not followed"),
    "a connection cut": (cut, None, "connection failed"),
    "no HTTP": (lambda handler: handler.wfile.write(b"hello\n\n"), None, "connection failed"),
    "headers without end": (
        lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 500 + b"\r\n"),
        None,
        "connection failed",
    ),
}


@pytest.mark.parametrize("case", MISDEEDS.values(), ids=MISDEEDS)
def test_a_misdeed_is_tried_again_until_it_is_dead(
    house: House, vendor: str, receiver: Receiver, case: tuple[Any, int | None, str]
):
    """As often as the schedule says, under one id; then replay brings it through."""
    misdeed, code, told = case
    made = endpoint(house, vendor, receiver.url)
    receiver.misdeed = misdeed
    happen(house, vendor)
    assert deliver_until(house, lambda: settled(house, vendor, made.id))
    [dead] = deliveries(house, vendor, made.id)
    assert ("dead", 3, [code] * 3) == (dead.status, dead.attempts, [each.http_status for each in dead.log])
    assert all(told in (each.error or "") for each in dead.log)
    assert (3, 1) == (len(receiver.got), len(set(receiver.ids)))
    assert shown(house, vendor, made.id).failing_since is not None
    receiver.misdeed = None
    with house.db.begin() as tx:
        again = webhooks.replay(tx, vendor, made.id, dead.id, actor="test")
    assert ("pending", 0) == (again.status, again.attempts)
    assert deliver_until(house, lambda: settled(house, vendor, made.id))
    [well] = deliveries(house, vendor, made.id)
    assert ("delivered", 4, 1) == (well.status, len(well.log), len(set(receiver.ids)))
    assert shown(house, vendor, made.id).failing_since is None


def test_an_answer_without_end_is_taken_by_its_status(house: House, vendor: str, receiver: Receiver):
    """No more than a bound is read of it."""
    made = endpoint(house, vendor, receiver.url)
    receiver.misdeed = endless
    happen(house, vendor)
    assert deliver_until(house, lambda: settled(house, vendor, made.id))
    assert ["delivered"] == [each.status for each in deliveries(house, vendor, made.id)]


@pytest.mark.parametrize("way", ["hang", "drip"])
def test_who_hangs_delays_nobody(house: House, vendor: str, receiver: Receiver, way: str):
    """With as many messages to hanging endpoints as there are threads, and more, another vendor's all arrive."""
    receiver.misdeed = getattr(receiver, way)
    slow = [endpoint(house, vendor, receiver.url) for _ in range(3)]
    happen(house, vendor, times=20)
    other = new_vendor(house)
    with receiving() as quick:
        good = endpoint(house, other, quick.url)
        happen(house, other, times=30)
        assert deliver_until(house, lambda: settled(house, other, good.id), seconds=0.5, threads=4)
        assert 30 == len(set(quick.ids))
    log = [each for one in slow for told in deliveries(house, vendor, one.id) for each in told.log]
    assert {"it did not answer within 0.5 s"} == {each.error for each in log}
    assert not any(told.status == "delivered" for one in slow for told in deliveries(house, vendor, one.id))


def test_nobody_listens(house: House, vendor: str):
    """A refused connection is a failure like others."""
    made = endpoint(house, vendor, "http://127.0.0.1:9999/")
    happen(house, vendor)
    assert deliver_until(house, lambda: settled(house, vendor, made.id))
    assert {"the connection failed (ConnectionRefusedError)"} == {
        each.error for told in deliveries(house, vendor, made.id) for each in told.log
    }


def test_gone_disables_at_once(house: House, vendor: str, receiver: Receiver):
    """410: the message is dead, the endpoint disabled with a reason and an audit row; enabling mends it."""
    made = endpoint(house, vendor, receiver.url)
    receiver.misdeed = status(410)
    happen(house, vendor)
    assert deliver_until(house, lambda: settled(house, vendor, made.id))
    found = shown(house, vendor, made.id)
    assert ("disabled", "it answered 410") == (found.status, found.disabled_reason)
    with house.db.begin() as tx:
        told = tx.execute(text("SELECT action FROM audit_log WHERE subject = :s"), {"s": made.id}).scalars().all()
        assert {"webhook.create", "webhook.disable"} == set(told)
        with pytest.raises(ConflictError, match="it answered 410"):
            webhooks.ping(tx, vendor, made.id, actor="test")
        assert ("enabled", None) == (
            (on := webhooks.enable(tx, vendor, made.id, actor="test")).status,
            on.disabled_reason,
        )


def test_days_of_failure_disable(house: House, vendor: str, receiver: Receiver):
    """Not before the patience is over; the reason says since when, and what came last. What waited, waits on."""
    made = endpoint(house, vendor, receiver.url)
    receiver.misdeed = status(503)
    happen(house, vendor, times=2)
    patient = replace(QUICK, attempts=100, first_seconds=60.0, longest_seconds=60.0)
    assert deliver_until(house, lambda: len(receiver.got) == 2, schedule=patient)
    assert "enabled" == shown(house, vendor, made.id).status
    with house.db.begin() as tx:
        tx.execute(text("UPDATE webhook_endpoints SET failing_since = now() - interval '3 days 1 second'"))
        tx.execute(text("UPDATE webhook_deliveries SET next_at = now()"))
    assert deliver_until(house, lambda: shown(house, vendor, made.id).status == "disabled", schedule=patient)
    reason = shown(house, vendor, made.id).disabled_reason
    assert (True, True) == (
        reason.startswith("nothing was delivered since 20"),
        reason.endswith("last: it answered 503"),
    )
    receiver.misdeed = None
    with house.db.begin() as tx:
        webhooks.enable(tx, vendor, made.id, actor="test")
        tx.execute(text("UPDATE webhook_deliveries SET next_at = now()"))
    assert deliver_until(house, lambda: settled(house, vendor, made.id))
    assert 2 == len(set(receiver.ids))


def test_a_suspended_vendor_gets_nothing(house: House, vendor: str, receiver: Receiver):
    """Its messages wait."""
    made = endpoint(house, vendor, receiver.url)
    happen(house, vendor)
    with house.db.begin() as tx:
        tx.execute(text("UPDATE marketplace_vendors SET status = 'suspended' WHERE id = :v"), {"v": vendor})
    deliver(courier(house), seconds=0.3, poll=0.05)
    assert ([], ["pending"]) == (receiver.got, [each.status for each in deliveries(house, vendor, made.id)])


def test_retry_after_is_honoured(house: House, vendor: str, receiver: Receiver):
    """In seconds, above the backoff; absurd wishes end at a day."""
    made = endpoint(house, vendor, receiver.url)
    waits = {}
    for asked in ("1000", "99999999", "Mon, 01 Jan 2001 00:00:00 GMT", "soon"):
        receiver.misdeed = status(429, Retry_After=asked)
        happen(house, vendor)
        before = len(receiver.got)
        deliver_until(house, lambda before=before: len(receiver.got) > before, schedule=Schedule())
        [newest, *_] = deliveries(house, vendor, made.id)
        waits[asked] = (newest.next_attempt_at - newest.log[-1].at) // timedelta(minutes=1)
    assert [16, 1440, 0, 0] == [*waits.values()]


def test_rotation_overlaps(house: House, vendor: str, receiver: Receiver):
    """Both secrets verify meanwhile; without an overlap only the new one does."""
    made = endpoint(house, vendor, receiver.url)
    with house.db.begin() as tx:
        second = webhooks.rotate(tx, house.vault, vendor, made.id, actor="test")
    happen(house, vendor)
    assert deliver_until(house, lambda: len(receiver.got) == 1)
    headers, body = receiver.got[0]
    assert verify_webhook(headers, body, made.secret) == verify_webhook(headers, body, second.secret)
    assert second.secret_overlap_until is not None
    with house.db.begin() as tx:
        third = webhooks.rotate(tx, house.vault, vendor, made.id, actor="test", overlap_hours=0)
    happen(house, vendor)
    assert deliver_until(house, lambda: len(receiver.got) == 2)
    headers, body = receiver.got[1]
    assert verify_webhook(headers, body, third.secret)
    assert (1, None) == (
        len(headers["webhook-signature"].split()),
        shown(house, vendor, made.id).secret_overlap_until,
    )
    with pytest.raises(IntegrityError):
        verify_webhook(headers, body, second.secret)


def test_secrets_lie_sealed_and_move_with_the_master_key(house: House, vendor: str, receiver: Receiver):
    """No column has one; under a new master key they are wrapped anew, and a lost one is mended by rotating."""
    made = endpoint(house, vendor, receiver.url)
    with house.db.begin() as tx:
        row = tx.execute(text("SELECT e::text FROM webhook_endpoints e")).scalar_one()
        assert (False, True) == (made.secret[6:] in row, "mpc1." in row)
    moved = Vault("another master key", (house.settings.master_key,))
    assert [1, 0] == [vault_keys.rotate(house.db, moved, actor="test").rewrapped for _ in range(2)]
    happen(house, vendor)
    assert deliver_until(house, lambda: settled(house, vendor, made.id))
    assert {"its secret does not open: rotate it"} == {
        e.error for d in deliveries(house, vendor, made.id) for e in d.log
    }
    with house.db.begin() as tx:
        again = webhooks.rotate(tx, house.vault, vendor, made.id, actor="test")
        [dead] = webhooks.deliveries(tx, vendor, made.id)
        webhooks.replay(tx, vendor, made.id, dead.id, actor="test")
    assert deliver_until(house, lambda: len(receiver.got) == 1)
    assert verify_webhook(*receiver.got[0], again.secret)


def test_rotation_under_a_new_master_key_overlaps(house: House, vendor: str, receiver: Receiver):
    """While the former master key is at hand, the former secret signs on."""
    made = endpoint(house, vendor, receiver.url)
    moved = Vault("another master key", (house.settings.master_key,))
    with house.db.begin() as tx:
        second = webhooks.rotate(tx, moved, vendor, made.id, actor="test")
    happen(house, vendor)
    later = Courier(house.db, Vault("another master key"), Poster(guard()), QUICK)
    deliver(later, seconds=20, poll=0.05, stop=lambda: len(receiver.got) == 1)
    assert verify_webhook(*receiver.got[0], made.secret) == verify_webhook(*receiver.got[0], second.secret)
