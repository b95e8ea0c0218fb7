"""The life of endpoints and messages: bounds, removal, forgetting, several deliverers, and one that is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from receivers import Receiver, eventually, receiving
from sqlalchemy import text
from webhook_steps import (
    QUICK,
    RUN,
    count,
    courier,
    deliver_until,
    deliveries,
    endpoint,
    happen,
    new_vendor,
    settled,
    shown,
)

from mp_kit.contracts import WebhookEventType, WebhookRequest
from mp_kit.errors import ConflictError, NotFoundError
from mp_kit.server.house import House
from mp_kit.server.providers.addresses import AddressGuard
from mp_kit.server.providers.webhook_post import Poster
from mp_kit.server.services import webhook_events, webhooks
from mp_kit.server.services.webhook_delivery import Courier, deliver, forget
from mp_kit.server.services.webhook_events import emit


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


def test_a_name_that_changes_its_mind_reaches_nobody(house: House, vendor: str, receiver: Receiver):
    """Public when the endpoint is made, loopback when a message is sent: checked again, nothing is sent."""
    answers = iter([["93.184.216.34"]])
    rebinding = AddressGuard(resolve=lambda *_: next(answers, ["127.0.0.1"]))
    wanted = WebhookRequest(url="https://rebind.example/", events=[RUN])
    made = webhooks.create(house.db.begin, house.vault, rebinding, vendor, wanted, actor="test")
    happen(house, vendor)
    careful = Courier(house.db, house.vault, Poster(rebinding), QUICK)
    deliver(careful, seconds=20, poll=0.05, stop=lambda: settled(house, vendor, made.id))
    errors = {each.error for told in deliveries(house, vendor, made.id) for each in told.log}
    assert ([], 1) == (receiver.got, len(errors))
    assert "address that is not public" in errors.pop()


def test_endpoints_are_bounded(house: House, vendor: str, receiver: Receiver):
    """Ten for each owner."""
    for _ in range(webhooks.MOST_ENDPOINTS):
        endpoint(house, vendor, receiver.url)
    with pytest.raises(ConflictError, match="10 webhooks already"):
        endpoint(house, vendor, receiver.url)
    assert endpoint(house, new_vendor(house), receiver.url)


def test_removed_while_messages_wait(house: House, vendor: str, receiver: Receiver):
    """They go with it, and it is not found any more."""
    made = endpoint(house, vendor, receiver.url)
    happen(house, vendor, times=3)
    with house.db.begin() as tx:
        webhooks.remove(tx, vendor, made.id, actor="test")
    deliver(courier(house), seconds=0.2, poll=0.05)
    assert ([], 0) == (receiver.got, count(house, "webhook_deliveries"))
    with pytest.raises(NotFoundError):
        shown(house, vendor, made.id)


def test_who_wants_batches_is_remembered_for_a_moment(
    house: House, vendor: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    """Batches ask once in a while; an endpoint of this process's making is known at once, another's in a second."""

    def wanting() -> bool:
        with house.db.begin() as tx:
            return vendor in webhook_events._wanting(tx)

    assert not wanting()
    endpoint(house, vendor, receiver.url, WebhookEventType.SIGNAL_STORED)
    assert wanting()
    with house.db.begin() as tx:
        tx.execute(text("UPDATE webhook_endpoints SET status = 'disabled'"))
    assert wanting()
    monkeypatch.setattr(webhook_events, "_REMEMBER_SECONDS", -1.0)
    assert not wanting()


def test_removed_while_its_event_happens(house: House, vendor: str, receiver: Receiver):
    """The deed waits for the removal and stands, without an event; it does not fail by it."""
    made, told = endpoint(house, vendor, receiver.url), []

    def deed() -> None:
        with house.db.begin() as other:
            told.append(emit(other, RUN, vendor, run_id="r"))

    with house.db.begin() as tx:
        webhooks.remove(tx, vendor, made.id, actor="test")
        thread = threading.Thread(target=deed)
        thread.start()
        assert eventually(lambda: waiting(house))
    thread.join(timeout=20)
    assert ([0], 0) == (told, count(house, "webhook_events"))


def waiting(house: House) -> bool:
    """Whether some backend of this database waits for a lock."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with house.db.begin() as tx:
        return bool(tx.execute(text(query)).scalar_one())


def test_old_messages_are_forgotten(house: House, vendor: str, receiver: Receiver):
    """After 30 days, delivered or not."""
    made = endpoint(house, vendor, receiver.url)
    happen(house, vendor, times=2)
    with house.db.begin() as tx:
        tx.execute(
            text(
                "UPDATE webhook_events SET created_at = now() - interval '31 days'"
                " WHERE id = (SELECT min(id) FROM webhook_events)"
            )
        )
    assert (1, 0) == (forget(courier(house)), forget(courier(house)))
    assert 1 == len(deliveries(house, vendor, made.id))


def test_two_deliverers_share(house: House, vendor: str, receiver: Receiver):
    """Each message is sent once."""
    made = endpoint(house, vendor, receiver.url)
    happen(house, vendor, times=40)
    pair = [
        threading.Thread(target=deliver_until, args=(house, lambda: settled(house, vendor, made.id))) for _ in range(2)
    ]
    for thread in pair:
        thread.start()
    for thread in pair:
        thread.join()
    assert (40, 40) == (len(receiver.ids), len(set(receiver.ids)))


DELIVERER = """
import sys
from mp_kit.server.providers.addresses import AddressGuard
from mp_kit.server.providers.webhook_post import Poster
from mp_kit.server.services.webhook_delivery import Courier, Schedule, deliver
from mp_kit.server.store.engine import Database
from mp_kit.server.vault import Vault
url, master = sys.stdin.read().split()
schedule = Schedule(first_seconds=0.0, longest_seconds=0.0, attempts=50, lease_seconds=1.0)
courier = Courier(Database(url), Vault(master), Poster(AddressGuard(allow_private=True)), schedule)
deliver(courier, seconds=60, poll=0.05)
"""


def test_killed_while_it_sends(house: House, vendor: str, receiver: Receiver):
    """A kill -9 between sending and noting: the message comes again under the same id, and none is lost."""
    made = endpoint(house, vendor, receiver.url)
    happen(house, vendor, times=5)
    receiver.misdeed = receiver.hang
    doomed = deliverer(house)
    assert eventually(lambda: len(receiver.got) >= 4)
    doomed.kill()
    assert -signal.SIGKILL == doomed.wait(10)
    sent = set(receiver.ids)
    receiver.misdeed = None
    heir = deliverer(house)
    assert eventually(lambda: settled(house, vendor, made.id))
    heir.kill()
    heir.wait(10)
    told = deliveries(house, vendor, made.id)
    assert (5, {"delivered"}) == (len(told), {each.status for each in told})
    assert {each.event_id for each in told} == set(receiver.ids)
    assert sent < set(receiver.ids)
    assert all(receiver.ids.count(each) >= 2 for each in sent)


def deliverer(house: House) -> subprocess.Popen[bytes]:
    """A deliverer as a process of its own."""
    process = subprocess.Popen([sys.executable, "-c", DELIVERER], stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(f"{house.settings.database_url} {house.settings.master_key}".encode())
    process.stdin.close()
    return process
