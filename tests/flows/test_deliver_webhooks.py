"""deliver-webhooks: what waits is sent within its time, by the house's own settings."""

from __future__ import annotations

import pytest

from flows.deliver_webhooks import Delivering, send
from mp_kit.contracts import WebhookEventType, WebhookRequest
from mp_kit.server.house import House
from mp_kit.server.providers.addresses import AddressGuard
from mp_kit.server.services import webhooks
from mp_kit.server.services.webhook_events import emit
from tests.support.receivers import receiving

BRIEFLY = Delivering(max_hours=2 / 3_600, poll_seconds=0.1)


@pytest.mark.parametrize("allowed", ["", "1"])
def test_what_waits_is_sent(house: House, monkeypatch: pytest.MonkeyPatch, allowed: str):
    """To loopback only where the operator allows it; else the attempt fails and the message waits on."""
    monkeypatch.setenv("MP_HOME", str(house.settings.home))
    monkeypatch.setenv("MP_DATABASE_URL", house.settings.database_url)
    monkeypatch.setenv("MP_WEBHOOK_ALLOW_PRIVATE", allowed)
    with receiving() as receiver:
        wanted = WebhookRequest(url=receiver.url, events=["round.published"])
        guard = AddressGuard(allow_private=True)
        made = webhooks.create(house.db.begin, house.vault, guard, None, wanted, actor="test")
        with house.db.begin() as tx:
            emit(tx, WebhookEventType.ROUND_PUBLISHED, None, round_id="r")
        did = send.fn(BRIEFLY)
        assert {"delivered": 1 if allowed else 0, "failed_attempts": 0 if allowed else 1, "forgotten": 0} == did
        assert len(receiver.got) == did["delivered"]
    with house.db.begin() as tx:
        [told] = webhooks.deliveries(tx, None, made.id)
        webhooks.remove(tx, None, made.id, actor="test")
    assert ("delivered" if allowed else "pending") == told.status
