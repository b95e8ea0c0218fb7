"""Hostings: deployments whose servers the marketplace runs, where and how they stand."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKeyConstraint, Index, Integer, Table, Text, text

from mp_kit.server.store.tables.base import at, json, metadata, one_of

hostings = Table(
    "hostings",
    metadata,
    Column("deployment_id", Text, primary_key=True),
    Column("vendor_id", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="queued"),
    Column("wanted", Text, nullable=False, server_default="running"),
    json("spec"),
    Column("attempt", Integer, nullable=False, server_default=text("0")),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("provider_ref", Text),
    json("provider_data"),
    json("seen"),
    Column("failure", Text),
    Column("token_id", Text),
    Column("lock_token", Text),
    at("locked_until"),
    at("next_look_at", now=True),
    at("launched_at"),
    at("created_at", now=True),
    at("updated_at", now=True),
    one_of("provider", "runpod", "local"),
    one_of("kind", "endpoint", "pod", "process"),
    one_of("state", "queued", "launching", "running", "ending", "stopped", "failed", "removed"),
    one_of("wanted", "running", "stopped", "removed"),
    ForeignKeyConstraint(["deployment_id", "vendor_id"], ["deployments.id", "deployments.vendor_id"]),
    Index("ix_hostings_due", "next_look_at", postgresql_where=text("state NOT IN ('stopped', 'failed', 'removed')")),
)
