"""The consensus as pages show it: the newest of every symbol, the course of one, and the voices of one bar only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from mp_kit.contracts import Consensus, Timeframe
from mp_kit.scoring.consensus import METHOD
from mp_kit.server.services import consensus
from mp_kit.server.services.consensus import MethodInUse
from mp_kit.server.store import showcase as rows
from mp_kit.server.store.engine import Tx

__all__ = ["Board", "Step", "show"]


@dataclass(frozen=True)
class Step:
    """One bar in the course of a consensus."""

    event_time: datetime
    decision: str
    score: float


@dataclass(frozen=True)
class Board:
    """What the page shows.

    Args:
        newest: Of each symbol and timeframe: symbol, timeframe, event_time, decision, confidence, signals, late,
            computed_at, vendors.
        methods: To choose from.
        method: The one that is shown.
        symbol: The symbol that is looked at closely; None where nothing was blended yet.
        timeframe: Its timeframe.
        bar: Its newest bar with all voices; None where the method has none.
        course: Its last bars, oldest first.
    """

    newest: Sequence[Row[Any]]
    methods: Sequence[MethodInUse]
    method: str
    symbol: str | None = None
    timeframe: str | None = None
    bar: Consensus | None = None
    course: Sequence[Step] = ()


def show(tx: Tx, *, symbol: str = "", timeframe: str = "", method: str = "", steps: int = 120) -> Board:
    """The newest consensus of each symbol and timeframe, and one of them closely.

    Args:
        tx: A transaction.
        symbol: Which one closely; the newest where there is no such.
        timeframe: Of it.
        method: By which method; the operator's where there is no such.
        steps: Bars of its course.
    """
    methods = consensus.methods(tx)
    chosen = method if method in {one.method for one in methods} else consensus.primary(tx)
    newest = rows.newest_bars(tx, consensus.primary(tx), METHOD, 60)
    if not newest:
        return Board(newest, methods, chosen)
    fitting = [one for one in newest if symbol in {"", one.symbol} and timeframe in {"", one.timeframe}]
    one = (fitting or newest)[0]
    frame = Timeframe(one.timeframe)
    found = consensus.history(tx, symbol=one.symbol, timeframe=frame, method=chosen if method else None, limit=1)
    fallback = chosen if method else METHOD
    course = rows.course(tx, one.symbol, one.timeframe, chosen, fallback, steps)
    return Board(
        newest=newest,
        methods=methods,
        method=chosen,
        symbol=one.symbol,
        timeframe=one.timeframe,
        bar=found[0] if found else None,
        course=[Step(row.event_time, row.decision, row.score) for row in reversed(course)],
    )
