"""What runs may cost and have cost: reservations, the ledger of machines, bills.

1. Every run on a provider that charges has a bound in US dollars, whether or not its vendor named one.
2. A run is accepted only if its bound fits under the vendor's monthly ceiling, beside what is spent and reserved.
3. A machine is in the ledger from the moment when its launch began: the estimate is never below the bill.
4. Later attempts get what the earlier ones left, of the money and of the hours.
5. A bill replaces the estimate a day after the machine's end; until then it may lack hours, and the larger counts. A
   run's cost is the sum over its machines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_UP, Decimal
from typing import Any

from sqlalchemy import Row

from mp_kit.errors import BudgetError
from mp_kit.server.providers.base import Handle
from mp_kit.server.services import audit, vendors
from mp_kit.server.store import ledger
from mp_kit.server.store.engine import Tx

__all__ = [
    "CHARGING",
    "DEFAULT_HOURS",
    "DEFAULT_USD",
    "Left",
    "bound",
    "enter_told",
    "hours",
    "left",
    "month_began",
    "reserve",
    "set_ceiling",
    "started",
    "worst_case",
]

CHARGING = frozenset({"runpod"})
"""Providers whose machines cost the vendor money."""

DEFAULT_HOURS = 4.0
"""Bound of a run whose vendor named none."""

DEFAULT_USD = 25.0
"""Bound of the cost of a run on a charging provider, if its vendor named none."""


@dataclass(frozen=True)
class Left:
    """What earlier attempts of a run left of its budget.

    Attributes:
        hours: Until it is used up.
        usd: US dollars; None where nothing bounds them.
        spent_usd: What they have cost.
    """

    hours: float
    usd: float | None
    spent_usd: float


def bound(provider: str, max_cost_usd: float | None) -> float | None:
    """The most that a run may cost: the vendor's own bound, else the house's for providers that charge."""
    if max_cost_usd is not None or provider not in CHARGING:
        return max_cost_usd
    return DEFAULT_USD


def hours(max_hours: float | None) -> float:
    """The most hours that a run may take: the vendor's own bound, else the house's."""
    return max_hours or DEFAULT_HOURS


def reserve(tx: Tx, vendor_id: str, now: datetime) -> None:
    """Checks that a vendor's new run, already stored in this transaction, fits under its ceiling.

    Args:
        tx: Rolled back by the caller if this raises; the vendor's next order waits for its end.
        vendor_id: Whose.
        now: An aware instant; the ceiling is for its calendar month in UTC.

    Raises:
        BudgetError: What is spent this month and what may still be spent would be above the ceiling.
    """
    ceiling = ledger.ceiling(tx, vendor_id)
    if ceiling is None:
        return
    committed = ledger.committed(tx, vendor_id, month_began(now))
    if committed > ceiling:
        raise BudgetError(
            f"With this run ${committed:.2f} would be spent or reserved this month; your ceiling is ${ceiling:.2f}.",
            hint="Lower budget.max_cost_usd, wait for runs to end, or ask the operator for a higher ceiling.",
        )


def month_began(now: datetime) -> datetime:
    """The first instant of a month in UTC."""
    return now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def set_ceiling(tx: Tx, vendor: str, usd: Decimal | None, *, actor: str) -> str:
    """Changes what a vendor's runs may cost per calendar month; runs under way go on.

    Args:
        tx: The caller's transaction.
        vendor: Its id or name.
        usd: US dollars; None for no ceiling.
        actor: Who does it, for the audit.

    Returns:
        The vendor's id.

    Raises:
        NotFoundError: There is no such vendor.
    """
    vendor_id = str(vendors.named(tx, vendor).id)
    ledger.set_ceiling(tx, vendor_id, usd)
    audit.record(tx, actor, "vendor.ceiling", vendor_id, monthly_ceiling_usd=None if usd is None else float(usd))
    return vendor_id


def left(tx: Tx, run_id: str, *, max_hours: float, max_cost_usd: float | None, now: datetime) -> Left:
    """What is left of a run's budget for its next attempt; its earlier machines are ended."""
    ledger.close_machines(tx, run_id, now)
    spent = float(ledger.cost(tx, run_id, now))
    usd = None if max_cost_usd is None else max(max_cost_usd - spent, 0.0)
    return Left(max(max_hours - ledger.hours(tx, run_id, now), 0.0), usd, spent)


def started(tx: Tx, provider: str, handle: Handle, *, run_id: str, attempt: int, since: datetime) -> None:
    """Enters a machine into the ledger; repeatable.

    Args:
        tx: The caller's transaction.
        provider: Its name.
        handle: Of the machine.
        run_id: For which run.
        attempt: Which of its launches.
        since: When that launch began.
    """
    values: Mapping[str, Any] = {
        "provider": provider,
        "ref": handle.ref,
        "run_id": run_id,
        "attempt": attempt,
        "vendor_id": handle.vendor_id,
        "price_per_hour": Decimal(str(handle.price_per_hour)),
        "since": since,
    }
    ledger.open_machine(tx, values)


def enter_told(tx: Tx, row: Row[Any], now: datetime) -> None:
    """Enters the machine that a run's job named, where nobody else saw it.

    Its launch's answer was lost, and it was over before it was looked for. Its price is unknown until its bill comes.

    Args:
        tx: Holds the run's row.
        row: The run.
        now: An aware instant.
    """
    ref = row.progress.get("machine_ref")
    if not ref or row.provider not in CHARGING:
        return
    since = row.provider_data.get("launching_since")
    handle = Handle(ref, row.vendor_id, float(row.price_per_hour or 0))
    begun = datetime.fromisoformat(since) if since else now
    started(tx, row.provider, handle, run_id=row.id, attempt=row.attempt, since=begun)


def worst_case(price_per_hour: Decimal, hours: float) -> Decimal:
    """The cost of a machine that lives for all its hours, in US dollars, rounded up to the cent."""
    return (price_per_hour * Decimal(str(hours))).quantize(Decimal("0.01"), ROUND_UP)
