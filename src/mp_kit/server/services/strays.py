"""The last wall around money: ends whatever of ours is on a vendor's account and should not be, and asks for the bills.

1. It needs the database and the vendor's key, nothing else: no flow, no edge, no supervisor.
2. Only machines that bear this marketplace's name are looked at; a vendor's own are never touched.
3. A machine younger than two minutes is left alone: its launch may be under way.
4. Whatever was ended is entered into its run's ledger, so that its bill is not lost; on another vendor's account it is
   none of that run's, whatever its name says.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Row

from mp_kit.errors import MarketplaceError
from mp_kit.server.providers.base import Found, Handle, Provider
from mp_kit.server.services import audit, money
from mp_kit.server.services.runs_states import FINAL, OVERDUE_GRACE, State
from mp_kit.server.store import ledger
from mp_kit.server.store.engine import Database, Tx

__all__ = ["Stray", "SweepReport", "Walls", "accounts_of", "reconcile", "stray_because", "sweep"]

log = logging.getLogger(__name__)

YOUNG = timedelta(minutes=2)
SWEEP_GRACE = OVERDUE_GRACE + timedelta(minutes=2)
"""The job's own watchdog and the supervisor come first."""

BILLED_DAYS = 3
"""Providers bill by the hour at best and correct themselves; after this a bill is final."""

_BILLS = 500


@dataclass(frozen=True)
class Walls:
    """When a machine is a stray; rehearsals have shorter times.

    Attributes:
        young: Below this age it is left alone.
        grace: Behind its run's deadline.
    """

    young: timedelta = YOUNG
    grace: timedelta = SWEEP_GRACE


@dataclass(frozen=True)
class Stray:
    """A machine that should not be there.

    Attributes:
        provider: Where it is.
        vendor_id: On whose account.
        ref: Its id there.
        run_id: The run in its name.
        attempt: The attempt in its name.
        price_per_hour: US dollars.
        because: Why it should not be there.
        ended: Whether the provider took the wish to end it.
    """

    provider: str
    vendor_id: str
    ref: str
    run_id: str
    attempt: int
    price_per_hour: float
    because: str
    ended: bool = False


@dataclass(frozen=True)
class SweepReport:
    """What a sweep saw and did.

    Attributes:
        seen: Machines of ours.
        strays: Those that should not be there.
        unreachable: ``provider/vendor: reason`` for each account that could not be looked at.
    """

    seen: int
    strays: Sequence[Stray]
    unreachable: Sequence[str]


def accounts_of(tx: Tx, providers: Collection[str]) -> list[tuple[str, str]]:
    """Where machines of ours may be: each provider with the vendors that ever ran anything there.

    A vendor who has taken the connection away, or was erased, is left out as soon as nothing of it is open there.
    """
    return ledger.accounts(tx, sorted(providers), sorted(money.CHARGING))


def sweep(
    db: Database,
    providers: Mapping[str, Provider],
    accounts: Sequence[tuple[str, str]],
    *,
    now: datetime,
    dry_run: bool = False,
    actor: str = "operator",
    walls: Walls = Walls(),
) -> SweepReport:
    """Looks at every account and ends strays.

    Args:
        db: No transaction is open while a provider is asked.
        providers: By name.
        accounts: Provider and vendor of each; see :func:`accounts_of`.
        now: An aware instant.
        dry_run: Only look.
        actor: For the audit.
        walls: When a machine is a stray.
    """
    seen, strays, unreachable = 0, list[Stray](), list[str]()
    for name, vendor_id in accounts:
        try:
            found = providers[name].mine(vendor_id)
        except MarketplaceError as error:
            unreachable.append(f"{name}/{vendor_id}: {error}")
            continue
        seen += len(found)
        for machine, stray in _judged(db, name, found, now, walls):
            strays.append(stray if dry_run else _end(db, providers[name], machine, stray, now, actor))
    return SweepReport(seen, strays, unreachable)


def stray_because(machine: Found, run: Row[Any] | None, now: datetime, walls: Walls = Walls()) -> str | None:
    """Why a machine should not be there; None if it may be.

    Args:
        machine: As its provider shows it.
        run: ``state``, ``attempt``, ``provider_ref``, ``deadline_at`` and ``vendor_id`` of the run in its name, if any.
        now: An aware instant.
        walls: When it is one.
    """
    if now - machine.created_at < walls.young:
        return None
    if run is None or run.vendor_id != machine.handle.vendor_id:
        return "No run of this marketplace is called so."
    if State(run.state) in FINAL:
        return f"Its run is {run.state}."
    if machine.attempt != run.attempt or State(run.state) is State.QUEUED:
        return "Its launch was given up."
    return _unwanted(machine, run, now, walls)


def _unwanted(machine: Found, run: Row[Any], now: datetime, walls: Walls) -> str | None:
    if run.provider_ref is not None and run.provider_ref != machine.handle.ref:
        return "Its run has another machine."
    if run.deadline_at is not None and now > run.deadline_at + walls.grace:
        return "Its budget is used up."
    return None


def _judged(
    db: Database, provider: str, found: Sequence[Found], now: datetime, walls: Walls
) -> list[tuple[Found, Stray]]:
    with db.begin() as tx:
        runs = ledger.facts_of(tx, [machine.run_id for machine in found])
    judged = [(machine, stray_because(machine, runs.get(machine.run_id), now, walls)) for machine in found]
    return [(machine, _stray(provider, machine, why)) for machine, why in judged if why]


def _stray(provider: str, machine: Found, because: str) -> Stray:
    handle = machine.handle
    facts = (handle.ref, machine.run_id, machine.attempt, handle.price_per_hour)
    return Stray(provider, handle.vendor_id, *facts, because)


def _end(db: Database, provider: Provider, machine: Found, stray: Stray, now: datetime, actor: str) -> Stray:
    try:
        provider.terminate(machine.handle)
    except MarketplaceError as error:
        log.warning("%s could not be ended: %s", stray.ref, error)
        return stray
    ended = Stray(**{**asdict(stray), "ended": True})
    with db.begin() as tx:
        _enter(tx, machine, ended, now)
        audit.record(tx, actor, "sweep.terminate", stray.ref, **{**asdict(ended), "ended": True})
    return ended


def _enter(tx: Tx, machine: Found, stray: Stray, now: datetime) -> None:
    run = ledger.facts_of(tx, [machine.run_id]).get(machine.run_id)
    if run is None or run.vendor_id != stray.vendor_id:  # who names a pod after another's run does not charge that run
        return
    money.started(
        tx, stray.provider, machine.handle, run_id=machine.run_id, attempt=machine.attempt, since=machine.created_at
    )
    ledger.close_machine(tx, stray.provider, stray.ref, now)
    ledger.settle_costs(tx, [machine.run_id], now)


def reconcile(db: Database, providers: Mapping[str, Provider], *, now: datetime) -> int:
    """Replaces estimates by bills, for machines that ended in the last days; returns how many bills came.

    Args:
        db: No transaction is open while a provider is asked.
        providers: By name.
        now: An aware instant.
    """
    with db.begin() as tx:
        waiting = ledger.ask_for_bills(tx, ended_after=now - timedelta(days=BILLED_DAYS), limit=_BILLS, at=now)
    accounts: dict[tuple[str, str], list[Row[Any]]] = {}
    for row in waiting:
        accounts.setdefault((row.provider, row.vendor_id), []).append(row)
    return sum(
        _billed(db, providers[name], name, rows, now) for (name, _), rows in accounts.items() if name in providers
    )


def _billed(db: Database, provider: Provider, name: str, rows: Sequence[Row[Any]], now: datetime) -> int:
    handles = [Handle(row.ref, row.vendor_id, float(row.price_per_hour)) for row in rows]
    try:
        bills: Mapping[str, Decimal] = provider.billed(handles, min(row.since for row in rows) - timedelta(hours=1))
    except MarketplaceError as error:
        log.warning("no bills from %s: %s", name, error)
        return 0
    with db.begin() as tx:
        runs = ledger.bill(tx, name, bills, now)
        ledger.settle_costs(tx, runs, now)
    return len(bills)
