"""Endpoints of webhooks: made, shown, rotated, tested, removed; the log of their messages.

1. An owner is a vendor, or the operator (no vendor); whoever asks sees the own endpoints and no others.
2. A secret is told when it is made and never again; it lies sealed under a data key of the endpoint's own.
3. No transaction is open while a URL's host is resolved.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any

from pydantic import SecretStr
from sqlalchemy import Row

from mp_kit.contracts import (
    IssuedWebhook,
    Webhook,
    WebhookDelivery,
    WebhookDeliveryStatus,
    WebhookEventType,
    WebhookRequest,
    WebhookStatus,
    new_webhook_secret,
)
from mp_kit.errors import ConflictError, IntegrityError, InvalidInputError, NotFoundError, RateLimitedError
from mp_kit.server import clock
from mp_kit.server.providers.addresses import AddressGuard
from mp_kit.server.services import audit
from mp_kit.server.services.ids import new_id
from mp_kit.server.services.webhook_events import message, wanting_changed
from mp_kit.server.store import webhooks as rows
from mp_kit.server.store.engine import Tx
from mp_kit.server.store.tables import HOUSE
from mp_kit.server.vault import Vault

__all__ = [
    "MOST_ENDPOINTS",
    "create",
    "deliveries",
    "enable",
    "get",
    "list_of",
    "ping",
    "remove",
    "replay",
    "rotate",
    "secrets_of",
]

log = logging.getLogger(__name__)

MOST_ENDPOINTS = 10
"""Endpoints of one owner."""

_OVERLAP_HOURS = 24.0
_CHECKS = threading.BoundedSemaphore(2)  # a name that resolves slowly must not hold every handler

Begin = Callable[[], AbstractContextManager[Tx]]


def create(
    begin: Begin, vault: Vault, guard: AddressGuard, vendor_id: str | None, wanted: WebhookRequest, *, actor: str
) -> IssuedWebhook:
    """Makes an endpoint, with its secret.

    Args:
        begin: Opens a transaction.
        vault: Seals the secret.
        guard: Says whether the URL may be sent to.
        vendor_id: Whose; None for the operator.
        wanted: Where to, and what.
        actor: Who, for the audit log.

    Raises:
        InvalidInputError: The URL may not be sent to, or the operator wants a vendor's events.
        ConflictError: The owner has as many endpoints as it may have.
        RateLimitedError: Too many URLs are being checked at once.
    """
    if vendor_id is None and (private := [event.value for event in wanted.events if not event.is_for_operators]):
        raise InvalidInputError(
            f"An endpoint of the operator's gets public events and report.finished, not {', '.join(private)}.",
            details=[{"loc": ["events"], "msg": "a vendor's events go to that vendor's endpoints"}],
        )
    _check(guard, wanted.url)
    endpoint_id, secret = new_id("whe"), new_webhook_secret()
    with begin() as tx:
        rows.lock_owner(tx, vendor_id)
        if rows.count(tx, vendor_id) >= MOST_ENDPOINTS:
            raise ConflictError(f"There are {MOST_ENDPOINTS} webhooks already, the most there may be.")
        wrapped = vault.new_data_key(vendor_id or HOUSE)
        facts = wanted.model_dump(mode="json")
        sealed = {"wrapped_key": wrapped, "secret": _seal(vault, wrapped, vendor_id, endpoint_id, secret)}
        row = rows.insert(tx, {"id": endpoint_id, "vendor_id": vendor_id, **facts, **sealed})
        audit.record(tx, actor, "webhook.create", endpoint_id, events=facts["events"])
    wanting_changed()
    return _issued(row, secret)


def list_of(tx: Tx, vendor_id: str | None) -> list[Webhook]:
    """An owner's endpoints, oldest first."""
    return [_shown(row) for row in rows.list_of(tx, vendor_id)]


def get(tx: Tx, vendor_id: str | None, endpoint_id: str) -> Webhook:
    """One endpoint; NotFoundError when it is not the owner's."""
    return _shown(_require(tx, vendor_id, endpoint_id))


def remove(tx: Tx, vendor_id: str | None, endpoint_id: str, *, actor: str) -> Webhook:
    """Removes an endpoint; messages on their way to it are dropped."""
    row = _require(tx, vendor_id, endpoint_id, lock=True)
    rows.remove(tx, row.id)
    audit.record(tx, actor, "webhook.remove", row.id)
    return _shown(row)


def rotate(
    tx: Tx, vault: Vault, vendor_id: str | None, endpoint_id: str, *, actor: str, overlap_hours: float = _OVERLAP_HOURS
) -> IssuedWebhook:
    """Gives an endpoint a new secret; for some hours messages are signed with the former one too.

    Raises:
        NotFoundError: It is not the owner's.
    """
    row = _require(tx, vendor_id, endpoint_id, lock=True)
    secret, wrapped = new_webhook_secret(), _current_key(vault, row)
    former: str | None = row.secret
    until: datetime | None = clock.now() + timedelta(hours=overlap_hours)
    if wrapped is None:
        wrapped, former, until = vault.new_data_key(vendor_id or HOUSE), None, None
    values = {
        "wrapped_key": wrapped,
        "secret": _seal(vault, wrapped, vendor_id, row.id, secret),
        "former_secret": former,
        "secret_overlap_until": until,
    }
    changed = rows.change(tx, row.id, values)
    audit.record(tx, actor, "webhook.rotate", row.id, overlap_hours=overlap_hours)
    return _issued(changed, secret)


def enable(tx: Tx, vendor_id: str | None, endpoint_id: str, *, actor: str) -> Webhook:
    """Sends to an endpoint again that was disabled; what still waited for it leaves first."""
    row = _require(tx, vendor_id, endpoint_id, lock=True)
    fresh = {"status": WebhookStatus.ENABLED.value, "disabled_reason": None, "failing_since": None}
    changed = rows.change(tx, row.id, fresh)
    rows.wake(tx)
    wanting_changed()
    audit.record(tx, actor, "webhook.enable", row.id)
    return _shown(changed)


def ping(tx: Tx, vendor_id: str | None, endpoint_id: str, *, actor: str) -> WebhookDelivery:
    """Sends a test to an endpoint, on the way that all messages go.

    Raises:
        NotFoundError: It is not the owner's.
        ConflictError: It is disabled.
    """
    row = _require(tx, vendor_id, endpoint_id, lock=True)
    _require_enabled(row)
    event = message(WebhookEventType.PING, vendor_id, {"webhook_id": row.id, "message": "A test: nothing happened."})
    delivery_id = new_id("whd")
    rows.send_to(tx, row.id, delivery_id, event)
    rows.wake(tx)
    audit.record(tx, actor, "webhook.test", row.id)
    return _delivery(tx, row.id, delivery_id)


def deliveries(
    tx: Tx, vendor_id: str | None, endpoint_id: str, *, status: WebhookDeliveryStatus | None = None, limit: int = 100
) -> list[WebhookDelivery]:
    """An endpoint's messages of the last 30 days, newest first."""
    row = _require(tx, vendor_id, endpoint_id)
    found = rows.deliveries(tx, row.id, status=status.value if status else None, limit=limit)
    return [_told(each) for each in found]


def replay(tx: Tx, vendor_id: str | None, endpoint_id: str, delivery_id: str, *, actor: str) -> WebhookDelivery:
    """Sends a message again, under the same ``webhook-id``; its attempts count anew.

    Raises:
        NotFoundError: There is no such message, or the endpoint is not the owner's.
        ConflictError: The endpoint is disabled.
    """
    row = _require(tx, vendor_id, endpoint_id)
    found = _delivery(tx, row.id, delivery_id)
    _require_enabled(row)
    rows.send_again(tx, found.id)
    rows.wake(tx)
    audit.record(tx, actor, "webhook.replay", row.id, delivery=found.id)
    return _delivery(tx, row.id, found.id)


def secrets_of(vault: Vault, row: Row[Any]) -> list[SecretStr]:
    """The secrets that a message to an endpoint is signed with now: one, or two while they overlap.

    Raises:
        IntegrityError: One cannot be opened.
    """
    owner, name = row.vendor_id or HOUSE, _name(row.endpoint_id)
    sealed = [text for text in (row.secret, row.former_secret) if text is not None]
    return [vault.open(row.wrapped_key, owner, name, text) for text in sealed]


def _check(guard: AddressGuard, url: str) -> None:
    if not _CHECKS.acquire(blocking=False):
        raise RateLimitedError("Too many webhooks are being made at once.", retry_after=2)
    try:
        guard.check(url)
    finally:
        _CHECKS.release()


def _require(tx: Tx, vendor_id: str | None, endpoint_id: str, *, lock: bool = False) -> Row[Any]:
    row = rows.find(tx, vendor_id, endpoint_id, lock=lock)
    if row is None:
        raise NotFoundError(f"There is no webhook {endpoint_id!r}.", hint="See yours: mp webhooks list")
    return row


def _require_enabled(row: Row[Any]) -> None:
    if row.status != WebhookStatus.ENABLED:
        raise ConflictError(
            f"Webhook {row.id} is disabled: {row.disabled_reason}.", hint=f"Mend it, then: mp webhooks enable {row.id}"
        )


def _delivery(tx: Tx, endpoint_id: str, delivery_id: str) -> WebhookDelivery:
    found = rows.deliveries(tx, endpoint_id, delivery_id=delivery_id)
    if not found:
        raise NotFoundError(
            f"There is no message {delivery_id!r} to {endpoint_id}.",
            hint=f"See them: mp webhooks deliveries {endpoint_id}",
        )
    return _told(found[0])


def _current_key(vault: Vault, row: Row[Any]) -> str | None:
    """The endpoint's data key under the master key of today; None when it is lost with a former one."""
    try:
        return vault.rewrap(row.wrapped_key, row.vendor_id or HOUSE)
    except IntegrityError as error:
        log.warning("webhook %s gets a new data key: %s", row.id, error)
        return None


def _name(endpoint_id: str) -> str:
    """What the secret is bound to, besides its owner."""
    return f"webhook/{endpoint_id}"


def _seal(vault: Vault, wrapped: str, vendor_id: str | None, endpoint_id: str, secret: SecretStr) -> str:
    return vault.seal(wrapped, vendor_id or HOUSE, _name(endpoint_id), secret)


def _shown(row: Row[Any]) -> Webhook:
    facts = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public way to a row's mapping
    until = row.secret_overlap_until
    past = until is not None and until <= clock.now()
    return Webhook.model_validate(facts | {"secret_overlap_until": None if past else until})


def _issued(row: Row[Any], secret: SecretStr) -> IssuedWebhook:
    return IssuedWebhook(**_shown(row).model_dump(), secret=secret.get_secret_value())


def _told(row: Row[Any]) -> WebhookDelivery:
    facts = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public way to a row's mapping
    waits = row.status == WebhookDeliveryStatus.PENDING
    return WebhookDelivery.model_validate(facts | {"next_attempt_at": row.next_at if waits else None})
