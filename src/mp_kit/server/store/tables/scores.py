"""Scores of deployments by round, and the running counts of what they said."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, ForeignKey, Index, Integer, Table, Text

from mp_kit.server.store.tables.base import at, json, metadata, one_of

model_scores = Table(
    "model_scores",
    metadata,
    Column("round_id", Text, ForeignKey("dataset_rounds.id"), primary_key=True),
    Column("deployment_id", Text, ForeignKey("deployments.id"), primary_key=True),
    Column("timeframe", Text, nullable=False),
    Column("enough_data", Boolean, nullable=False),
    Column("reason", Text),
    Column("bars", Integer, nullable=False),
    Column("sharpe", Double),
    Column("dsr", Double),
    json("card"),
    json("standing"),
    json("tries_by_round"),
    at("computed_at", now=True),
    one_of("timeframe", "1m", "5m", "15m", "1h", "4h", "1d"),
    Index(None, "deployment_id", "timeframe"),
)

signal_rollups = Table(
    "signal_rollups",
    metadata,
    Column("deployment_id", Text, ForeignKey("deployments.id"), primary_key=True),
    Column("symbol", Text, primary_key=True),
    Column("timeframe", Text, primary_key=True),
    Column("predictions", BigInteger, nullable=False),
    Column("confidence", Double, nullable=False),
)
"""Sums over all signals of counted batches."""

uncounted_batches = Table(
    "uncounted_batches",
    metadata,
    Column("batch_id", BigInteger, ForeignKey("signal_batches.id"), primary_key=True, autoincrement=False),
    Column("deployment_id", Text, nullable=False),
    at("first_event", required=True),
    at("last_event", required=True),
)
"""Batches that no rollup has yet: a trigger on ``signal_batches`` notes them in the batch's own transaction."""
