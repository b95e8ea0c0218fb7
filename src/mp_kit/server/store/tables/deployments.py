"""Deployments, what they run, their tokens, their heartbeats."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
)

from mp_kit.server.store.tables.base import HOUSE, at, json, metadata, one_of, vendor_id

deployments = Table(
    "deployments",
    metadata,
    Column("id", Text, primary_key=True),
    vendor_id(nullable=True),
    Column("name", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("status", Text, nullable=False, server_default="pending"),
    Column("model_id", Text),
    Column("version_id", Text, ForeignKey("model_versions.id")),
    Column("endpoint", Text),
    json("spec"),
    at("created_at", now=True),
    at("updated_at", now=True),
    at("last_heartbeat_at"),
    one_of("status", "pending", "ready", "error", "maintenance", "offline"),
    one_of("provider", "runpod", "byoc", "local", "house"),
    CheckConstraint(f"(vendor_id IS NULL) = (id = '{HOUSE}')", name="only_house_has_no_vendor"),
    ForeignKeyConstraint(["model_id", "vendor_id"], ["models.id", "models.vendor_id"]),
    UniqueConstraint("vendor_id", "name"),
    UniqueConstraint("id", "vendor_id"),
    Index(None, "version_id"),
)

deployment_versions = Table(
    "deployment_versions",
    metadata,
    Column("deployment_id", Text, ForeignKey("deployments.id"), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("model_id", Text),
    Column("version_id", Text, ForeignKey("model_versions.id")),
    at("since", now=True),
)
"""What a deployment ran since when: a trigger on ``deployments`` notes it, and nothing else does."""

deployment_tokens = Table(
    "deployment_tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("deployment_id", Text, nullable=False),
    Column("vendor_id", Text, nullable=False),
    Column("token_hash", Text, nullable=False),
    json("scope"),
    at("created_at", now=True),
    at("expires_at", required=True),
    at("revoked_at"),
    at("last_used_at"),
    ForeignKeyConstraint(["deployment_id", "vendor_id"], ["deployments.id", "deployments.vendor_id"]),
    Index("idx_deployment_tokens_vendor_id", "vendor_id"),
    Index("idx_deployment_tokens_expires_at", "expires_at"),
    Index(None, "deployment_id"),
)

deployment_heartbeats = Table(
    "deployment_heartbeats",
    metadata,
    Column("id", Text, primary_key=True),
    Column("deployment_id", Text, ForeignKey("deployments.id"), nullable=False),
    Column("status", Text, nullable=False),
    at("timestamp", required=True),
    at("received_at", now=True),
    json("metrics"),
    Column("message", Text),
    Index(None, "deployment_id", "received_at"),
    Index(None, "received_at"),
)
