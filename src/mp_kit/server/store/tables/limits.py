"""What is left of everybody's limits. Unlogged: a crash of Postgres fills the buckets, and nothing else is lost."""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, Integer, Table, Text

from mp_kit.server.store.tables.base import metadata

rate_buckets = Table(
    "rate_buckets",
    metadata,
    Column("key", Text, primary_key=True),  # limit:subject
    Column("full_at", Float, nullable=False),  # Unix seconds
    Column("granted", Integer, nullable=False),  # to the last that asked
    Column("asked_at", Float, nullable=False),
    Index(None, "full_at"),
    prefixes=["UNLOGGED"],
)
