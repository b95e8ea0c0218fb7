"""Parquet drops: the ledger of what vendors put into their inboxes."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Integer, Table, Text, text

from mp_kit.server.store.tables.base import at, json, metadata, one_of

signal_drops = Table(
    "signal_drops",
    metadata,
    Column("deployment_id", Text, ForeignKey("deployments.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("state", Text, nullable=False, server_default=text("'awaited'")),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("object_key", Text, nullable=False),
    json("scope"),
    Column("next_row", BigInteger, nullable=False, server_default=text("0")),
    Column("accepted", BigInteger, nullable=False, server_default=text("0")),
    Column("duplicates", BigInteger, nullable=False, server_default=text("0")),
    Column("conflicts", BigInteger, nullable=False, server_default=text("0")),
    Column("rejected", BigInteger, nullable=False, server_default=text("0")),
    json("problems", "[]"),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("failure", Text),
    at("announced_at", required=True),
    at("finished_at"),
    at("looked_at"),
    one_of("state", "awaited", "stored", "failed"),
    CheckConstraint("(state = 'awaited') = (finished_at IS NULL)", name="finished"),
    Index("ix_signal_drops_awaited", "announced_at", postgresql_where=text("state = 'awaited'")),
)
