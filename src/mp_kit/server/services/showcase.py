"""What the public may see of models: the catalogue filtered and sorted, and one model with what stands behind it.

1. Only models in pilot or prod of active vendors; to a vendor its own in any stage. Anything else does not exist.
2. Signals themselves are their vendor's: here they are only counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from mp_kit.contracts.measured import Measured
from mp_kit.contracts.scores import LeaderboardEntry
from mp_kit.errors import NotFoundError
from mp_kit.server.services import scores
from mp_kit.server.store import showcase as rows
from mp_kit.server.store.engine import Tx

__all__ = ["SORTS", "Found", "Listed", "Shown", "Wanted", "find", "search"]


SORTS = ("sharpe", "hit_rate", "signals", "newest", "name")
"""Orders of the catalogue, the first by default; what is unknown comes last."""


@dataclass(frozen=True)
class Wanted:
    """What somebody looks for in the catalogue; empty means anything.

    Args:
        text: Words, each of them in the name, the description, the vendor's name or a tag.
        task: What a model is for.
        stage: How far it has come.
        symbol: It has spoken about this one.
        timeframe: It has spoken about bars of this length.
        sort: One of :data:`SORTS`.
    """

    text: str = ""
    task: str = ""
    stage: str = ""
    symbol: str = ""
    timeframe: str = ""
    sort: str = ""


@dataclass(frozen=True)
class Listed:
    """A model in the list.

    Args:
        row: id, name, vendor, task, stage, deployment_count, last_heartbeat_at, status, signals, symbols, timeframes.
        sharpe: With its interval, or why there is none.
        hit_rate: Likewise.
    """

    row: Row[Any]
    sharpe: Measured | None = None
    hit_rate: Measured | None = None


@dataclass(frozen=True)
class Found:
    """A page of the catalogue.

    Args:
        entries: On this page.
        total: That fit.
        everything: In the whole catalogue.
        symbols: Of all models, to choose from.
        timeframes: Of all models.
    """

    entries: Sequence[Listed]
    total: int
    everything: int
    symbols: Sequence[str]
    timeframes: Sequence[str]


@dataclass(frozen=True)
class Shown:
    """A model as its page shows it.

    Args:
        model: Its row: id, name, description, task, tags, vendor, vendor_id, created_at, updated_at.
        is_own: It is the viewer's.
        versions: With run, round and stage, newest first.
        deployments: With state and counts of what they said.
        heard: Per deployment and hour of the last day, which share of it was covered by signs of life.
        spoken: Per symbol and timeframe, signals and mean confidence.
        days: Signals received by day, the last thirty.
        history: Changes of stage, newest first.
        scores: The newest of each deployment and timeframe.
    """

    model: Row[Any]
    is_own: bool
    versions: Sequence[Row[Any]]
    deployments: Sequence[Row[Any]]
    heard: Mapping[str, Sequence[tuple[datetime, float]]]
    spoken: Sequence[Row[Any]]
    days: Sequence[tuple[datetime, int]]
    history: Sequence[Row[Any]]
    scores: Sequence[LeaderboardEntry]


def search(tx: Tx, wanted: Wanted, *, offset: int = 0, limit: int = 50) -> Found:
    """The catalogue as somebody wants it: the database filters and sorts, scores are read of one page only."""
    asked = asdict(wanted) | {"words": wanted.text.lower().split(), "offset": offset, "limit": limit}
    chosen = rows.catalog(tx, asked | {"sort": wanted.sort if wanted.sort in SORTS else SORTS[0]})
    known = {row.model_id: row for row in rows.measured(tx, [row.id for row in chosen])}
    all_of_it = rows.facets(tx)
    return Found(
        entries=[_listed(row, known.get(row.id)) for row in chosen],
        total=chosen[0].total if chosen else 0,
        everything=all_of_it.models,
        symbols=all_of_it.symbols,
        timeframes=all_of_it.timeframes,
    )


def find(tx: Tx, model_id: str, *, viewer: str | None = None) -> Shown:
    """A model and what stands behind it.

    Args:
        tx: A transaction.
        model_id: Which.
        viewer: The vendor that looks, if one is signed in.

    Raises:
        NotFoundError: There is none that the viewer may see.
    """
    row = rows.find(tx, model_id, viewer)
    if row is None:
        raise NotFoundError("There is no such model in the catalogue.", hint="See what there is: /marketplace")
    is_own = viewer is not None and row.vendor_id == viewer
    placed = rows.deployments(tx, model_id, everything=is_own)
    ids = [one.id for one in placed]
    heard: dict[str, list[tuple[datetime, float]]] = {}
    for one in rows.heard(tx, ids):
        heard.setdefault(one.deployment_id, []).append((one.hour, float(one.covered)))
    return Shown(
        model=row,
        is_own=is_own,
        versions=rows.versions(tx, model_id, everything=is_own),
        deployments=placed,
        heard=heard,
        spoken=rows.spoken(tx, ids),
        days=[(one.day, int(one.signals)) for one in rows.days(tx, ids)],
        history=rows.history(tx, model_id, everything=is_own),
        scores=scores.leaderboard(tx, vendor_id=row.vendor_id if is_own else None, model_id=model_id),
    )


def _listed(row: Row[Any], score: Row[Any] | None) -> Listed:
    if score is None:
        return Listed(row)
    sharpe = Measured.model_validate(score.sharpe) if score.enough_data else None
    return Listed(row, sharpe, Measured.model_validate(score.hit_rate))
