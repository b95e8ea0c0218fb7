"""Queries about webhooks; emitting runs on the driver, because signals pass there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, delete, func, select, text, update

from mp_kit.server.store.engine import Tx, driver
from mp_kit.server.store.queries import named
from mp_kit.server.store.tables import marketplace_vendors, webhook_deliveries, webhook_endpoints, webhook_events

CHANNEL = "webhooks"
"""Where news of rare events is told, so that they leave at once."""


def emit(tx: Tx, event: Mapping[str, Any], *, house_only: bool = False) -> int:
    """Writes an event (id, type, vendor_id, body) for the endpoints that want it; returns how many do.

    Args:
        tx: The deed's transaction.
        event: What happened.
        house_only: It is for the operator's own endpoints.
    """
    with driver(tx).cursor() as cursor:
        cursor.execute(named("emit_webhook").encode(), {**event, "house_only": house_only}, prepare=True)
        told = cursor.fetchone()
    return int(told[0]) if told else 0


def wanting(tx: Tx, kind: str) -> frozenset[str]:
    """Vendors with an enabled endpoint that wants this kind of event."""
    return frozenset(tx.execute(text("SELECT mp_wanting(:kind)"), {"kind": kind}).scalars())


def wake(tx: Tx) -> None:
    """Tells the deliverer at commit; NOTIFY makes commits queue up, so that nothing frequent may do it."""
    tx.execute(text("SELECT pg_notify(:channel, '')"), {"channel": CHANNEL})


def lock_owner(tx: Tx, vendor_id: str | None) -> None:
    """One change of a vendor's number of endpoints at a time."""
    vendors = marketplace_vendors
    tx.execute(select(vendors.c.id).where(vendors.c.id == vendor_id).with_for_update(key_share=True))


def count(tx: Tx, vendor_id: str | None) -> int:
    """How many endpoints an owner has."""
    statement = select(func.count()).select_from(webhook_endpoints).where(_owned(vendor_id))
    return int(tx.execute(statement).scalar_one())


def insert(tx: Tx, values: Mapping[str, Any]) -> Row[Any]:
    """Stores an endpoint."""
    return tx.execute(webhook_endpoints.insert().values(**values).returning(webhook_endpoints)).one()


def list_of(tx: Tx, vendor_id: str | None) -> list[Row[Any]]:
    """An owner's endpoints, oldest first."""
    table = webhook_endpoints
    return list(tx.execute(select(table).where(_owned(vendor_id)).order_by(table.c.created_at, table.c.id)))


def find(tx: Tx, vendor_id: str | None, endpoint_id: str, *, lock: bool = False) -> Row[Any] | None:
    """One of an owner's endpoints."""
    statement = select(webhook_endpoints).where(webhook_endpoints.c.id == endpoint_id, _owned(vendor_id))
    return tx.execute(statement.with_for_update(key_share=True) if lock else statement).one_or_none()


def change(tx: Tx, endpoint_id: str, values: Mapping[str, Any]) -> Row[Any]:
    """Changes an endpoint."""
    table = webhook_endpoints
    statement = update(table).where(table.c.id == endpoint_id).values(**values, updated_at=func.now())
    return tx.execute(statement.returning(table)).one()


def remove(tx: Tx, endpoint_id: str) -> None:
    """Removes an endpoint with its deliveries."""
    tx.execute(delete(webhook_endpoints).where(webhook_endpoints.c.id == endpoint_id))


def send_to(tx: Tx, endpoint_id: str, delivery_id: str, event: Mapping[str, Any]) -> None:
    """Writes an event for one endpoint alone."""
    tx.execute(webhook_events.insert().values(**event))
    values = {"id": delivery_id, "event_id": event["id"], "endpoint_id": endpoint_id}
    tx.execute(webhook_deliveries.insert().values(**values))


def deliveries(
    tx: Tx, endpoint_id: str, *, status: str | None = None, delivery_id: str | None = None, limit: int = 1
) -> list[Row[Any]]:
    """An endpoint's messages, newest first."""
    wanted = {"endpoint_id": endpoint_id, "status": status, "id": delivery_id, "limit": limit}
    return list(tx.execute(text(named("list_webhook_deliveries")), wanted))


def send_again(tx: Tx, delivery_id: str) -> None:
    """Makes a message pending as if it had never been tried; what it had in its log stays."""
    table = webhook_deliveries
    fresh = {"status": "pending", "attempts": 0, "next_at": func.now(), "lock_token": None, "delivered_at": None}
    tx.execute(update(table).where(table.c.id == delivery_id).values(**fresh))


def claim(
    tx: Tx, *, lock_token: str, lease_seconds: float, busy: Sequence[str], failing: bool, each: int, at_most: int
) -> list[Row[Any]]:
    """Takes due deliveries; see the statement."""
    wanted = {"lock_token": lock_token, "lease_seconds": lease_seconds, "busy": list(busy), "failing": failing}
    return list(tx.execute(text(named("claim_webhooks")), wanted | {"each": each, "at_most": at_most}))


def note(tx: Tx, values: Mapping[str, Any]) -> bool:
    """Notes an attempt; False when it does not count any more."""
    return tx.execute(text(named("note_webhook")), dict(values)).one_or_none() is not None


def succeeded(tx: Tx, endpoint_id: str) -> None:
    """An endpoint took a message."""
    table = webhook_endpoints
    values = {"failing_since": None, "last_success_at": func.now()}
    tx.execute(update(table).where(table.c.id == endpoint_id).values(**values))


def failed(tx: Tx, endpoint_id: str, *, gone: bool, reason: str, patience_seconds: float) -> Row[Any] | None:
    """An endpoint did not take a message; gives its status, or None if it was disabled or removed before."""
    values = {"id": endpoint_id, "gone": gone, "reason": reason, "patience_seconds": patience_seconds}
    return tx.execute(text(named("webhook_failed")), values).one_or_none()


def forget(tx: Tx, *, days: int, at_most: int) -> int:
    """Forgets events older than so many days; returns how many."""
    return tx.execute(text(named("forget_webhooks")), {"days": days, "at_most": at_most}).rowcount


def _owned(vendor_id: str | None) -> Any:
    column = webhook_endpoints.c.vendor_id
    return column.is_(None) if vendor_id is None else column == vendor_id
