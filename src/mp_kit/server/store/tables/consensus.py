"""The consensus of bars by method, what vendors' own models say, and which method is shown first."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
    true,
)

from mp_kit.server.store.tables.base import HOUSE, at, json, metadata, one_of

consensus = Table(
    "consensus",
    metadata,
    Column("event_time", DateTime(timezone=True), primary_key=True),
    Column("symbol", Text, primary_key=True),
    Column("timeframe", Text, primary_key=True),
    Column("method", Text, primary_key=True),
    Column("decision", Text, nullable=False),
    Column("confidence", Double, nullable=False),
    Column("score", Double, nullable=False),
    Column("signals", Integer, nullable=False),
    json("contributions"),
    at("computed_at", now=True),
    Column("late", Boolean, nullable=False, server_default=false()),
    Column("deployment_id", Text),
    Column("vendor_id", Text),
    one_of("decision", "BUY", "SELL", "HOLD"),
    CheckConstraint("confidence >= 0 AND confidence <= 1", name="confidence"),
    ForeignKeyConstraint(["deployment_id", "vendor_id"], ["deployments.id", "deployments.vendor_id"]),
    Index(None, "symbol", "timeframe", "event_time"),
)

consensus_settings = Table(
    "consensus_settings",
    metadata,
    Column("singleton", Boolean, primary_key=True, server_default=true()),
    Column("primary_method", Text, nullable=False),
    at("changed_at", now=True),
    CheckConstraint("singleton", name="one_row"),
)

vendor_consensus_batches = Table(
    "vendor_consensus_batches",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("deployment_id", Text, ForeignKey("deployments.id"), nullable=False),
    Column("idempotency_key", Text),
    Column("body_sha256", LargeBinary, nullable=False),
    Column("answer", LargeBinary),
    Column("accepted", Integer, nullable=False),
    at("received_at", required=True),
    at("shown_at"),
    UniqueConstraint("deployment_id", "idempotency_key"),
    Index("ix_vendor_consensus_batches_unshown", "id", postgresql_where=text("shown_at IS NULL AND accepted > 0")),
)

vendor_consensus = Table(
    "vendor_consensus",
    metadata,
    Column("event_time", DateTime(timezone=True), nullable=False),
    Column("received_at", DateTime(timezone=True), nullable=False),
    Column("ts", DateTime(timezone=True), nullable=False),
    Column("batch_id", BigInteger, ForeignKey("vendor_consensus_batches.id"), nullable=False),
    Column("confidence", Double, nullable=False),
    Column("row_no", Integer, nullable=False),
    Column("late", Boolean, nullable=False),
    Column("deployment_id", Text, nullable=False),
    Column("vendor_id", Text),
    Column("model_id", Text),
    Column("symbol", Text, nullable=False),
    Column("timeframe", Text, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("decision", Text, nullable=False),
    json("contributions"),
    json("rationale", None),
    json("metadata", None),
    CheckConstraint("confidence >= 0 AND confidence <= 1", name="confidence"),
    one_of("decision", "BUY", "SELL", "HOLD"),
    one_of("timeframe", "1m", "5m", "15m", "1h", "4h", "1d"),
    CheckConstraint(f"(vendor_id IS NULL) = (deployment_id = '{HOUSE}')", name="attributed"),
    ForeignKeyConstraint(["deployment_id", "vendor_id"], ["deployments.id", "deployments.vendor_id"]),
    UniqueConstraint(
        "event_time", "deployment_id", "symbol", "timeframe", "model_version", name="uq_vendor_consensus_identity"
    ),
    Index(None, "batch_id"),
)
