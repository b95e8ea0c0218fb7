"""The fake's webhooks: endpoints with secrets, and messages that are sent nowhere."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

from mp_kit import errors
from mp_kit.contracts import (
    IssuedWebhook,
    Webhook,
    WebhookAttempt,
    WebhookDelivery,
    WebhookDeliveryStatus,
    WebhookRequest,
    WebhookStatus,
    new_webhook_secret,
)


class WebhookDesk:
    """All endpoints and their messages.

    Args:
        now: The clock.

    Attributes:
        taken: Whether endpoints take what is sent; if not, a message is dead at once.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.taken = True
        self._now = now
        self._webhooks: dict[str, Webhook] = {}
        self._deliveries: dict[str, dict[str, WebhookDelivery]] = {}

    def all(self) -> list[Webhook]:
        """Each of them, oldest first."""
        return list(self._webhooks.values())

    def get(self, webhook_id: str) -> Webhook:
        """One of them."""
        if webhook_id not in self._webhooks:
            raise errors.NotFoundError(f"There is no webhook {webhook_id!r}.")
        return self._webhooks[webhook_id]

    def create(self, wanted: WebhookRequest) -> IssuedWebhook:
        """Makes one."""
        made = Webhook(
            id=f"whe_{len(self._webhooks) + 1}",
            **wanted.model_dump(mode="json"),
            status=WebhookStatus.ENABLED.value,
            created_at=self._now(),
        )
        self._webhooks[made.id], self._deliveries[made.id] = made, {}
        return self._issued(made)

    def remove(self, webhook_id: str) -> Webhook:
        """Removes one."""
        gone = self.get(webhook_id)
        del self._webhooks[gone.id], self._deliveries[gone.id]
        return gone

    def rotate(self, webhook_id: str, overlap_hours: float) -> IssuedWebhook:
        """Gives one a new secret."""
        until = self._now() + timedelta(hours=overlap_hours)
        self._webhooks[webhook_id] = self.get(webhook_id).model_copy(update={"secret_overlap_until": until})
        return self._issued(self._webhooks[webhook_id])

    def enable(self, webhook_id: str) -> Webhook:
        """Sends to one again."""
        fresh = {"status": WebhookStatus.ENABLED.value, "disabled_reason": None}
        self._webhooks[webhook_id] = self.get(webhook_id).model_copy(update=fresh)
        return self._webhooks[webhook_id]

    def test(self, webhook_id: str) -> WebhookDelivery:
        """Sends a ping, as far as anything is sent here."""
        known = self._deliveries[self.get(webhook_id).id]
        number = secrets.token_hex(4)
        facts = {"id": f"whd_{number}", "event_id": f"msg_{number}", "event_type": "ping", "created_at": self._now()}
        return self._send(known, WebhookDelivery(**facts, status="pending", attempts=0))

    def deliveries(self, webhook_id: str, status: str | None) -> list[WebhookDelivery]:
        """The messages to one, newest first."""
        found = reversed(self._deliveries[self.get(webhook_id).id].values())
        return [each for each in found if status in {None, each.status}]

    def replay(self, webhook_id: str, delivery_id: str) -> WebhookDelivery:
        """Sends a message again."""
        known = self._deliveries[self.get(webhook_id).id]
        if delivery_id not in known:
            raise errors.NotFoundError(f"There is no message {delivery_id!r} to {webhook_id}.")
        return self._send(known, known[delivery_id].model_copy(update={"status": "pending", "attempts": 0}))

    def _send(self, known: dict[str, WebhookDelivery], pending: WebhookDelivery) -> WebhookDelivery:
        status = WebhookDeliveryStatus.DELIVERED if self.taken else WebhookDeliveryStatus.DEAD
        code = 204 if self.taken else 500
        attempt = WebhookAttempt(
            at=self._now(), http_status=code, error=None if self.taken else f"it answered {code}", milliseconds=1
        )
        sent = {"status": status.value, "attempts": 1, "log": [*pending.log, attempt]}
        known[pending.id] = pending.model_copy(update=sent)
        return pending

    def _issued(self, webhook: Webhook) -> IssuedWebhook:
        return IssuedWebhook(**webhook.model_dump(), secret=new_webhook_secret().get_secret_value())
