"""Queries about scores and the running counts of signals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text

from mp_kit.server.store.engine import Tx, driver
from mp_kit.server.store.queries import named


def count_batches(tx: Tx, batches: int) -> int:
    """Counts batches that were not counted yet; says how many."""
    return int(tx.execute(text(named("count_batches")), {"batches": batches}).scalar_one())


def newest_rounds(tx: Tx) -> list[Row[Any]]:
    """The newest round of each timeframe: id and manifest."""
    return list(tx.execute(text(named("newest_rounds"))))


def copy_statements(tx: Tx, timeframe: str, since: datetime) -> bytes:
    """What was said about a timeframe's bars since an instant, as CSV without a header."""
    statement = named("copy_statements").encode()
    with driver(tx).cursor() as cursor, cursor.copy(statement, {"timeframe": timeframe, "since": since}) as copy:
        return b"".join(bytes(piece) for piece in copy)


def tries(tx: Tx) -> list[Row[Any]]:
    """What each vendor tried, by round."""
    return list(tx.execute(text(named("tries"))))


def put(tx: Tx, scores: Sequence[Mapping[str, Any]]) -> None:
    """Stores a round's scores by the order of their key, and the Sharpe ratios of the versions behind them."""
    if scores:
        tx.execute(text(named("lock_scores")))
        ordered = sorted(scores, key=lambda score: (score["round_id"], score["deployment_id"]))
        tx.execute(text(named("put_scores")), [dict(score) for score in ordered])
        tx.execute(text(named("put_version_sharpe")))


def vendors_of(tx: Tx, deployment_ids: Sequence[str]) -> dict[str, str | None]:
    """Deployment to vendor; none for the house's own."""
    statement = text("SELECT id, vendor_id FROM deployments WHERE id = ANY(:ids)")
    return {row.id: row.vendor_id for row in tx.execute(statement, {"ids": list(deployment_ids)})}


def leaderboard(
    tx: Tx, *, vendor_id: str | None, timeframe: str | None, limit: int, model_id: str | None = None
) -> list[Row[Any]]:
    """The newest scores: a vendor's own, or those that the public may see."""
    given = {"vendor_id": vendor_id, "timeframe": timeframe, "limit": limit, "model_id": model_id}
    return list(tx.execute(text(named("leaderboard")), given))
