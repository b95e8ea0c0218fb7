"""The database, declared: SQLAlchemy Core metadata that the migrations must equal (a test proves it).

Invariants that the database itself holds:

1. At most one round is current (partial unique index), and a round's files and manifest never change (trigger).
2. A run's wire status is computed from its state; its state is one of the eight of ``docs/runs.md``; the same
   idempotency key of a vendor names one run.
3. A signal's identity is unique, time first, so that the live edge of the index stays hot; its vendor is the vendor
   of its deployment (composite foreign key), so that wrong attribution cannot be stored.
4. The audit log and the history of stages can only grow (triggers, at the end of the first migration).

Money is in US dollars, times are ``timestamptz``, ids are text made in Python.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

HOUSE = "house"
"""Id of the deployment that unattributed (house) signals belong to; it has no vendor."""


def _at(name: str, *, now: bool = False, required: bool = False) -> Column[Any]:
    """An instant: set by default, required, or optional."""
    default = func.now() if now else None
    return Column(name, DateTime(timezone=True), nullable=not (now or required), server_default=default)


def _json(name: str, empty: str | None = "{}") -> Column[Any]:
    """A JSON document; ``empty`` is its default, None makes it optional."""
    if empty is None:
        return Column(name, JSONB, nullable=True)
    return Column(name, JSONB, nullable=False, server_default=text(f"'{empty}'::jsonb"))


def _one_of(column: str, *values: str, name: str | None = None) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=name or column)


def _vendor(*, nullable: bool = False) -> Column[Any]:
    return Column("vendor_id", Text, ForeignKey("marketplace_vendors.id"), nullable=nullable)


marketplace_vendors = Table(
    "marketplace_vendors",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("status", Text, nullable=False, server_default="active"),
    _json("encrypted_connections"),
    Column("session_epoch", Integer, nullable=False, server_default="0"),
    _at("created_at", now=True),
    _at("updated_at", now=True),
    _one_of("status", "pending", "active", "suspended"),
)

vendor_keys = Table(
    "vendor_keys",
    metadata,
    Column("id", Text, primary_key=True),
    _vendor(),
    Column("token_hash", Text, nullable=False),
    _json("permissions", "[]"),
    _at("created_at", now=True),
    _at("expires_at", required=True),
    _at("revoked_at"),
    _at("last_used_at"),
    Index(None, "vendor_id"),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("public_key", Text, nullable=False),
    _at("created_at", now=True),
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
    _json("files", "[]"),
    _json("held_back", "[]"),
    _json("metadata"),
    Column("manifest", LargeBinary, nullable=False),
    Column("manifest_sha256", Text, nullable=False),
    Column("manifest_key_id", Text, ForeignKey("signing_keys.id"), nullable=False),
    Column("manifest_signature", Text, nullable=False),
    _at("created_at", now=True),
    _at("expires_at"),
    _at("retired_at"),
    CheckConstraint("NOT (is_current AND retired_at IS NOT NULL)", name="current_is_not_retired"),
    Index("uq_dataset_rounds_current", "is_current", unique=True, postgresql_where=text("is_current")),
    Index(None, "created_at"),
)

dataset_grants = Table(
    "dataset_grants",
    metadata,
    Column("id", Text, primary_key=True),
    Column("round_id", Text, ForeignKey("dataset_rounds.id"), nullable=False),
    _vendor(nullable=True),
    Column("grantee", Text, nullable=False),
    _json("files", "[]"),
    _at("created_at", now=True),
    _at("expires_at", required=True),
    Index(None, "vendor_id", "created_at"),
)

training_runs = Table(
    "training_runs",
    metadata,
    Column("id", Text, primary_key=True),
    _vendor(),
    Column("round_id", Text, ForeignKey("dataset_rounds.id"), nullable=False),
    Column("task", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="queued"),
    Column(
        "status",
        Text,
        Computed(
            "CASE WHEN state IN ('launching') THEN 'queued'"
            " WHEN state IN ('finishing', 'cancelling') THEN 'running' ELSE state END",
            persisted=True,
        ),
        nullable=False,
    ),
    _json("spec"),
    _json("machine"),
    Column("idempotency_key", Text),
    Column("body_sha256", Text, nullable=False),
    Column("runpod_job_id", Text),
    Column("provider_ref", Text),
    _json("provider_data"),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("lock_token", Text),
    _at("locked_until"),
    _at("next_look_at", now=True),
    Column("max_hours", Double),
    Column("max_cost_usd", Numeric(12, 4)),
    Column("price_per_hour", Numeric(12, 6)),
    Column("cost_usd", Numeric(12, 4)),
    _at("deadline_at"),
    _at("cancel_requested_at"),
    _at("last_heartbeat_at"),
    _json("progress"),
    _json("metrics"),
    _json("artifacts"),
    Column("exit_code", Integer),
    Column("failure", Text),
    _at("created_at", now=True),
    _at("started_at"),
    _at("finished_at"),
    _one_of("task", "signal", "consensus", "optimizer"),
    _one_of("provider", "runpod", "byoc", "local"),
    _one_of("state", "queued", "launching", "running", "finishing", "succeeded", "failed", "cancelling", "cancelled"),
    CheckConstraint(
        "(finished_at IS NOT NULL) = (state IN ('succeeded', 'failed', 'cancelled'))", name="finished_when_final"
    ),
    UniqueConstraint("vendor_id", "idempotency_key"),
    Index("idx_training_runs_vendor_id", "vendor_id", "created_at"),
    Index("idx_training_runs_status", "status"),
    Index(
        "ix_training_runs_due",
        "next_look_at",
        postgresql_where=text("state NOT IN ('succeeded', 'failed', 'cancelled')"),
    ),
)

run_events = Table(
    "run_events",
    metadata,
    Column("run_id", Text, ForeignKey("training_runs.id"), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    _at("at", now=True),
    Column("kind", Text, nullable=False),
    Column("letter", Text),
    Column("from_state", Text),
    Column("to_state", Text),
    _json("detail"),
)

run_logs = Table(
    "run_logs",
    metadata,
    Column("run_id", Text, ForeignKey("training_runs.id"), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    _at("at", required=True),
    Column("stream", Text, nullable=False),
    Column("text", Text, nullable=False),
    _one_of("stream", "stdout", "stderr", "system"),
)

run_artifacts = Table(
    "run_artifacts",
    metadata,
    Column("run_id", Text, ForeignKey("training_runs.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("object_key", Text, nullable=False),
    _at("created_at", now=True),
    _at("uploaded_at"),
)

models = Table(
    "models",
    metadata,
    Column("id", Text, primary_key=True),
    _vendor(),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    Column("task", Text, nullable=False),
    _json("tags", "[]"),
    _at("created_at", now=True),
    _at("updated_at", now=True),
    _one_of("task", "signal", "consensus", "optimizer"),
    UniqueConstraint("vendor_id", "name"),
    UniqueConstraint("id", "vendor_id"),
)

model_versions = Table(
    "model_versions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("model_id", Text, ForeignKey("models.id"), nullable=False),
    Column("version", Text, nullable=False),
    Column("stage", Text, nullable=False, server_default="shadow"),
    Column("run_id", Text, ForeignKey("training_runs.id")),
    Column("hf_repo_id", Text),
    Column("last_oos_sharpe", Double),
    _at("created_at", now=True),
    _at("updated_at", now=True),
    _one_of("stage", "shadow", "pilot", "prod", "retired"),
    UniqueConstraint("model_id", "version"),
    Index("uq_model_versions_prod", "model_id", unique=True, postgresql_where=text("stage = 'prod'")),
)

model_stage_history = Table(
    "model_stage_history",
    metadata,
    Column("version_id", Text, ForeignKey("model_versions.id"), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("from_stage", Text),
    Column("to_stage", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text),
    _at("at", now=True),
)

deployments = Table(
    "deployments",
    metadata,
    Column("id", Text, primary_key=True),
    _vendor(nullable=True),
    Column("name", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("status", Text, nullable=False, server_default="pending"),
    Column("model_id", Text),
    Column("version_id", Text, ForeignKey("model_versions.id")),
    Column("endpoint", Text),
    _json("spec"),
    _at("created_at", now=True),
    _at("updated_at", now=True),
    _at("last_heartbeat_at"),
    _one_of("status", "pending", "ready", "error", "maintenance", "offline"),
    _one_of("provider", "runpod", "byoc", "local", "house"),
    CheckConstraint(f"(vendor_id IS NULL) = (id = '{HOUSE}')", name="only_house_has_no_vendor"),
    ForeignKeyConstraint(["model_id", "vendor_id"], ["models.id", "models.vendor_id"]),
    UniqueConstraint("vendor_id", "name"),
    UniqueConstraint("id", "vendor_id"),
)

deployment_tokens = Table(
    "deployment_tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("deployment_id", Text, nullable=False),
    Column("vendor_id", Text, nullable=False),
    Column("token_hash", Text, nullable=False),
    _json("scope"),
    _at("created_at", now=True),
    _at("expires_at", required=True),
    _at("revoked_at"),
    _at("last_used_at"),
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
    _at("timestamp", required=True),
    _at("received_at", now=True),
    _json("metrics"),
    Column("message", Text),
    Index(None, "deployment_id", "received_at"),
)

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
    _at("first_event"),
    _at("last_event"),
    _at("received_at", now=True),
    _at("blended_at"),
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
    _json("rationale", None),
    _json("metadata", None),
    CheckConstraint("confidence >= 0 AND confidence <= 1", name="confidence"),
    _one_of("decision", "BUY", "SELL", "HOLD"),
    _one_of("timeframe", "1m", "5m", "15m", "1h", "4h", "1d"),
    CheckConstraint(f"(vendor_id IS NULL) = (deployment_id = '{HOUSE}')", name="attributed"),
    ForeignKeyConstraint(["deployment_id", "vendor_id"], ["deployments.id", "deployments.vendor_id"]),
    UniqueConstraint("event_time", "deployment_id", "symbol", "timeframe", "model_version", name="uq_signals_identity"),
    Index(None, "symbol", "timeframe", "event_time"),
    Index(None, "vendor_id", "event_time"),
)

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
    _json("contributions"),
    _at("computed_at", now=True),
    _one_of("decision", "BUY", "SELL", "HOLD"),
    CheckConstraint("confidence >= 0 AND confidence <= 1", name="confidence"),
    Index(None, "symbol", "timeframe", "event_time"),
)

reports = Table(
    "reports",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("status", Text, nullable=False),
    _json("parameters"),
    Column("object_key", Text),
    Column("flow_run_id", Text),
    _at("created_at", now=True),
    _at("finished_at"),
    Column("failure", Text),
    _one_of("status", "running", "succeeded", "failed"),
    Index(None, "name", "created_at"),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", Text, primary_key=True),
    _at("at", now=True),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    _json("detail"),
    Index(None, "subject", "at"),
)
