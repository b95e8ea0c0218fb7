"""Webhooks: events as they were emitted, endpoints that want them, and each event's way to each endpoint."""

from __future__ import annotations

from sqlalchemy import ARRAY, Column, ForeignKey, Index, Integer, Table, Text, UniqueConstraint, text

from mp_kit.server.store.tables.base import at, json, metadata, one_of, vendor_id

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("id", Text, primary_key=True),
    vendor_id(nullable=True),  # none: the operator's
    Column("url", Text, nullable=False),
    Column("events", ARRAY(Text), nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    # Its own data key: a vendor's goes with its last connection.
    Column("wrapped_key", Text, nullable=False),
    Column("secret", Text, nullable=False),
    Column("former_secret", Text),
    at("secret_overlap_until"),
    Column("status", Text, nullable=False, server_default="enabled"),
    Column("disabled_reason", Text),
    at("failing_since"),
    at("last_success_at"),
    at("created_at", now=True),
    at("updated_at", now=True),
    one_of("status", "enabled", "disabled"),
    Index(None, "vendor_id"),
)

webhook_events = Table(
    "webhook_events",
    metadata,
    Column("id", Text, primary_key=True),
    Column("type", Text, nullable=False),
    vendor_id(nullable=True),  # none: public
    Column("body", Text, nullable=False),  # as it is sent, byte by byte, each time
    at("created_at", now=True),
    Index(None, "created_at"),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", Text, primary_key=True),
    Column("event_id", Text, ForeignKey("webhook_events.id", ondelete="CASCADE"), nullable=False),
    Column("endpoint_id", Text, ForeignKey("webhook_endpoints.id", ondelete="CASCADE"), nullable=False),
    Column("status", Text, nullable=False, server_default="pending"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    at("next_at", now=True),
    Column("lock_token", Text),
    json("log", "[]"),
    at("created_at", now=True),
    at("delivered_at"),
    one_of("status", "pending", "delivered", "dead"),
    UniqueConstraint("event_id", "endpoint_id"),
    Index("ix_webhook_deliveries_due", "endpoint_id", "next_at", postgresql_where=text("status = 'pending'")),
    Index(None, "endpoint_id", "created_at"),
)
