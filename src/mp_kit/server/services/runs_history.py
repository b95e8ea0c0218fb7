"""A run's history as its vendor may read it: in sentences, and without secrets.

1. Only fields that are known to be harmless leave; what providers and jobs said in their own words is redacted.
2. Console, command line and notebooks read this and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row

from mp_kit.contracts.training import RunEvent
from mp_kit.server.redaction import redact
from mp_kit.server.services.runs_states import TRANSITIONS

__all__ = ["KINDS", "to_wire"]

KINDS: Mapping[str, str] = {
    "created": "It was ordered.",
    "launched": "The provider started a machine for it.",
    "refused": "The provider has no machine for it now; another attempt follows.",
    "launch_unknown": "The provider's answer was lost; it is being looked for.",
    "not_terminated": "The provider did not take the order to end it; it is asked again.",
    "not_started": "Its launch was refused, and nothing had been started.",
    "environment": "Its environment was handed out to its vendor.",
    "outcome": "The job told its outcome while it was being ended.",
    "trouble": "The marketplace could not look at it; it tries again.",
}
"""What the entries mean that are no arrows of the state machine."""

_SHOWN = ("attempt", "provider", "ref", "gpu", "price_per_hour_usd", "outcome", "exit_code", "failure", "error")


def to_wire(row: Row[Any]) -> RunEvent:
    """An entry of the history as the wire shows it."""
    arrow = TRANSITIONS.get(row.letter or "")
    return RunEvent(
        seq=row.seq,
        at=row.at,
        kind=row.kind,
        means=arrow.means if arrow else KINDS.get(row.kind, "Something happened that this version has no word for."),
        letter=row.letter,
        from_state=row.from_state,
        to_state=row.to_state,
        detail={name: _harmless(row.detail[name]) for name in _SHOWN if row.detail.get(name) is not None},
    )


def _harmless(value: Any) -> Any:
    return value if isinstance(value, bool | int | float) else redact(str(value))
