"""One-time codes, and programs that wait for a person's approval. Neither code is stored, only what proves it."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Integer, Table, Text

from mp_kit.server.store.tables.base import at, metadata, one_of, vendor_id

device_logins = Table(
    "device_logins",
    metadata,
    Column("id", Text, primary_key=True),
    Column("code_digest", Text, nullable=False, unique=True),
    Column("user_code", Text, nullable=False, unique=True),
    Column("state", Text, nullable=False, server_default="pending"),
    Column("client", Text, nullable=False, server_default=""),
    Column("address", Text, nullable=False),
    vendor_id(nullable=True),  # who approved
    Column("interval_seconds", Integer, nullable=False),
    at("last_polled_at"),
    at("created_at", now=True),
    at("expires_at", required=True),
    at("decided_at"),
    one_of("state", "pending", "approved", "denied", "exchanged"),
    CheckConstraint("(state IN ('approved', 'exchanged')) <= (vendor_id IS NOT NULL)", name="approved_by_somebody"),
    Index(None, "expires_at"),
    Index(None, "address"),
)

auth_codes = Table(
    "auth_codes",
    metadata,
    Column("id", Text, primary_key=True),
    vendor_id(),
    Column("device_id", Text, ForeignKey("device_logins.id", ondelete="CASCADE")),
    Column("token_hash", Text, nullable=False),
    Column("issued_by", Text, nullable=False),
    at("created_at", now=True),
    at("expires_at", required=True),
    at("used_at"),
    Index(None, "vendor_id"),
    Index(None, "device_id"),
    Index(None, "expires_at"),
)
