"""An optimizer's request as weights: by the trained graph where there are closes, else by the caller's moments.

1. No weight is above the request's ``max_weight``; what the weights lack to 1 is cash.
2. The graph sees all of its symbols, also those that were not asked for: their weights stay in cash.
3. Moments are solved by ``mp_kit.trainer.portfolio.solve``, which is what the graph computes, under the card's rules.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mp_kit.contracts.inference import OptimizerInferRequest
from mp_kit.errors import InvalidInputError
from mp_kit.trainer.portfolio import Rules, solve
from mp_kit.trainer.predict import Predictor

__all__ = ["allocate"]

Floats = NDArray[np.float64]

_ASYMMETRY = 1e-9


def allocate(request: OptimizerInferRequest, predictor: Predictor) -> dict[str, Any]:
    """Answers an optimizer's request.

    Args:
        request: Assets with closes, or with a covariance and maybe expected returns (both per bar).
        predictor: A model of the task ``optimizer``.

    Returns:
        ``allocations``, and per year ``expected_return`` and ``expected_volatility`` where they still hold.

    Raises:
        InvalidInputError: An asset is not the model's, or numbers are missing or contradict themselves.
    """
    if len(set(request.assets)) < len(request.assets):
        raise InvalidInputError("assets: one of them is named twice.")
    if request.closes is not None:
        return _by_graph(request, predictor)
    if request.covariance is not None:
        return _by_moments(request, predictor.card)
    raise InvalidInputError(
        "There is nothing to decide by: neither closes nor a covariance was sent.",
        hint=f"Send closes of {', '.join(predictor.features)}, {int(predictor.card['lookback']) + 1} bars each.",
    )


def _by_graph(request: OptimizerInferRequest, predictor: Predictor) -> dict[str, Any]:
    closes, known = request.closes or {}, predictor.features
    unknown = [asset for asset in request.assets if asset not in known]
    if unknown:
        raise InvalidInputError(
            f"The model has no asset {', '.join(unknown[:10])}; it allocates among {', '.join(known)}.",
            hint="Leave it out, or send a covariance in place of closes.",
        )
    if missing := [name for name in known if name not in closes]:
        raise InvalidInputError(f"closes: the model reads {', '.join(missing[:10])} too, which was not sent.")
    lengths = {len(closes[name]) for name in known}
    if len(lengths) > 1:
        raise InvalidInputError(f"closes: all symbols need as many bars; there are {min(lengths)} to {max(lengths)}.")
    found = predictor.allocate(pd.DataFrame({name: closes[name] for name in known}))
    whole = all(found.weights[name] <= request.max_weight for name in request.assets) and set(known) == set(
        request.assets
    )
    answer: dict[str, Any] = {"allocations": _allocations(found.weights, request)}
    if whole:  # else they are another portfolio's
        answer |= {"expected_return": found.expected_return, "expected_volatility": found.expected_volatility}
    return answer


def _by_moments(request: OptimizerInferRequest, card: dict[str, Any]) -> dict[str, Any]:
    covariance, rules = _covariance(request), _rules(request, card)
    given = request.expected_returns
    if given is not None and (missing := [name for name in request.assets if name not in given]):
        raise InvalidInputError(f"expected_returns: {', '.join(missing[:10])} is missing.")
    prior = rules.prior_sharpe / np.sqrt(rules.bars_per_year) * np.sqrt(np.diag(covariance))
    expected = prior if given is None else np.array([given[name] for name in request.assets])
    weights = solve(expected[None, :], covariance, np.zeros((1, len(expected))), rules)[0]
    variance = float(weights @ covariance @ weights)
    return {
        "allocations": _allocations(dict(zip(request.assets, weights.tolist(), strict=True)), request),
        "expected_return": float(weights @ expected) * rules.bars_per_year,
        "expected_volatility": float(np.sqrt(max(variance, 0.0) * rules.bars_per_year)),
    }


def _covariance(request: OptimizerInferRequest) -> Floats:
    rows, n = request.covariance or [], len(request.assets)
    if len(rows) != n or any(len(row) != n for row in rows):
        raise InvalidInputError(f"covariance must have {n} rows of {n} numbers, as many as there are assets.")
    matrix = np.array(rows, dtype=np.float64)
    scale = max(float(np.abs(matrix).max()), np.finfo(float).tiny)
    if (np.abs(matrix - matrix.T) > _ASYMMETRY * scale).any() or (np.diag(matrix) < 0).any():
        raise InvalidInputError("covariance must be symmetric, with no negative number on its diagonal.")
    return matrix


def _rules(request: OptimizerInferRequest, card: dict[str, Any]) -> Rules:
    used = card["hyperparams"]
    return Rules(
        max_weight=min(request.max_weight, float(used["max_weight"])),
        risk_aversion=float(used["risk_aversion"]),
        turnover_penalty=0.0,
        volatility_target=0.0,
        prior_sharpe=float(used["prior_sharpe"]),
        bars_per_year=float(card["bars_per_year"]),
    )


def _allocations(weights: dict[str, float], request: OptimizerInferRequest) -> list[dict[str, Any]]:
    """In the order of the request; a hair above the bound is float32's, and is cut off."""
    return [{"symbol": name, "weight": min(max(weights[name], 0.0), request.max_weight)} for name in request.assets]
