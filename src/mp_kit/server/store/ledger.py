"""Queries about the machines that runs were given, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Row, func, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from mp_kit.server.store.engine import Tx
from mp_kit.server.store.queries import named
from mp_kit.server.store.tables import marketplace_vendors, run_machines, training_runs


def open_machine(tx: Tx, values: Mapping[str, Any]) -> None:
    """Notes a machine of a run; one that is known stays as it is."""
    tx.execute(upsert(run_machines).values(**values).on_conflict_do_nothing())


def close_machines(tx: Tx, run_id: str, at: datetime) -> None:
    """Ends the open machines of a run."""
    columns = run_machines.c
    tx.execute(update(run_machines).where(columns.run_id == run_id, columns.until.is_(None)).values(until=at))


def close_machine(tx: Tx, provider: str, ref: str, at: datetime) -> None:
    """Ends one machine; its bill is asked for again."""
    columns = run_machines.c
    statement = update(run_machines).where(columns.provider == provider, columns.ref == ref)
    tx.execute(statement.values(until=func.coalesce(columns.until, at), billed_at=None))


def cost(tx: Tx, run_id: str, at: datetime) -> Decimal:
    """What a run's machines have cost until an instant, in US dollars: by bills once those are whole."""
    found: Decimal = tx.execute(text(named("cost_of_run")), {"run_id": run_id, "at": at}).scalar_one()
    return found


def hours(tx: Tx, run_id: str, at: datetime) -> float:
    """Hours that a run's machines have existed."""
    found: float = tx.execute(text(named("hours_of_run")), {"run_id": run_id, "at": at}).scalar_one()
    return found


def ask_for_bills(tx: Tx, *, ended_after: datetime, limit: int, at: datetime) -> list[Row[Any]]:
    """Ended machines whose bill is not final, the longest unasked first; from now on they are asked about."""
    values = {"ended_after": ended_after, "limit": limit, "at": at}
    return list(tx.execute(text(named("ask_for_bills")), values))


def bill(tx: Tx, provider: str, amounts: Mapping[str, Decimal], at: datetime) -> list[str]:
    """Stores bills by ``ref`` and the runs' costs with them; returns the runs."""
    values = {"provider": provider, "refs": list(amounts), "amounts": list(amounts.values()), "at": at}
    return [row.run_id for row in tx.execute(text(named("store_bills")), values)]


def settle_costs(tx: Tx, run_ids: Sequence[str], at: datetime) -> None:
    """Sets the cost of runs to the sum of their machines."""
    tx.execute(text(named("settle_costs")), {"run_ids": list(run_ids), "at": at})


def of_run(tx: Tx, run_id: str) -> list[Row[Any]]:
    """The machines of a run, oldest first."""
    return list(tx.execute(select(run_machines).where(run_machines.c.run_id == run_id).order_by(run_machines.c.since)))


def ceiling(tx: Tx, vendor_id: str) -> Decimal | None:
    """A vendor's monthly ceiling; its row is held until the transaction ends, so that reservations come one by one."""
    columns = marketplace_vendors.c
    statement = select(columns.monthly_ceiling_usd).where(columns.id == vendor_id).with_for_update(key_share=True)
    found: Decimal | None = tx.execute(statement).scalar_one()
    return found


def set_ceiling(tx: Tx, vendor_id: str, usd: Decimal | None) -> None:
    """Changes a vendor's monthly ceiling; None takes it away."""
    columns = marketplace_vendors.c
    tx.execute(update(marketplace_vendors).where(columns.id == vendor_id).values(monthly_ceiling_usd=usd))


def committed(tx: Tx, vendor_id: str, since: datetime) -> Decimal:
    """What a vendor's runs have spent since an instant, and may still spend, in US dollars."""
    values = {"vendor_id": vendor_id, "since": since}
    found: Decimal = tx.execute(text(named("committed_by_vendor")), values).scalar_one()
    return found


def facts_of(tx: Tx, run_ids: Sequence[str]) -> dict[str, Row[Any]]:
    """State, attempt, handle and deadline of runs, by id."""
    columns = training_runs.c
    chosen = (columns.id, columns.state, columns.attempt, columns.provider_ref, columns.deadline_at, columns.vendor_id)
    return {row.id: row for row in tx.execute(select(*chosen).where(columns.id.in_(run_ids)))}


def accounts(tx: Tx, providers: Sequence[str], charging: Sequence[str]) -> list[tuple[str, str]]:
    """Provider and vendor wherever a machine may be; ``charging`` are the providers where a key is needed to look."""
    values = {"providers": list(providers), "charging": list(charging)}
    return [(row.provider, row.vendor_id) for row in tx.execute(text(named("accounts_of_runs")), values)]
