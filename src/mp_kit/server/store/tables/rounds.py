"""Rounds, the keys that signed them, and who was given their files."""

from __future__ import annotations

from sqlalchemy import Boolean, CheckConstraint, Column, ForeignKey, Index, LargeBinary, Table, Text, text

from mp_kit.server.store.tables.base import at, json, metadata, vendor_id

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("public_key", Text, nullable=False),
    at("created_at", now=True),
)

dataset_rounds = Table(
    "dataset_rounds",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("schema_version", Text, nullable=False, server_default="1.0.0"),
    Column("is_current", Boolean, nullable=False, server_default=text("false")),
    Column("fingerprint", Text, nullable=False, unique=True),
    json("files", "[]"),
    json("held_back", "[]"),
    json("metadata"),
    Column("manifest", LargeBinary, nullable=False),
    Column("manifest_sha256", Text, nullable=False),
    Column("manifest_key_id", Text, ForeignKey("signing_keys.id"), nullable=False),
    Column("manifest_signature", Text, nullable=False),
    at("created_at", now=True),
    at("expires_at"),
    at("retired_at"),
    CheckConstraint("NOT (is_current AND retired_at IS NOT NULL)", name="current_is_not_retired"),
    Index("uq_dataset_rounds_current", "is_current", unique=True, postgresql_where=text("is_current")),
    Index(None, "created_at"),
)

dataset_grants = Table(
    "dataset_grants",
    metadata,
    Column("id", Text, primary_key=True),
    Column("round_id", Text, ForeignKey("dataset_rounds.id"), nullable=False),
    vendor_id(nullable=True),
    Column("grantee", Text, nullable=False),
    json("files", "[]"),
    at("created_at", now=True),
    at("expires_at", required=True),
    Index(None, "vendor_id", "created_at"),
)
