"""Drops: Parquet files of signals that a deployment puts into its inbox, for more than a request takes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from mp_kit.contracts.common import Instant, Model, Sha256
from mp_kit.contracts.signals import SignalReceipt

MAX_DROP_BYTES = 1 << 30
"""Largest Parquet file of a drop."""

DropName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._\-]{0,99}$")]
"""A deployment's own name for a drop, used once."""


class DropState(StrEnum):
    """Where a drop stands."""

    AWAITED = "awaited"
    """Announced; its bytes have not been taken up yet."""
    STORED = "stored"
    """Every row was stored, known, or told what is wrong with it."""
    FAILED = "failed"
    """It can't be read, or never came; ``failure`` says why. What was stored before that stays, once."""


class DropRequest(Model):
    """What a deployment is about to drop."""

    name: DropName
    size_bytes: int = Field(ge=1, le=MAX_DROP_BYTES)
    sha256: Sha256


class Drop(Model):
    """A drop and what became of its rows so far; counts grow while it is stored."""

    name: str
    deployment_id: str
    state: DropState
    size_bytes: int
    sha256: str
    announced_at: Instant
    finished_at: Instant | None = None
    rows: int = Field(description="Rows read so far.")
    accepted: int
    duplicates: int
    conflicts: int
    rejected: int
    problems: list[SignalReceipt] = Field(
        default_factory=list,
        description="The first 1,000 rows that were rejected or in conflict, by their place in the file.",
    )
    failure: str | None = None


class DropTarget(Model):
    """A drop, and where to PUT its bytes while it is awaited."""

    drop: Drop
    url: str | None = Field(default=None, repr=False)
    expires_at: Instant | None = None
