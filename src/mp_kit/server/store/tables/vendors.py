"""Vendors and their keys."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, Numeric, Table, Text

from mp_kit.server.store.tables.base import at, json, metadata, one_of, vendor_id

marketplace_vendors = Table(
    "marketplace_vendors",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("status", Text, nullable=False, server_default="active"),
    json("encrypted_connections"),  # stays empty: credentials lie in vendor_connections (decision 0014)
    Column("session_epoch", Integer, nullable=False, server_default="0"),
    Column("monthly_ceiling_usd", Numeric(12, 2)),
    at("created_at", now=True),
    at("updated_at", now=True),
    at("erased_at"),
    one_of("status", "pending", "active", "suspended"),
)

vendor_keys = Table(
    "vendor_keys",
    metadata,
    Column("id", Text, primary_key=True),
    vendor_id(),
    Column("name", Text, nullable=False, server_default=""),
    Column("token_hash", Text, nullable=False),
    json("permissions", "[]"),
    at("created_at", now=True),
    at("expires_at", required=True),
    at("revoked_at"),
    at("last_used_at"),
    Index(None, "vendor_id"),
)
