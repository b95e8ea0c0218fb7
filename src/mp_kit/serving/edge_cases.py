"""What no good client sends, and a good server survives: a table of requests with what must come back.

1. ``REFUSE``: a 4xx. ``STAND_ASIDE``: a 4xx, or an answer that decides nothing. ``SURVIVE``: a 4xx or any answer within
   the contract. ``DOUBT``: as ``SURVIVE``, but an answer is worth a warning.
2. A 5xx, silence, a stack trace, or an answer outside the contract is never right.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from mp_kit.contracts.common import Task

__all__ = ["Case", "Wanted", "edge_cases"]

Document = dict[str, Any]
Spoil = Callable[[Document], object]

_DEEP = 100_000
_HUGE_BYTES = 12 * 1024 * 1024


class Wanted(Enum):
    """What must come back."""

    REFUSE = "refuse"
    STAND_ASIDE = "stand aside"
    SURVIVE = "survive"
    DOUBT = "doubt"


@dataclass(frozen=True)
class Case:
    """One bad request.

    Attributes:
        name: For the report.
        wanted: What must come back.
        body: The bytes.
        mend: What to do if it doesn't.
        content_type: Of the body.
    """

    name: str
    wanted: Wanted
    body: bytes
    mend: str
    content_type: str | None = "application/json"


def edge_cases(task: Task, good: Document) -> Iterator[Case]:
    """All cases for a task.

    Args:
        task: Of the server.
        good: A request that it answers.
    """
    yield from _bytes(good)
    yield from _missing(task, good)
    table = {Task.SIGNAL: _SIGNAL, Task.CONSENSUS: _CONSENSUS, Task.OPTIMIZER: _OPTIMIZER}[task]
    for name, (wanted, spoil, mend) in {**_COMMON, **table}.items():
        document = copy.deepcopy(good)
        spoil(document)
        yield Case(name, wanted, json.dumps(document).encode(), mend)  # allows NaN: that is the point
    yield Case("huge payload", Wanted.SURVIVE, _huge(good), _BOUND)


_PARSE = "Answer 400 where the body is not a JSON object: parse it inside a guard."
_CHECK = "Check the request against the contract before the model sees it, and answer 422 with what is wrong."
_BOUND = "Bound the body's size before reading it, and answer 413."
_EMPTY = "Answer 422 where there is nothing to decide by; a decision out of nothing is invented."
_NUMBERS = "Refuse NaN, Infinity and null in numbers with 400 or 422: models turn them into confident nonsense."
_ORDER = "Refuse bars that contradict themselves: indicators over them mean nothing."


def _bytes(good: Document) -> Iterator[Case]:
    whole = json.dumps(good).encode()
    yield Case("empty body", Wanted.REFUSE, b"", _PARSE)
    yield Case("not JSON", Wanted.REFUSE, b"symbol=EURUSD", _PARSE)
    yield Case("broken-off JSON", Wanted.REFUSE, whole[: len(whole) // 2], _PARSE)
    yield Case("not UTF-8", Wanted.REFUSE, b'{"symbol": "\xff\xfe"}', _PARSE)
    yield Case("a list, no object", Wanted.REFUSE, b"[]", _PARSE)
    yield Case("null", Wanted.REFUSE, b"null", _PARSE)
    yield Case("deep nesting", Wanted.REFUSE, b"[" * _DEEP, _PARSE)
    yield Case("text/plain", Wanted.DOUBT, whole, "Answer 415 to any type but application/json.", "text/plain")
    yield Case("empty object", Wanted.REFUSE, b"{}", _CHECK)


def _missing(task: Task, good: Document) -> Iterator[Case]:
    required = {
        Task.SIGNAL: ("symbol", "timeframe"),
        Task.CONSENSUS: ("symbol", "timeframe", "signals"),
        Task.OPTIMIZER: ("assets", "timeframe"),
    }[task]
    for name in required:
        less = {key: value for key, value in good.items() if key != name}
        yield Case(f"without {name}", Wanted.REFUSE, json.dumps(less).encode(), _CHECK)


def _huge(good: Document) -> bytes:
    """A good request with so much padding in a field that nobody knows."""
    return json.dumps({**good, "padding": "x" * _HUGE_BYTES}).encode()


def _set(**values: Any) -> Spoil:
    return lambda document: document.update(values)


def _bar(at: int, column: int, value: Any) -> Spoil:
    def spoil(document: Document) -> None:
        document["ohlcv"][at][column] = value

    return spoil


def _voice(name: str, value: Any) -> Spoil:
    def spoil(document: Document) -> None:
        next(iter(document["signals"].values()))[name] = value

    return spoil


Row = tuple[Wanted, Spoil, str]

_COMMON: dict[str, Row] = {
    "timeframe 7m": (Wanted.REFUSE, _set(timeframe="7m"), _CHECK),
    "timeframe a number": (Wanted.REFUSE, _set(timeframe=60), _CHECK),
}
_SIGNAL: dict[str, Row] = {
    "symbol empty": (Wanted.REFUSE, _set(symbol=""), _CHECK),
    "symbol a number": (Wanted.REFUSE, _set(symbol=7), _CHECK),
    "symbol very long": (Wanted.REFUSE, _set(symbol="X" * 5_000), _CHECK),
    "symbol with a path": (Wanted.REFUSE, _set(symbol="../../etc/passwd"), _CHECK),
    "unknown symbol": (Wanted.SURVIVE, _set(symbol="ZZZ-UNKNOWN"), "Answer 422 where the model knows no such symbol."),
    "ohlcv text": (Wanted.REFUSE, _set(ohlcv="bars"), _CHECK),
    "bars of five numbers": (Wanted.REFUSE, lambda document: document["ohlcv"][-1].pop(), _CHECK),
    "a price that is text": (Wanted.REFUSE, _bar(-1, 4, "high"), _CHECK),
    "no bars, no features": (Wanted.STAND_ASIDE, _set(ohlcv=None), _EMPTY),
    "empty bars": (Wanted.STAND_ASIDE, _set(ohlcv=[]), _EMPTY),
    "one bar": (Wanted.SURVIVE, lambda document: document.update(ohlcv=document["ohlcv"][-1:]), _EMPTY),
    "NaN in a bar": (Wanted.REFUSE, _bar(-1, 4, float("nan")), _NUMBERS),
    "Infinity in a bar": (Wanted.REFUSE, _bar(-1, 4, float("inf")), _NUMBERS),
    "null in a bar": (Wanted.REFUSE, _bar(-1, 4, None), _NUMBERS),
    "NaN in a feature": (Wanted.REFUSE, _set(features={"ret_1": float("nan")}), _NUMBERS),
    "a negative price": (Wanted.DOUBT, _bar(-1, 3, -1.0), _ORDER),
    "bars backwards": (Wanted.DOUBT, lambda document: document["ohlcv"].reverse(), _ORDER),
    "a bar twice": (Wanted.DOUBT, lambda document: document["ohlcv"].append(document["ohlcv"][-1]), _ORDER),
    "an unknown field": (
        Wanted.SURVIVE,
        _set(novelty=1),
        "Ignore fields that you do not know: newer callers send them.",
    ),
}
_CONSENSUS: dict[str, Row] = {
    "symbol a number": (Wanted.REFUSE, _set(symbol=7), _CHECK),
    "unknown symbol": (Wanted.SURVIVE, _set(symbol="ZZZ-UNKNOWN"), "Answer 422 where the model knows no such symbol."),
    "no signals": (Wanted.REFUSE, _set(signals={}), _EMPTY),
    "signals a list": (Wanted.REFUSE, _set(signals=[]), _CHECK),
    "decision unknown": (Wanted.REFUSE, _voice("decision", "PERHAPS"), _CHECK),
    "confidence 1.5": (Wanted.REFUSE, _voice("confidence", 1.5), _CHECK),
    "confidence NaN": (Wanted.REFUSE, _voice("confidence", float("nan")), _NUMBERS),
    "confidence null": (Wanted.REFUSE, _voice("confidence", None), _NUMBERS),
    "time without zone": (Wanted.DOUBT, _voice("timestamp", "2026-01-02T15:04:05"), "Refuse times without a zone."),
    "an unknown field": (
        Wanted.SURVIVE,
        _set(novelty=1),
        "Ignore fields that you do not know: newer callers send them.",
    ),
}
_OPTIMIZER: dict[str, Row] = {
    "no assets": (Wanted.REFUSE, _set(assets=[]), _EMPTY),
    "assets text": (Wanted.REFUSE, _set(assets="EURUSD"), _CHECK),
    "an asset twice": (
        Wanted.DOUBT,
        lambda document: document["assets"].append(document["assets"][0]),
        "Refuse an asset that is twice.",
    ),
    "unknown asset": (
        Wanted.SURVIVE,
        _set(assets=["ZZZ-UNKNOWN"]),
        "Answer 422 where the model knows no such asset.",
    ),
    "max_weight 0": (Wanted.REFUSE, _set(max_weight=0), _CHECK),
    "max_weight 2": (Wanted.REFUSE, _set(max_weight=2), _CHECK),
    "max_weight NaN": (Wanted.REFUSE, _set(max_weight=float("nan")), _NUMBERS),
    "nothing to decide by": (Wanted.STAND_ASIDE, _set(closes=None, covariance=None, expected_returns=None), _EMPTY),
    "covariance not square": (Wanted.SURVIVE, _set(covariance=[[1.0]], closes=None), _CHECK),
    "covariance NaN": (Wanted.REFUSE, _set(covariance=[[float("nan")]]), _NUMBERS),
    "an unknown field": (
        Wanted.SURVIVE,
        _set(novelty=1),
        "Ignore fields that you do not know: newer callers send them.",
    ),
}
