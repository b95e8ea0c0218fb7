"""Numbers behind report notebooks: a vendor's scorecard, what training cost, how the consensus did.

1. A vendor's figures are that vendor's: each query is filtered by its id.
2. A number that is uncertain is a ``Measured``: with its interval, or with the reason why there is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

import numpy as np
from sqlalchemy import Row, text

from mp_kit.contracts import LeaderboardEntry, Measured, ScoreCard
from mp_kit.contracts.deployments import Deployment
from mp_kit.scoring.accuracy import wilson
from mp_kit.scoring.bootstrap import interval_of_mean
from mp_kit.scoring.card import score
from mp_kit.scoring.outcomes import Market, Statements
from mp_kit.server.services import deployments, scores, vendors
from mp_kit.server.store.engine import Tx
from mp_kit.server.store.queries import named

__all__ = ["Performance", "Scorecard", "consensus", "machines", "mean_of", "scorecard", "share_of"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FEW = "not enough data yet"


@dataclass(frozen=True)
class Scorecard:
    """What one vendor's report is made of.

    Args:
        name: The vendor's.
        entries: Newest score of each of its deployments and timeframes, models in shadow too.
        deployments: As they stand.
        signals: Stored by day and deployment.
        runs: Training runs by status, with their cost.
    """

    name: str
    entries: Sequence[LeaderboardEntry]
    deployments: Sequence[Deployment]
    signals: Sequence[Mapping[str, Any]]
    runs: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Performance:
    """How the consensus did on a round's newest bars.

    Args:
        round_id: The round that judges.
        timeframe: Of its bars.
        horizon: Bars that a decision is held.
        first: Open of the first bar that is looked at.
        last: Open of the last one.
        cards: Method to score card.
    """

    round_id: str
    timeframe: str
    horizon: int
    first: datetime
    last: datetime
    cards: Mapping[str, ScoreCard]


def scorecard(tx: Tx, vendor: str, since: datetime) -> Scorecard:
    """One vendor's figures, by its id or name.

    Raises:
        NotFoundError: There is no such vendor.
    """
    row = vendors.named(tx, vendor)
    wanted = {"vendor_id": row.id, "since": since}
    return Scorecard(
        name=row.name,
        entries=scores.leaderboard(tx, vendor_id=row.id),
        deployments=deployments.list_of(tx, row.id),
        signals=_rows(tx, "figures_signals", wanted),
        runs=_rows(tx, "figures_runs", wanted),
    )


def machines(tx: Tx, since: datetime) -> list[dict[str, Any]]:
    """What was started for training runs since an instant, with hours and money; for the operator."""
    return _rows(tx, "figures_machines", {"since": since})


def consensus(tx: Tx, judge: scores.Judge, market: Market, days: float) -> Performance | None:
    """How each method did on the last days that a round has bars of; None where it has none.

    Args:
        tx: A transaction.
        judge: The round.
        market: Its bars, from :func:`mp_kit.server.services.scores.market_of`.
        days: How many.
    """
    ends = [int(series.times[-1]) for series in market.series.values() if series.times.size]
    if not ends:
        return None
    last = _EPOCH + timedelta(microseconds=max(ends))
    first = last - timedelta(days=days)
    wanted = {"timeframe": market.timeframe.value, "since": first, "until": last}
    told = tx.execute(text(named("figures_consensus")), wanted).all()
    cards = {name: score(market, _statements(rows)) for name, rows in groupby(told, key=lambda row: str(row.method))}
    return Performance(judge.round_id, market.timeframe.value, market.horizon, first, last, cards)


def share_of(hits: float, n: float) -> Measured:
    """A share with Wilson's interval; not enough data without trials."""
    between = wilson(hits, n)
    if between is None:
        return Measured(reason=_FEW)
    return Measured(value=hits / n, low=between[0], high=between[1], n=int(n))


def mean_of(values: Sequence[float]) -> Measured:
    """A mean with its bootstrap interval; without an interval where the values are too few for one."""
    found = np.asarray(values, dtype=np.float64)
    if not found.size:
        return Measured(reason=_FEW)
    low, high = interval_of_mean(found)
    return Measured(value=float(found.mean()), low=low, high=high, n=found.size)


def _statements(rows: Iterable[Row[Any]]) -> Statements:
    told = list(rows)
    names = sorted({row.symbol for row in told})
    place = {name: number for number, name in enumerate(names)}
    numbers = np.arange(len(told), dtype=np.int64)
    return Statements(
        names,
        symbol=np.array([place[row.symbol] for row in told], np.int64),
        event_time=np.array([row.event_time for row in told], np.int64),
        received_at=np.array([row.computed_at for row in told], np.int64),
        late=np.array([row.late for row in told], np.bool_),
        direction=np.array([row.direction for row in told], np.int64),
        confidence=np.array([row.confidence for row in told], np.float64),
        batch=np.zeros(len(told), np.int64),
        row=numbers,
    )


def _rows(tx: Tx, name: str, wanted: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = tx.execute(text(named(name)), dict(wanted))
    return [dict(row._mapping) for row in found]  # noqa: SLF001 - SQLAlchemy's public way to a row's mapping
