"""What every contract is made of: the frozen base model, instants, and the closed vocabularies of the wire.

Rules that hold for each model here:

1. Frozen: a changed value is a new object (``model_copy(update=...)``).
2. Instants are aware and in UTC; a naive one is refused with a sentence that says why.
3. Readers are tolerant (unknown fields are ignored), because old and newer clients meet this code.
4. Numbers are finite: JSON has no NaN, and neither has a price.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

CURRENT = "current"
"""Goes wherever a round id goes and means the round that is current now."""


class Model(BaseModel):
    """Base of all wire models: frozen, finite, tolerant of unknown fields."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, protected_namespaces=())

    def __dir__(self) -> list[str]:
        """Fields and methods of ours for tab completion, without the thirty names that pydantic adds to them."""
        return sorted((set(super().__dir__()) - _PYDANTICS) | _KEPT)


_KEPT = {"model_copy", "model_dump", "model_dump_json"}
_PYDANTICS = {name for name in dir(BaseModel) if not name.startswith("__")}


_BARE_NUMBER = re.compile(r"^\s*[-+]?[\d_]*\.?\d+\s*$")


def _refuse_bare_number(value: Any) -> Any:
    # As text too: pydantic would read "1767366245" as unix seconds.
    if isinstance(value, (int, float)) or (isinstance(value, str) and _BARE_NUMBER.match(value)):
        msg = "a bare number is no instant: send RFC 3339 text such as 2026-01-02T15:04:05Z"
        raise ValueError(msg)
    return value


def _to_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        msg = "the time has no zone, so it could mean any of 24 hours: end it with Z or an offset"
        raise ValueError(msg)
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        msg = "the time leaves the calendar when it is put into UTC"
        raise ValueError(msg) from error


Instant = Annotated[datetime, BeforeValidator(_refuse_bare_number), AfterValidator(_to_utc)]
"""An aware instant, normalised to UTC; RFC 3339 with ``Z`` on the wire."""


class Task(StrEnum):
    """What a model is for."""

    SIGNAL = "signal"
    CONSENSUS = "consensus"
    OPTIMIZER = "optimizer"


class Decision(StrEnum):
    """What a signal says to do."""

    BUY = "BUY"
    SELL = "SELL"
    HOLD = "HOLD"

    @property
    def sign(self) -> int:
        """+1 for BUY, -1 for SELL, 0 for HOLD."""
        return _SIGNS[self]


_SIGNS = {Decision.BUY: 1, Decision.SELL: -1, Decision.HOLD: 0}


class Timeframe(StrEnum):
    """Length of a bar."""

    M1 = "1m"
    M5 = "5m"
    M15 = "15m"
    H1 = "1h"
    H4 = "4h"
    D1 = "1d"

    @property
    def seconds(self) -> int:
        """Length of one bar in seconds."""
        return TIMEFRAME_SECONDS[self.value]


TIMEFRAME_SECONDS = {"1m": 60, "5m": 300, "15m": 900, "1h": 3_600, "4h": 14_400, "1d": 86_400}
"""Seconds in a bar of each timeframe."""

Symbol = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:\-]*$")]
"""An instrument's name, such as EURUSD."""

Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""A person's name for a thing."""

Identifier = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:\-]*$")]
"""An id that the marketplace or a vendor gave out."""

Confidence = Annotated[float, Field(ge=0, le=1)]
"""A probability-like number from 0 to 1."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256 of a file's bytes, lower-case hex."""

VersionText = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""A version as its vendor names it: any printable text."""
