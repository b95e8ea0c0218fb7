"""Good requests for each task, made of real bars: what a server must answer.

What a server says of itself under ``facts`` in ``/health`` is respected: ``bars`` (how many it wants), ``symbols``
(what an optimizer allocates among), ``voices`` (whom a consensus listens to).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from mp_kit.contracts.common import TIMEFRAME_SECONDS, Task
from mp_kit.errors import InvalidInputError
from mp_kit.market.bars import times_of
from mp_kit.market.indicators import WARM_UP, compute
from mp_kit.serving.blending import OTHERS
from mp_kit.serving.window import Windows
from mp_kit.trainer.experts import EXPERTS, needed, score

__all__ = ["questions"]

Document = dict[str, Any]

_SHIFTS = 5
_SYMBOLS = 4
_CLOSES = 251


def questions(task: Task, windows: Windows, facts: Mapping[str, Any]) -> list[Document]:
    """Up to twenty requests, all different.

    Args:
        task: What the server is for.
        windows: Real bars.
        facts: What the server says of itself.

    Raises:
        InvalidInputError: The bars do not suffice for this server.
    """
    asked = {Task.SIGNAL: _signal, Task.CONSENSUS: _consensus, Task.OPTIMIZER: _optimizer}[task](windows, facts)
    if not asked:
        raise InvalidInputError(f"{windows.label} has too few bars to ask this server.")
    return asked


def _bars(facts: Mapping[str, Any], default: int) -> int:
    wanted = facts.get("bars")
    return wanted if isinstance(wanted, int) and 0 < wanted <= 100_000 else default  # noqa: PLR2004 - a sane bound


def _signal(windows: Windows, facts: Mapping[str, Any]) -> list[Document]:
    count = _bars(facts, WARM_UP)
    return [
        {"symbol": symbol, "timeframe": windows.timeframe, "ohlcv": windows.rows(symbol, count, shift)}
        for symbol in list(windows.tables)[:_SYMBOLS]
        for shift in range(_SHIFTS)
        if windows.tables[symbol].num_rows - shift >= min(count, WARM_UP)
    ]


def _consensus(windows: Windows, facts: Mapping[str, Any]) -> list[Document]:
    """Signals are what published rules say about the real bars, under the names that the server listens to."""
    listed = [str(name) for name in facts.get("voices") or [] if name != OTHERS]
    names = listed or [expert.name for expert in EXPERTS]
    found = []
    for symbol in list(windows.tables)[:_SYMBOLS]:
        table = compute(windows.tables[symbol], windows.timeframe)
        said = score(EXPERTS, {name: table[name].to_numpy() for name in needed(EXPERTS)})
        for shift in range(min(_SHIFTS, table.num_rows)):
            at = table.num_rows - 1 - shift
            closed = _closed(table, at, windows.timeframe)
            voices = {name: _voice(float(said[at, n % len(EXPERTS)]), closed) for n, name in enumerate(names)}
            found.append({"symbol": symbol, "timeframe": windows.timeframe, "signals": voices})
    return found


def _voice(value: float, when: str) -> Document:
    decision = "BUY" if value > 0 else "SELL" if value < 0 else "HOLD"
    return {"decision": decision, "confidence": abs(value), "model_version": "published-rule", "timestamp": when}


def _closed(table: pa.Table, at: int, timeframe: str) -> str:
    opened = float(times_of(table)[at]) / 1e6
    return datetime.fromtimestamp(opened + TIMEFRAME_SECONDS[timeframe], UTC).isoformat()


def _optimizer(windows: Windows, facts: Mapping[str, Any]) -> list[Document]:
    wanted = [str(name) for name in facts.get("symbols") or windows.tables]
    if missing := [name for name in wanted if name not in windows.tables]:
        raise InvalidInputError(
            f"The server allocates among {', '.join(wanted)}; {windows.label} has no bars of {', '.join(missing)}.",
            hint="Render the project for symbols of the round: mp init --symbols A,B,C.",
        )
    closes, count = _common(windows, wanted), _bars(facts, _CLOSES)
    return [
        _portfolio(windows.timeframe, wanted, closes[max(0, end - count) : end])
        for end in range(len(closes), max(len(closes) - _SHIFTS, min(count, len(closes)) - 1), -1)
    ]


def _common(windows: Windows, symbols: list[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Closes at the bars that all have, shape (bars, symbols)."""
    columns = [
        dict(zip(times_of(windows.tables[name]), windows.tables[name]["close"].to_numpy(), strict=True))
        for name in symbols
    ]
    times = sorted(set.intersection(*(set(column) for column in columns)))
    return np.array([[column[time] for column in columns] for time in times], dtype=np.float64)


def _portfolio(timeframe: str, symbols: list[str], closes: np.ndarray[Any, np.dtype[np.float64]]) -> Document:
    returns = closes[1:] / closes[:-1] - 1
    centred = returns - returns.mean(axis=0)
    return {
        "assets": symbols,
        "timeframe": timeframe,
        "max_weight": 0.5,
        "closes": {name: closes[:, at].tolist() for at, name in enumerate(symbols)},
        "expected_returns": dict(zip(symbols, returns.mean(axis=0).tolist(), strict=True)),
        "covariance": (centred.T @ centred / max(len(returns), 1)).tolist(),
    }
