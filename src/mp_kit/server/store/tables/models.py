"""Models, their versions, and the history of stages."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from mp_kit.server.store.tables.base import at, json, metadata, one_of, vendor_id

models = Table(
    "models",
    metadata,
    Column("id", Text, primary_key=True),
    vendor_id(),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    Column("task", Text, nullable=False),
    json("tags", "[]"),
    at("created_at", now=True),
    at("updated_at", now=True),
    one_of("task", "signal", "consensus", "optimizer"),
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
    at("created_at", now=True),
    at("updated_at", now=True),
    one_of("stage", "shadow", "pilot", "prod", "retired"),
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
    at("at", now=True),
)

model_validations = Table(
    "model_validations",
    metadata,
    Column("version_id", Text, ForeignKey("model_versions.id"), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("digest", Text, nullable=False),
    Column("passed", Boolean, nullable=False),
    json("report"),
    Column("actor", Text, nullable=False),
    at("at", now=True),
    UniqueConstraint("version_id", "digest"),
)

model_approvals = Table(
    "model_approvals",
    metadata,
    Column("version_id", Text, ForeignKey("model_versions.id"), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("granted", Boolean, nullable=False),
    Column("actor", Text, nullable=False),
    Column("why", Text, nullable=False),
    at("at", now=True),
    CheckConstraint("length(why) > 0", name="why"),
)
