"""Scores: what deployments said, met with the bars of a later round.

1. The newest round of each timeframe is the judge: its bars, of all its roles, and its horizon. Nobody could see the
   outcome of a signal that counts, because it was stored before that outcome began (``scoring.outcomes``).
2. The number of tries is counted here and told by nobody: runs that began, and versions from elsewhere; a vendor with
   more deployments that speak has at least so many tries.
3. Reading, computing and storing are steps of their own: no transaction is open while numbers are made.
"""

from __future__ import annotations

import io
import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from mp_kit.contracts.common import Timeframe
from mp_kit.contracts.rounds import Manifest
from mp_kit.contracts.scores import LeaderboardEntry, ScoreCard, Standing
from mp_kit.market.bars import column, times_of
from mp_kit.market.pricing import priced_after
from mp_kit.scoring.card import card_of, enough
from mp_kit.scoring.contribution import standings
from mp_kit.scoring.outcomes import Market, Outcomes, Statements, join, join_runs
from mp_kit.server.storage import ObjectStore, content_key
from mp_kit.server.store import scores as rows
from mp_kit.server.store.engine import Database, Tx

__all__ = [
    "Judge",
    "Scored",
    "compute",
    "count",
    "count_all",
    "judges",
    "keep",
    "leaderboard",
    "market_of",
    "run",
    "statements",
]

_COLUMNS = ("deployment", "symbol", "event_time", "received_at", "late", "direction", "confidence", "batch", "row",
            "counts")  # fmt: skip
_TEXTS = ("deployment", "symbol")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Judge:
    """A round that signals are scored against.

    Args:
        round_id: Its id.
        manifest: What it has.
    """

    round_id: str
    manifest: Manifest


@dataclass(frozen=True)
class Scored:
    """A deployment's numbers, before the tries are counted.

    Args:
        met: Its signals with their outcomes.
        standing: What it adds to the others.
    """

    met: Outcomes
    standing: Standing


def count(tx: Tx, *, batches: int = 10_000) -> int:
    """Adds batches to the running counts of the catalogue, each exactly once.

    Returns:
        How many; 0 means that none is left.
    """
    return rows.count_batches(tx, batches)


def judges(tx: Tx) -> list[Judge]:
    """The newest round of each timeframe."""
    return [Judge(row.id, Manifest.model_validate_json(bytes(row.manifest))) for row in rows.newest_rounds(tx)]


def market_of(store: ObjectStore, judge: Judge) -> Market:
    """Reads times and closes of all files of a round."""
    pieces = defaultdict(list)
    for file in judge.manifest.files:
        if file.symbol is not None and {"timestamp", "close"} <= set(file.columns):
            with store.open(content_key(file.sha256)) as opened:
                table = pq.read_table(io.BytesIO(opened.read()), columns=["timestamp", "close"])
            pieces[file.symbol].append((times_of(table), column(table, "close")))
    series = {symbol: join_runs(parts) for symbol, parts in pieces.items()}
    return Market(judge.manifest.timeframe, judge.manifest.horizon, series, priced_after(judge.manifest))


def statements(tx: Tx, market: Market) -> dict[str, Statements]:
    """What every deployment said about the market's bars."""
    if market.begins is None:
        return {}
    since = _EPOCH + timedelta(microseconds=market.begins)
    told = rows.copy_statements(tx, market.timeframe.value, since)
    return _by_deployment(told) if told else {}


def compute(market: Market, told: Mapping[str, Statements]) -> dict[str, Scored]:
    """Meets all with their outcomes; pure."""
    met = {name: join(market, one) for name, one in told.items()}
    standing = standings(met, market.horizon)
    return {name: Scored(one, standing[name]) for name, one in met.items()}


def keep(tx: Tx, judge: Judge, market: Market, scored: Mapping[str, Scored], *, cost: float = 0.0) -> int:
    """Counts tries, makes the cards, stores them.

    Args:
        tx: One transaction.
        judge: The round.
        market: Its bars.
        scored: From :func:`compute`.
        cost: Of trading one unit of capital, as a share.

    Returns:
        How many deployments were scored.
    """
    vendor_of = rows.vendors_of(tx, list(scored))
    tried: dict[str, dict[str, int]] = defaultdict(dict)
    for row in rows.tries(tx):
        tried[row.vendor_id][row.round_id] = row.tries
    speaking = Counter(vendor_of[name] for name in scored)
    found = []
    for name, one in scored.items():
        vendor = vendor_of[name]
        by_round = tried.get(vendor, {}) if vendor is not None else {}
        card = card_of(market, one.met, cost=cost, tries=max(1, sum(by_round.values()), speaking[vendor]))
        found.append(_row(judge, name, card, one.standing, by_round))
    rows.put(tx, found)
    return len(found)


def run(db: Database, store: ObjectStore, *, cost: float = 0.0) -> int:
    """Scores every deployment against the newest round of each timeframe, in transactions of its own.

    Args:
        db: Transactions.
        store: Where the rounds' files lie.
        cost: Of trading one unit of capital, as a share.

    Returns:
        How many scores were made.
    """
    with db.begin() as tx:
        found = judges(tx)
    made = 0
    for judge in found:
        market = market_of(store, judge)
        with db.begin() as tx:
            told = statements(tx, market)
        scored = compute(market, told)
        with db.begin() as tx:
            made += keep(tx, judge, market, scored, cost=cost)
    return made


def count_all(db: Database) -> int:
    """Counts every batch that was not counted yet, so many a transaction; returns how many."""
    counted = 0
    while True:
        with db.begin() as tx:
            batches = count(tx)
        if not batches:
            return counted
        counted += batches


def leaderboard(
    tx: Tx,
    *,
    vendor_id: str | None = None,
    timeframe: Timeframe | None = None,
    limit: int = 100,
    model_id: str | None = None,
) -> list[LeaderboardEntry]:
    """The newest score of each deployment.

    Args:
        tx: A transaction.
        vendor_id: Only this vendor's, models in shadow too; else of models in pilot or prod.
        timeframe: Only this one.
        limit: At most so many.
        model_id: Only this model's.
    """
    found = rows.leaderboard(tx, vendor_id=vendor_id, timeframe=timeframe, limit=limit, model_id=model_id)
    return [LeaderboardEntry.model_validate(dict(row._mapping)) for row in found]  # noqa: SLF001 - SQLAlchemy's public way


def _row(judge: Judge, name: str, card: ScoreCard, standing: Standing, by_round: Mapping[str, int]) -> dict[str, Any]:
    reason = enough(card)
    return {
        "round_id": judge.round_id,
        "deployment_id": name,
        "timeframe": card.basis.timeframe.value,
        "enough_data": reason is None,
        "reason": reason,
        "bars": card.basis.bars,
        "sharpe": card.sharpe.value,
        "dsr": card.dsr.value,
        "card": card.model_dump_json(),
        "standing": standing.model_dump_json(),
        "tries_by_round": json.dumps(by_round),
    }


def _by_deployment(told: bytes) -> dict[str, Statements]:
    types = {name: pa.int64() for name in _COLUMNS} | {"confidence": pa.float64()}
    types |= dict.fromkeys(_TEXTS, pa.dictionary(pa.int32(), pa.string()))
    table = pa_csv.read_csv(
        io.BytesIO(told),
        read_options=pa_csv.ReadOptions(column_names=list(_COLUMNS)),
        convert_options=pa_csv.ConvertOptions(column_types=types, strings_can_be_null=False),
    ).unify_dictionaries()
    deployment, symbol = (table.column(name).combine_chunks() for name in _TEXTS)
    deployments, symbols = (coded.dictionary.to_pylist() for coded in (deployment, symbol))
    columns = {name: table.column(name).to_numpy() for name in _COLUMNS[2:]}
    columns |= {
        "symbol": symbol.indices.to_numpy().astype(np.int64),
        **{name: columns[name] != 0 for name in ("late", "counts")},
    }
    everything = Statements(symbols, **columns)
    codes = deployment.indices.to_numpy()
    order = np.argsort(codes, kind="stable")
    edges = np.searchsorted(codes[order], np.arange(len(deployments) + 1))
    return {name: everything.take(order[edges[number] : edges[number + 1]]) for number, name in enumerate(deployments)}
