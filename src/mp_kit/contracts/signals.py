"""Signals: what deployments say about bars, and what the marketplace answers.

A signal's identity is (deployment, symbol, timeframe, event_time, model_version). Three dialects are read:

1. 0.2: all fields.
2. 0.1: no ``model_id`` and no ``event_time``; they default to the token's model and to ``timestamp``.
3. ``owner, model_id, symbol, timeframe, bar_ts, decision, confidence, meta``: mapped by :func:`translate`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from pydantic import Field

from mp_kit.contracts.common import Confidence, Decision, Identifier, Instant, Model, Symbol, Timeframe, VersionText
from mp_kit.contracts.receipts import BatchReceipt


class SignalWrite(Model):
    """One signal as a vendor sends it. ``vendor_id`` and ``deployment_id`` are claims: the token decides."""

    symbol: Symbol
    timeframe: Timeframe
    decision: Decision
    confidence: Confidence
    model_version: VersionText
    timestamp: Instant
    model_id: Identifier | None = None
    event_time: Instant | None = Field(default=None, description="Open of the bar it speaks of.")
    rationale: list[str] | None = Field(default=None, max_length=50)
    metadata: dict[str, Any] | None = None
    vendor_id: str | None = None
    deployment_id: str | None = None

    @property
    def bar_time(self) -> Any:
        """The instant that is part of the identity: ``event_time``, else ``timestamp``."""
        return self.event_time or self.timestamp


def translate(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Maps a row of the third dialect to a :class:`SignalWrite`'s fields; other rows pass unchanged.

    The dialect has no model version: ``meta.model_version`` is taken, else the model's id stands for it.
    """
    if "bar_ts" not in row:
        return row
    meta = row.get("meta")
    version = meta.get("model_version") if isinstance(meta, Mapping) else None
    return {
        "symbol": row.get("symbol"),
        "timeframe": row.get("timeframe"),
        "decision": row.get("decision"),
        "confidence": row.get("confidence"),
        "model_version": version or row.get("model_id"),
        "timestamp": row["bar_ts"],
        "event_time": row["bar_ts"],
        "model_id": row.get("model_id"),
        "metadata": meta,
        "vendor_id": row.get("owner"),
        "deployment_id": row.get("deployment_id"),
    }


class ReceiptStatus(StrEnum):
    """What became of one row."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    """The same signal was stored before; its id is given."""
    CONFLICT = "conflict"
    """Another decision or confidence was stored under this identity before; this one is kept out."""
    REJECTED = "rejected"
    """The row breaks the contract; ``error`` says how."""


class SignalReceipt(Model):
    """What became of the row at ``index``."""

    index: int
    status: ReceiptStatus
    signal_id: str | None = None
    late: bool | None = None
    error: str | None = None


class StoreResult(Model):
    """What became of a batch; sent only after the commit."""

    accepted: int
    duplicates: int
    conflicts: int
    rejected: int
    receipts: list[SignalReceipt]
    idempotency_key_reused: bool | None = None
    batch_receipt: BatchReceipt | None = Field(
        default=None, description="Signed, of what this batch added; absent where it added nothing."
    )


class Signal(Model):
    """A stored signal with its attribution; house signals have no vendor."""

    signal_id: str
    symbol: str
    timeframe: Timeframe
    decision: Decision
    confidence: float
    model_version: str
    timestamp: Instant
    event_time: Instant
    received_at: Instant
    late: bool
    vendor_id: str | None = None
    deployment_id: str | None = None
    model_id: str | None = None
    rationale: list[str] | None = None
    metadata: dict[str, Any] | None = None
