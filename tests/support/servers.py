"""Servers for tests: models in few lines, good ones and such as vendors really write."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from mp_kit.contracts.common import Task
from mp_kit.contracts.validation import CheckStatus, ValidationReport
from mp_kit.serving.caller import Caller
from mp_kit.serving.validate import Validator
from mp_kit.serving.window import Windows
from mp_kit.testing import sample_bars

URL = "http://server.test"
NOW = "2026-01-02T15:04:05Z"


class Momentum:
    """A signal model without any file: the sign of the last move."""

    task = "signal"
    version = "m-1"
    facts: Mapping[str, Any] = {"bars": 3}

    def infer(self, request: Any) -> dict[str, Any]:
        """BUY after a rise, SELL after a fall."""
        from mp_kit.errors import InvalidInputError
        from mp_kit.serving.live import read_bars

        if not request.ohlcv or len(request.ohlcv) < 2:
            raise InvalidInputError("It takes two bars.")
        closes = read_bars(request.ohlcv)["close"].to_pylist()
        move = closes[-1] / closes[-2] - 1
        return {"decision": "BUY" if move > 0 else "SELL", "confidence": min(1.0, abs(move) * 100)}


def windows(rows: int = 660, symbols: tuple[str, ...] = ("EURUSD", "EURJPY")) -> Windows:
    """Made-up bars, hourly."""
    tables = {name: sample_bars(rows, symbol=number) for number, name in enumerate(symbols)}
    return Windows("made-up", "1h", tables)


Handler = Callable[[httpx.Request], httpx.Response]


def validated(handler: Handler, *, task: Task | None = None, max_p95_ms: float = 60_000) -> ValidationReport:
    """A server that is one function, validated."""
    caller = Caller(URL, transport=httpx.MockTransport(handler))
    report = Validator(caller, URL, windows(), task=task, max_p95_ms=max_p95_ms).run()
    caller.close()
    return report


def failed(report: ValidationReport) -> list[str]:
    """Where its failed checks are."""
    return [f"{check.name}: {check.where}" for check in report.checks if check.status is CheckStatus.FAILED]


def careless(**spoils: Any) -> Handler:
    """A server as one writes it in an afternoon: it answers HOLD to whatever comes.

    Args:
        **spoils: Fields of the answer, or callables that make them.
    """

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/health":
            return httpx.Response(200, json={"status": "ok", "task": "signal", "facts": {"bars": 3}})
        if request.url.path == "/ready":
            return httpx.Response(200, json={"ready": True})
        body = {"decision": "HOLD", "confidence": 0.5, "model_version": "1", "timestamp": NOW}
        body |= {name: value() if callable(value) else value for name, value in spoils.items()}
        return httpx.Response(200, json=body)

    return answer


def forgetful() -> Callable[[], float]:
    """Another confidence each time."""
    counter = itertools.count()
    return lambda: (next(counter) % 100) / 100


def raising(request: httpx.Request) -> httpx.Response:
    """A server that trusts its input: what it cannot read becomes a 500 with a stack trace."""
    if request.method == "GET":
        return careless()(request) if request.url.path != "/infer" else httpx.Response(405)
    if request.url.path != "/infer":
        return httpx.Response(404)
    try:
        bars = json.loads(request.content)["ohlcv"]
        decision = "BUY" if bars[-1][4] > bars[-2][4] else "SELL"
    except Exception as error:  # noqa: BLE001 - the point of this server
        trace = f'Traceback (most recent call last):\n  File "/srv/app.py"\n{type(error).__name__}'
        return httpx.Response(500, text=trace)
    body = {"decision": decision, "confidence": 0.6, "model_version": "1", "timestamp": NOW}
    return httpx.Response(200, json=body)
