"""Reports and the audit log."""

from __future__ import annotations

from sqlalchemy import Column, Index, Table, Text

from mp_kit.server.store.tables.base import at, json, metadata, one_of

reports = Table(
    "reports",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("status", Text, nullable=False),
    json("parameters"),
    Column("object_key", Text),
    Column("flow_run_id", Text),
    at("created_at", now=True),
    at("finished_at"),
    Column("failure", Text),
    one_of("status", "running", "succeeded", "failed"),
    Index(None, "name", "created_at"),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", Text, primary_key=True),
    at("at", now=True),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    json("detail"),
    Index(None, "subject", "at"),
)
