"""The months of signals: each a partition of its own, once it is worth one.

1. Storing never depends on a partition: a signal of any time finds the default one.
2. A month gets its own when its time comes near, or when many signals of it lie in the default; they move along, in one
   transaction, so that each of them is seen exactly once at any moment.
3. Who stores waits for the move of a month, at the parent: a writer that had looked for its partition before the move
   would hit upon the default one, where its row no longer belongs.
4. Locks are taken in one order (parent, deployments, default), each waited for no longer than ``LOCK_WAIT``: a move
   that meets a long transaction gives up and is tried again by the next upkeep.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import text

from mp_kit.server.store.engine import Tx
from mp_kit.server.store.queries import named

__all__ = ["LOCK_WAIT", "crowded", "name_of", "next_month", "open_month"]

LOCK_WAIT = "5s"


def name_of(month: datetime) -> str:
    """The partition of a month."""
    return f"signals_{month:%Y_%m}"


def next_month(when: datetime) -> datetime:
    """The first instant of the month after an instant's own, in UTC."""
    year, month = (when.year + 1, 1) if when.month == 12 else (when.year, when.month + 1)  # noqa: PLR2004 - December
    return datetime(year, month, 1, tzinfo=UTC)


def crowded(tx: Tx, at_least: int, months: int) -> list[datetime]:
    """Months of which so many signals lie in the default partition, newest first."""
    found = tx.execute(text(named("crowded_months")), {"at_least": at_least, "months": months})
    return [row.month for row in found]


def open_month(tx: Tx, month: datetime) -> int | None:
    """Gives a month its partition and moves its signals there.

    Args:
        tx: Best used for nothing else: it holds locks that storing waits for.
        month: Its first instant, in UTC.

    Returns:
        Signals moved; None when the month had its partition already.
    """
    name, bounds = name_of(month), {"since": month, "until": next_month(month)}
    tx.execute(text(f"SET LOCAL lock_timeout = '{LOCK_WAIT}'"))
    tx.execute(text("LOCK TABLE ONLY signals IN SHARE ROW EXCLUSIVE MODE"))
    if tx.execute(text("SELECT to_regclass(:name)"), {"name": name}).scalar_one() is not None:
        return None
    tx.execute(text("LOCK TABLE deployments IN SHARE ROW EXCLUSIVE MODE"))
    tx.execute(text("LOCK TABLE signals_default IN ACCESS EXCLUSIVE MODE"))
    # The name is made of digits, and a bound is no place for a parameter: both are ours alone.
    tx.execute(text(f"CREATE TABLE {name} (LIKE signals INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"))
    moved = tx.execute(text(named("move_month").replace("signals_month", name)), bounds).rowcount
    span = f"FROM ('{bounds['since'].isoformat()}') TO ('{bounds['until'].isoformat()}')"
    tx.execute(text(f"ALTER TABLE signals ATTACH PARTITION {name} FOR VALUES {span}"))
    return moved
