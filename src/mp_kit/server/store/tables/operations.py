"""Reports and the audit log."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index, Table, Text

from mp_kit.server.store.tables.base import at, json, metadata, one_of, vendor_id

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
    Column("audience", Text, nullable=False, server_default="operator"),
    vendor_id(nullable=True),
    Column("title", Text, nullable=False, server_default=""),
    one_of("status", "running", "succeeded", "failed"),
    one_of("audience", "operator", "vendor", "public"),
    CheckConstraint("(audience = 'vendor') = (vendor_id IS NOT NULL)", name="a_vendors_own"),
    Index(None, "name", "created_at"),
    Index(None, "audience", "created_at"),
    Index(None, "vendor_id", "created_at"),
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
    Column("address", Text),  # of who asked the edge for it; none: the operator's own processes
    Column("outcome", Text, nullable=False, server_default="done"),
    one_of("outcome", "done", "refused"),
    Index(None, "subject", "at"),
    Index("ix_audit_log_at", "at", "id"),
)
