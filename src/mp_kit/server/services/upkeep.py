"""Upkeep: deployments are watched; months of signals get partitions, ahead of time or once they are crowded."""

from __future__ import annotations

from datetime import UTC, datetime

from mp_kit.errors import DatabaseDownError
from mp_kit.server.services import liveness, poller, retention
from mp_kit.server.store import partitions
from mp_kit.server.store.engine import Database

__all__ = ["CROWDED", "keep_months", "look_after"]

CROWDED = 50_000
"""From so many signals on, a month of the past is worth a partition: old months of a few rows share the default one."""

_MONTHS_A_RUN = 12


def keep_months(db: Database, now: datetime, *, crowded: int = CROWDED) -> dict[str, int]:
    """Opens partitions: this month's, the next one's, and those of crowded months; each in a transaction of its own.

    Args:
        db: Transactions.
        now: An aware instant.
        crowded: From how many signals in the default partition on a month gets its own.

    Returns:
        Signals moved, by partition, of those that were opened.

    Raises:
        DatabaseDownError: A lock was not to be had in time; months opened before stay, the next run goes on.
    """
    this = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    wanted = [this, partitions.next_month(this)]
    with db.begin() as tx:
        wanted += [month for month in partitions.crowded(tx, crowded, _MONTHS_A_RUN) if month not in wanted]
    opened: dict[str, int] = {}
    busy: DatabaseDownError | None = None
    for month in wanted:
        try:
            with db.begin() as tx:
                moved = partitions.open_month(tx, month)
        except DatabaseDownError as error:
            busy = error
            continue
        if moved is not None:
            opened[partitions.name_of(month)] = moved
    if busy is not None and not opened:
        raise busy
    return opened


def look_after(db: Database, now: datetime, *, audit_days: int) -> tuple[dict[str, object], bool]:
    """Marks deployments offline that fell silent, forgets what is beyond its time, and opens months.

    Args:
        db: Transactions.
        now: An aware instant.
        audit_days: How long entries of the audit log are kept; 0 is for ever.

    Returns:
        Counts of what was done, and whether any deployment wants to be asked at bars' closes.
    """
    forgotten = retention.apply(db, now, audit_days=audit_days)
    with db.begin() as tx:
        fallen, wanted = liveness.flip(tx), poller.anybody(tx)
    counts = {"deployments_offline": len(fallen), "months_opened": len(keep_months(db, now))}
    return {**counts, "forgotten": sum(forgotten.values())}, wanted
