"""The vendor's webhooks: where the marketplace tells what happened, unasked."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import Field, ValidationError

from mp_kit.client.desk import Keyed, names_of
from mp_kit.client.http import Api, Call, path, read
from mp_kit.client.invalid import invalid, one_of
from mp_kit.client.results import Rows, Shown
from mp_kit.contracts.webhooks import (
    IssuedWebhook,
    Webhook,
    WebhookDelivery,
    WebhookDeliveryStatus,
    WebhookRequest,
)

T = TypeVar("T")
WEBHOOKS = "/api/vendors/webhooks"


class WebhookView(Shown, Webhook):
    """An endpoint."""

    __repr__ = Shown.__repr__
    __str__ = Shown.__str__

    def _title(self) -> str:
        return f"Webhook {self.id} ({self.status})"

    def _facts(self) -> Mapping[str, Any]:
        return {
            "url": self.url,
            "events": ", ".join(self.events),
            "description": self.description,
            "disabled_reason": self.disabled_reason,
            "failing_since": self.failing_since,
            "last_success_at": self.last_success_at,
            "former_secret_until": self.secret_overlap_until,
        }


class IssuedWebhookView(WebhookView, IssuedWebhook):
    """An endpoint with its new secret in ``secret``, given this once and never shown."""

    secret: str = Field(repr=False)
    __repr__ = Shown.__repr__
    __str__ = Shown.__str__

    def _facts(self) -> Mapping[str, Any]:
        return {**super()._facts(), "secret": "set (hidden): keep .secret now"}


class DeliveryView(Shown, WebhookDelivery):
    """A message on its way to an endpoint."""

    __repr__ = Shown.__repr__
    __str__ = Shown.__str__

    def _title(self) -> str:
        return f"Message {self.event_type} {self.id} ({self.status})"

    def _facts(self) -> Mapping[str, Any]:
        last = self.log[-1] if self.log else None
        return {
            "webhook_id": self.event_id,
            "attempts": self.attempts,
            "created_at": self.created_at,
            "next_attempt_at": self.next_attempt_at,
            "delivered_at": self.delivered_at,
            "last": (last.error or f"{last.http_status}") if last else None,
        }


class Webhooks(Keyed):
    """The vendor's endpoints, and what became of their messages.

    Example:
        >>> hook = m.webhooks.create("https://hooks.example.com/mp", ["run.finished"])
        >>> keep(hook.secret)  # for mp_kit.verify_webhook, in the receiver
        >>> m.webhooks.test(hook.id)
    """

    def __init__(self, api: Api) -> None:
        self._api = api

    def __repr__(self) -> str:
        return (
            f"Webhooks at {self._api.base_url}: create(url, events), list(), get(id), test(id), rotate(id), "
            "enable(id), remove(id), deliveries(id), replay(id, delivery)"
        )

    def __getitem__(self, webhook_id: str) -> WebhookView:
        return self.get(webhook_id)

    def _names(self, api: Api) -> builtins.list[str]:
        return names_of(api.get(builtins.list[WebhookView], WEBHOOKS), "id")

    def create(self, url: str, events: str | Iterable[str], *, description: str = "") -> IssuedWebhookView:
        """Makes an endpoint; its ``secret`` is in this answer alone.

        Args:
            url: A public https address.
            events: One or several of signal.stored, consensus.updated, run.finished, round.published, model.promoted,
                report.finished.
            description: For people.

        Raises:
            InvalidInputError: The URL or an event does not do.
            ConflictError: There are as many as there may be.

        Example:
            >>> m.webhooks.create("https://hooks.example.com/mp", ["run.finished"])
        """
        names = [events] if isinstance(events, str) else list(events)
        try:
            wanted = WebhookRequest.model_validate({"url": url, "events": names, "description": description})
        except ValidationError as error:
            raise invalid("This webhook", error) from None
        call = Call("POST", WEBHOOKS, json=wanted.model_dump(mode="json"))
        return read(IssuedWebhookView, self._api.send(call), WEBHOOKS)

    def list(self) -> Rows[WebhookView]:
        """The endpoints, oldest first.

        Example:
            >>> m.webhooks.list()
        """
        found = self._api.get(list[WebhookView], WEBHOOKS)
        return Rows(found, "Webhooks", ("id", "url", "events", "status", "last_success_at", "disabled_reason"))

    def get(self, webhook_id: str) -> WebhookView:
        """One endpoint.

        Example:
            >>> m.webhooks.get(hook.id)
        """
        return self._api.get(WebhookView, path("vendors", "webhooks", webhook_id))

    def remove(self, webhook_id: str) -> WebhookView:
        """Removes an endpoint; messages on their way to it are dropped. Returns what it was.

        Example:
            >>> m.webhooks.remove(hook.id)
        """
        return self._send(WebhookView, "DELETE", webhook_id)

    def rotate(self, webhook_id: str, *, overlap_hours: float = 24.0) -> IssuedWebhookView:
        """Gives an endpoint a new ``secret``; so long messages are signed with the former one too.

        Example:
            >>> m.webhooks.rotate(hook.id, overlap_hours=1)
        """
        return self._send(IssuedWebhookView, "POST", webhook_id, "rotate", params={"overlap_hours": overlap_hours})

    def enable(self, webhook_id: str) -> WebhookView:
        """Has messages sent again to an endpoint that was disabled.

        Example:
            >>> m.webhooks.enable(hook.id)
        """
        return self._send(WebhookView, "POST", webhook_id, "enable")

    def test(self, webhook_id: str) -> DeliveryView:
        """Has a ``ping`` sent; :meth:`deliveries` shows what became of it.

        Example:
            >>> m.webhooks.test(hook.id)
        """
        return self._send(DeliveryView, "POST", webhook_id, "test")

    def deliveries(
        self, webhook_id: str, *, status: str | WebhookDeliveryStatus | None = None, limit: int = 100
    ) -> Rows[DeliveryView]:
        """An endpoint's messages of the last 30 days, newest first; pending, delivered or dead ones alone.

        Example:
            >>> m.webhooks.deliveries(hook.id, status="dead")
        """
        where = path("vendors", "webhooks", webhook_id, "deliveries")
        wanted = one_of("status of a message", status, WebhookDeliveryStatus)
        found = self._api.get(list[DeliveryView], where, status=wanted, limit=limit)
        return Rows(found, "Messages", ("id", "event_type", "status", "attempts", "created_at", "next_attempt_at"))

    def replay(self, webhook_id: str, delivery_id: str) -> DeliveryView:
        """Has a message sent again, under the same ``webhook-id``.

        Example:
            >>> m.webhooks.replay(hook.id, message.id)
        """
        return self._send(DeliveryView, "POST", webhook_id, "deliveries", delivery_id, "replay", repeatable=True)

    def _send(self, model: type[T], method: str, *parts: str, **how: Any) -> T:
        where = path("vendors", "webhooks", *parts)
        return read(model, self._api.send(Call(method, where, **how)), where)
