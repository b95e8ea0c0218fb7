"""Queries about deployments that are asked, the bars that they are asked about, and vendors' daily budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import Row, delete, exists, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from mp_kit.server.store.engine import Tx
from mp_kit.server.store.queries import named
from mp_kit.server.store.tables import poll_budgets, pollings, polls


class Bar(NamedTuple):
    """A bar that a deployment is asked about: the key of a poll."""

    deployment_id: str
    symbol: str
    timeframe: str
    event_time: datetime


def put(tx: Tx, deployment_id: str, vendor_id: str, values: Mapping[str, Any]) -> None:
    """Stores what a vendor says of its deployment's being asked."""
    statement = upsert(pollings).values(deployment_id=deployment_id, vendor_id=vendor_id, **values)
    changed = {**values, "updated_at": text("now()")}
    tx.execute(statement.on_conflict_do_update(index_elements=[pollings.c.deployment_id], set_=changed))


def seen(tx: Tx, vendor_id: str, deployment_id: str | None = None) -> dict[str, Row[Any]]:
    """A vendor's deployments that are asked, or were, with the vendor's day; or one of them."""
    values = {"vendor_id": vendor_id, "deployment_id": deployment_id}
    return {row.deployment_id: row for row in tx.execute(text(named("pollings_seen")), values)}


def anybody(tx: Tx) -> bool:
    """Whether any deployment wants to be asked."""
    return bool(tx.execute(select(exists().where(pollings.c.poll))).scalar_one())


def pollable(tx: Tx) -> list[Row[Any]]:
    """Deployments that may be asked now, those asked longest ago first."""
    return list(tx.execute(text(named("pollable"))))


def unasked(tx: Tx, bars: Sequence[Bar], attempts: int) -> list[int]:
    """Which of these bars are worth a call, by their places."""
    columns = {
        "deployments": [bar.deployment_id for bar in bars],
        "symbols": [bar.symbol for bar in bars],
        "timeframes": [bar.timeframe for bar in bars],
        "event_times": [bar.event_time for bar in bars],
    }
    return [row.place - 1 for row in tx.execute(text(named("unasked")), columns | {"attempts": attempts})]


def lock(tx: Tx, deployment_id: str) -> Row[Any] | None:
    """A deployment's row, locked until the transaction ends."""
    return tx.execute(text(named("lock_polling")), {"deployment_id": deployment_id}).one_or_none()


def spend(tx: Tx, vendor_id: str, milliseconds: int, *, calls: int, longest: int) -> bool:
    """Takes a call of this length at most from a vendor's day; False, and noted, where too little is left."""
    limits = {"vendor_id": vendor_id, "most_calls": calls, "most_milliseconds": longest}
    if tx.execute(text(named("spend_poll")), limits | {"milliseconds": milliseconds}).one_or_none() is not None:
        return True
    tx.execute(text(named("exhaust_polls")), limits)
    return False


def refund(tx: Tx, vendor_id: str, asked_at: datetime, milliseconds: int) -> None:
    """Gives back what was not waited; less than nothing takes more."""
    values = {"vendor_id": vendor_id, "asked_at": asked_at, "milliseconds": milliseconds}
    tx.execute(text(named("refund_poll")), values)


def claim(tx: Tx, bar: Bar, vendor_id: str, *, lock_token: str, lease: float) -> None:
    """Takes a bar for the length of a lease; the caller holds its deployment's lock, and knows that it is free."""
    values = {"vendor_id": vendor_id, "lock_token": lock_token, "lease": lease}
    tx.execute(text(named("claim_poll")), bar._asdict() | values)


def hold(tx: Tx, bar: Bar, lock_token: str) -> Row[Any] | None:
    """The claim of a bar, if it still stands; locked until the transaction ends."""
    return tx.execute(text(named("hold_poll")), bar._asdict() | {"lock_token": lock_token}).one_or_none()


def note(tx: Tx, bar: Bar, values: Mapping[str, Any]) -> None:
    """Notes what became of a call."""
    columns = polls.c
    mine = [getattr(columns, name) == value for name, value in bar._asdict().items()]
    tx.execute(update(polls).where(*mine).values(lock_token=None, locked_until=None, **values))


def change(tx: Tx, deployment_id: str, values: Mapping[str, Any]) -> None:
    """Changes how a deployment stands."""
    tx.execute(update(pollings).where(pollings.c.deployment_id == deployment_id).values(**values))


def of_deployment(tx: Tx, deployment_id: str, limit: int) -> list[Row[Any]]:
    """The bars that a deployment was asked about, the latest call first."""
    statement = select(polls).where(polls.c.deployment_id == deployment_id)
    newest = statement.order_by(polls.c.asked_at.desc(), polls.c.symbol, polls.c.event_time.desc())
    return list(tx.execute(newest.limit(limit)))


def forget(tx: Tx, before: datetime, most: int) -> int:
    """Deletes old polls but the newest of each deployment and market, and old days; returns how many polls."""
    tx.execute(delete(poll_budgets).where(poll_budgets.c.day < date(before.year, before.month, before.day)))
    return tx.execute(text(named("forget_polls")), {"before": before, "most": most}).rowcount
