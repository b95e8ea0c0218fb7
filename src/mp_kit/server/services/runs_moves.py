"""Moving a run along its arrows: the change of state and its event in one transaction, or neither."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Row

from mp_kit.contracts import WebhookEventType
from mp_kit.errors import ConflictError
from mp_kit.server.providers.base import Handle
from mp_kit.server.services import money
from mp_kit.server.services.runs_states import FINAL, TRANSITIONS, RunFacts, State
from mp_kit.server.services.webhook_events import emit
from mp_kit.server.store import ledger
from mp_kit.server.store import runs as rows
from mp_kit.server.store.engine import Tx

__all__ = ["cost_so_far", "facts_of", "handle_of", "move"]

_HOUR = 3_600.0


def facts_of(row: Row[Any]) -> RunFacts:
    """What a decision needs to know, from a run's row."""
    since = row.provider_data.get("launching_since")
    return RunFacts(
        state=State(row.state),
        launched=row.provider_ref is not None,
        outcome=row.progress.get("outcome"),
        launching_since=datetime.fromisoformat(since) if since else None,
        deadline=row.deadline_at,
        heartbeat_at=row.last_heartbeat_at,
        cancel_requested_at=row.cancel_requested_at,
    )


def handle_of(row: Row[Any]) -> Handle | None:
    """The provider's handle, if the run has one."""
    if row.provider_ref is None:
        return None
    price = float(row.price_per_hour or 0)
    return Handle(row.provider_ref, row.vendor_id, price, row.provider_data.get("handle", {}))


def cost_so_far(row: Row[Any], now: datetime) -> float | None:
    """What earlier attempts cost, and price times hours of this one, in US dollars; None while nothing was launched."""
    since = row.provider_data.get("launched_at")
    if since is None or row.price_per_hour is None:
        return None
    hours = max((now - datetime.fromisoformat(since)).total_seconds(), 0.0) / _HOUR
    return round(float(row.provider_data.get("spent_usd", 0)) + float(row.price_per_hour) * hours, 4)


def _final_cost(tx: Tx, row: Row[Any], now: datetime) -> Decimal | None:
    """Ends the run's machines in the ledger; None if there never was one."""
    money.enter_told(tx, row, now)
    ledger.close_machines(tx, row.id, now)
    return ledger.cost(tx, row.id, now) if ledger.of_run(tx, row.id) else None


def move(
    tx: Tx,
    row: Row[Any],
    letter: str,
    now: datetime,
    *,
    values: Mapping[str, Any] | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Makes a transition.

    Args:
        tx: Holds the run's row locked.
        row: The run as it is under that lock.
        letter: Which transition.
        now: When.
        values: Further columns to change with it.
        detail: For the event.

    Raises:
        ConflictError: The transition does not start from the run's state.
    """
    arrow = TRANSITIONS[letter]
    if State(row.state) not in arrow.leaves:
        raise ConflictError(f"Run {row.id} is {row.state}: transition {letter} does not start there.")
    changed: dict[str, Any] = {"state": arrow.to.value, **(values or {})}
    if arrow.to in FINAL:
        changed |= {"finished_at": now, "lock_token": None, "locked_until": None, "cost_usd": _final_cost(tx, row, now)}
    rows.change(tx, row.id, changed)
    rows.add_event(
        tx,
        row.id,
        "transition",
        at=now,
        letter=letter,
        from_state=row.state,
        to_state=arrow.to.value,
        detail={"means": arrow.means, **(detail or {})},
    )
    if arrow.to in FINAL:
        emit(tx, WebhookEventType.RUN_FINISHED, row.vendor_id, run_id=row.id, status=arrow.to.value, finished_at=now)
