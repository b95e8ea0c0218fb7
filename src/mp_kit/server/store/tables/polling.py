"""Being asked: whom the marketplace asks at each bar's close, about which bars, and what is used of a vendor's day."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    Table,
    Text,
    text,
)

from mp_kit.server.store.tables.base import at, metadata, one_of

pollings = Table(
    "pollings",
    metadata,
    Column("deployment_id", Text, primary_key=True),
    Column("vendor_id", Text, nullable=False),
    Column("poll", Boolean, nullable=False, server_default=text("true")),
    Column("infer_url", Text),  # none: the marketplace runs the server, and its provider told the address
    Column("symbols", ARRAY(Text)),  # none: all
    Column("timeframes", ARRAY(Text)),
    # The breaker: calls in a row that failed, times in a row that it opened, and when one call may try again.
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("opens", Integer, nullable=False, server_default=text("0")),
    at("retry_at"),
    at("last_at"),
    Column("last_outcome", Text),
    Column("last_reason", Text),
    at("created_at", now=True),
    at("updated_at", now=True),
    one_of("last_outcome", "accepted", "duplicate", "conflict", "rejected", "failed"),
    ForeignKeyConstraint(["deployment_id", "vendor_id"], ["deployments.id", "deployments.vendor_id"]),
    Index(None, "vendor_id"),
)

polls = Table(
    "polls",
    metadata,
    Column("deployment_id", Text, primary_key=True),
    Column("symbol", Text, primary_key=True),
    Column("timeframe", Text, primary_key=True),
    Column("event_time", DateTime(timezone=True), primary_key=True),
    Column("vendor_id", Text, nullable=False),
    Column("state", Text, nullable=False),  # asking (held by a lease), again (failed, worth another call), done
    Column("outcome", Text),
    Column("attempts", Integer, nullable=False, server_default=text("1")),
    Column("lock_token", Text),
    at("locked_until"),
    at("asked_at", now=True),
    Column("http_status", Integer),
    Column("milliseconds", Integer),
    Column("late", Boolean),
    Column("reason", Text),
    one_of("state", "asking", "again", "done"),
    one_of("outcome", "accepted", "duplicate", "conflict", "rejected", "failed"),
    ForeignKeyConstraint(["deployment_id", "vendor_id"], ["deployments.id", "deployments.vendor_id"]),
    Index(None, "asked_at"),
    Index(None, "deployment_id", "asked_at"),
)

poll_budgets = Table(
    "poll_budgets",
    metadata,
    Column("vendor_id", Text, ForeignKey("marketplace_vendors.id"), primary_key=True),
    Column("day", Date, primary_key=True),  # in UTC
    Column("calls", Integer, nullable=False, server_default=text("0")),
    Column("milliseconds", BigInteger, nullable=False, server_default=text("0")),
    Column("most_calls", Integer, nullable=False),  # as they stood when they were last compared with
    Column("most_milliseconds", BigInteger, nullable=False),
    Column("exhausted", Boolean, nullable=False, server_default=text("false")),
    Index(None, "day"),
)
