"""Training runs, their history, logs and artifacts."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    Double,
    ForeignKey,
    Index,
    Integer,
    Numeric,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from mp_kit.server.store.tables.base import at, json, metadata, one_of, vendor_id

training_runs = Table(
    "training_runs",
    metadata,
    Column("id", Text, primary_key=True),
    vendor_id(),
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
    json("spec"),
    json("machine"),
    Column("idempotency_key", Text),
    Column("body_sha256", Text, nullable=False),
    Column("runpod_job_id", Text),
    Column("provider_ref", Text),
    json("provider_data"),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("lock_token", Text),
    at("locked_until"),
    at("next_look_at", now=True),
    Column("max_hours", Double),
    Column("max_cost_usd", Numeric(12, 4)),
    Column("reserved_usd", Numeric(12, 4), nullable=False, server_default="0"),
    Column("price_per_hour", Numeric(12, 6)),
    Column("cost_usd", Numeric(12, 4)),
    at("deadline_at"),
    at("cancel_requested_at"),
    at("last_heartbeat_at"),
    json("progress"),
    json("metrics"),
    json("artifacts"),
    Column("exit_code", Integer),
    Column("failure", Text),
    at("created_at", now=True),
    at("started_at"),
    at("finished_at"),
    one_of("task", "signal", "consensus", "optimizer"),
    one_of("provider", "runpod", "byoc", "local"),
    one_of("state", "queued", "launching", "running", "finishing", "succeeded", "failed", "cancelling", "cancelled"),
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

run_machines = Table(  # the ledger: what was started for a run, from when to when, at what price
    "run_machines",
    metadata,
    Column("provider", Text, primary_key=True),
    Column("ref", Text, primary_key=True),
    Column("run_id", Text, ForeignKey("training_runs.id"), nullable=False),
    Column("attempt", Integer, nullable=False),
    vendor_id(),
    Column("price_per_hour", Numeric(12, 6), nullable=False),
    at("since", required=True),
    at("until"),
    Column("billed_usd", Numeric(14, 6)),
    at("billed_at"),
    at("asked_at"),
    Index(None, "run_id"),
    Index("ix_run_machines_unbilled", "until", postgresql_where=text("billed_at IS NULL")),
)

run_mirrors = Table(  # which of Prefect's flow runs shows a run, and the state that it shows
    "run_mirrors",
    metadata,
    Column("run_id", Text, ForeignKey("training_runs.id"), primary_key=True),
    Column("flow_run_id", Text, nullable=False),
    Column("shown_state", Text, nullable=False),
    at("shown_at", now=True),
)

run_events = Table(
    "run_events",
    metadata,
    Column("run_id", Text, ForeignKey("training_runs.id"), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    at("at", now=True),
    Column("kind", Text, nullable=False),
    Column("letter", Text),
    Column("from_state", Text),
    Column("to_state", Text),
    json("detail"),
)

run_logs = Table(
    "run_logs",
    metadata,
    Column("run_id", Text, ForeignKey("training_runs.id"), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    at("at", required=True),
    Column("stream", Text, nullable=False),
    Column("text", Text, nullable=False),
    one_of("stream", "stdout", "stderr", "system"),
)

run_artifacts = Table(
    "run_artifacts",
    metadata,
    Column("run_id", Text, ForeignKey("training_runs.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("object_key", Text, nullable=False),
    at("created_at", now=True),
    at("uploaded_at"),
)
