"""Signals and the batches they came in."""

from __future__ import annotations

from sqlalchemy import (
    DDL,
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
    event,
    text,
)

from mp_kit.server.store.tables.base import HOUSE, at, json, metadata, one_of

signal_batches = Table(
    "signal_batches",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("deployment_id", Text, ForeignKey("deployments.id"), nullable=False),
    Column("idempotency_key", Text),
    Column("body_sha256", LargeBinary, nullable=False),
    Column("answer", LargeBinary),
    Column("rows", Integer, nullable=False),
    Column("accepted", Integer, nullable=False),
    at("first_event"),
    at("last_event"),
    at("received_at", now=True),
    at("blended_at"),
    UniqueConstraint("deployment_id", "idempotency_key"),
    Index("ix_signal_batches_unblended", "id", postgresql_where=text("blended_at IS NULL AND accepted > 0")),
)

signals = Table(
    "signals",
    metadata,
    Column("event_time", DateTime(timezone=True), nullable=False),
    Column("received_at", DateTime(timezone=True), nullable=False),
    Column("ts", DateTime(timezone=True), nullable=False),
    Column("batch_id", BigInteger, nullable=False),
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
    json("rationale", None),
    json("metadata", None),
    CheckConstraint("confidence >= 0 AND confidence <= 1", name="confidence"),
    one_of("decision", "BUY", "SELL", "HOLD"),
    one_of("timeframe", "1m", "5m", "15m", "1h", "4h", "1d"),
    CheckConstraint(f"(vendor_id IS NULL) = (deployment_id = '{HOUSE}')", name="attributed"),
    ForeignKeyConstraint(["deployment_id", "vendor_id"], ["deployments.id", "deployments.vendor_id"]),
    UniqueConstraint("event_time", "deployment_id", "symbol", "timeframe", "model_version", name="uq_signals_identity"),
    Index(None, "symbol", "timeframe", "event_time"),
    Index(None, "vendor_id", "event_time"),
    postgresql_partition_by="RANGE (event_time)",
)
"""In partitions by month (:mod:`mp_kit.server.store.partitions`); months without one of their own share the default."""

_DEFAULT = DDL("CREATE TABLE signals_default PARTITION OF signals DEFAULT")  # type: ignore[no-untyped-call] # SQLAlchemy's
event.listen(signals, "after_create", _DEFAULT)

signal_chains = Table(
    "signal_chains",
    metadata,
    Column("deployment_id", Text, ForeignKey("deployments.id"), primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("head", Text, nullable=False),
    Column("key_id", Text, ForeignKey("signing_keys.id")),
)
"""The end of each deployment's chain of receipts; its row's lock is what puts batches in an order."""

signal_receipts = Table(
    "signal_receipts",
    metadata,
    Column("deployment_id", Text, ForeignKey("deployments.id"), primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("batch_id", BigInteger, nullable=False),
    Column("payload", Text, nullable=False),
    Column("key_id", Text, ForeignKey("signing_keys.id"), nullable=False),
    Column("signature", Text, nullable=False),
    UniqueConstraint("batch_id"),
    CheckConstraint("seq > 0", name="seq"),
)
