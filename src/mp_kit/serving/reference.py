"""A model to begin with: a published rule as ONNX with a card, so that a new project answers at once.

1. Nothing is trained and nothing is random: the same task and symbols give the same bytes of model.
2. The card says that it is a rule, by whom, and that it was not measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from mp_kit.contracts.common import TIMEFRAME_SECONDS, Task
from mp_kit.errors import MissingExtraError
from mp_kit.serving.blending import OTHERS
from mp_kit.trainer.card import MODEL, write_card
from mp_kit.version import __version__

__all__ = ["SYMBOLS", "write_reference"]

SYMBOLS = ("EURUSD", "EURJPY", "EURGBP", "EURCHF")
"""What the reference optimizer allocates among where nothing is chosen."""

LOOKBACK = 120
"""Bars that the reference optimizer sees."""

_DECISIONS = {"classes": [-1, 0, 1], "decisions": ["SELL", "HOLD", "BUY"]}
_VERDICT = "A published rule, neither trained nor measured: put a model of your own in its place."
_WEEK_OPEN = 5 / 7  # part of the time that a currency market is open


def write_reference(
    task: Task, folder: Path, *, symbols: Sequence[str] = SYMBOLS, timeframe: str = "1h"
) -> dict[str, Any]:
    """Writes ``model.onnx`` and ``model_card.json``.

    Args:
        task: What the model is for.
        folder: Where; made if it is not there.
        symbols: What an optimizer allocates among.
        timeframe: Of an optimizer's bars: what makes returns annual.

    Returns:
        The card as written.

    Raises:
        MissingExtraError: onnx is not installed.
    """
    if find_spec("onnx") is None:
        raise MissingExtraError.for_extra("train", "Writing a model to begin with")
    folder.mkdir(parents=True, exist_ok=True)
    if task is Task.OPTIMIZER:
        card, document = _optimizer(symbols, timeframe)
    else:
        card, document = _RULES[task]()
    (folder / MODEL).write_bytes(document)
    about: dict[str, Any] = {
        "card_version": 1,
        "task": task.value,
        "round_id": None,
        "code_version": __version__,
        "metrics": {},
    }
    return write_card({**about, "verdict": [_VERDICT], **card}, folder)


def _signal() -> tuple[dict[str, Any], bytes]:
    """With the trend while ADX says that there is one: the linear form of Wilder's directional system."""
    features = ["di_14", "adx_14", "rsi_14"]
    # Columns SELL, HOLD, BUY. The directional index decides for a side, a high ADX against standing aside.
    weights = [[-3.0, 0.0, 3.0], [2.0, -2.0, 2.0], [-1.0, 0.0, 1.0]]
    card = {"features": features, "rule": _signal.__doc__, **_DECISIONS, **_SOURCES[Task.SIGNAL]}
    return card, _softmax("signal", weights, [-0.6, 1.2, -0.6])


def _consensus() -> tuple[dict[str, Any], bytes]:
    """All voices alike: the mean of sign times confidence."""
    card = {"features": [OTHERS], "weights": {OTHERS: 1.0}, "experts": {}, "rule": _consensus.__doc__}
    return {**card, **_DECISIONS, **_SOURCES[Task.CONSENSUS]}, _softmax(
        "consensus", [[-4.0, 0.0, 4.0]], [0.0, 0.5, 0.0]
    )


_RULES: Mapping[Task, Callable[[], tuple[dict[str, Any], bytes]]] = {Task.SIGNAL: _signal, Task.CONSENSUS: _consensus}
_SOURCES: Mapping[Task, Mapping[str, Any]] = {
    Task.SIGNAL: {"source": "Wilder, New Concepts in Technical Trading Systems, 1978", "hyperparams": {}},
    Task.CONSENSUS: {
        "source": "Clemen, Combining forecasts, International Journal of Forecasting 5, 1989",
        "hyperparams": {},
    },
}


def _softmax(name: str, weights: Sequence[Sequence[float]], bias: Sequence[float]) -> bytes:
    """Rows of features to probabilities of three decisions."""
    from mp_kit.trainer.graphs import Graph

    graph = Graph()
    scores = graph.add("MatMul", "features", graph.constant(weights))
    graph.add("Softmax", graph.add("Add", scores, graph.constant(bias)), name="probabilities", axis=1)
    return graph.document(name, {"features": [None, len(weights)]}, {"probabilities": [None, len(bias)]})


def _optimizer(symbols: Sequence[str], timeframe: str) -> tuple[dict[str, Any], bytes]:
    """Mean and variance where all means are one Sharpe ratio: nothing of recent returns is believed."""
    from mp_kit.trainer.allocation_graph import allocation_document
    from mp_kit.trainer.portfolio import Rules

    used = {
        "max_weight": 0.5,
        "risk_aversion": 5.0,
        "turnover_penalty": 1.0,
        "volatility_target": 0.1,
        "prior_sharpe": 0.3,
    }
    bars_per_year = 365.25 * 86_400 / TIMEFRAME_SECONDS[timeframe] * _WEEK_OPEN
    rules = Rules(bars_per_year=bars_per_year, **used)
    card = {
        "features": list(symbols),
        "lookback": LOOKBACK,
        "bars_per_year": float(np.round(bars_per_year, 3)),
        "return_shrinkage": 1.0,
        "hyperparams": used,
        "rule": _optimizer.__doc__,
        "source": "Ledoit, Wolf, Journal of Multivariate Analysis 88, 2004 (the covariance)",
    }
    return card, allocation_document(len(symbols), LOOKBACK, 1.0, rules)
