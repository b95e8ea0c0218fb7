"""The reference trainer of ``optimizer`` models: how much of each symbol to hold, under constraints.

1. What is learned is how far to distrust recent means (``return_shrinkage``), by walking forward through ``train``.
2. ``validation`` is walked once, after costs, beside equal weights and inverse volatility rebalanced at the same bars.
   A decision sees only bars before it; the first ones see the end of ``train``.
3. The exported graph is the optimizer itself: recent returns and present weights in, weights out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from mp_kit.contracts.training import HyperParam
from mp_kit.errors import IntegrityError
from mp_kit.trainer.allocation_graph import HELD, OUTPUTS, RETURNS, allocation_document
from mp_kit.trainer.card import MODEL, card_of, write_card
from mp_kit.trainer.closes import Market, load_market
from mp_kit.trainer.data import sort_files
from mp_kit.trainer.graphs import open_session
from mp_kit.trainer.hyper import read_hyperparams
from mp_kit.trainer.measure import PortfolioEvaluation, evaluate_portfolio
from mp_kit.trainer.models import one_blas_thread
from mp_kit.trainer.portfolio import (
    Decide,
    Rules,
    Walk,
    decide,
    equal_weight,
    inverse_volatility,
    walk_forward,
)
from mp_kit.trainer.telemetry import Telemetry

__all__ = ["Allocated", "OptimizerParams", "train_optimizer"]

SHRINKAGES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""What is tried where no ``return_shrinkage`` is ordered."""

TOLERANCE = 1e-4
"""Largest difference of a weight that passes as float32 rounding."""

_COMPARED = 20

Floats = NDArray[np.float64]


class OptimizerParams(BaseModel):
    """What can be tuned.

    Attributes:
        model_type: ``mean_variance``.
        lookback: Bars that a decision sees.
        rebalance_bars: Bars between decisions.
        max_weight: Largest weight of a symbol.
        risk_aversion: Price of variance.
        turnover_penalty: Price of changing weights, in multiples of the mean variance.
        volatility_target: Annual volatility above which all is scaled down; 0 is none.
        prior_sharpe: Annual Sharpe ratio that means are shrunk to.
        return_shrinkage: How far means are shrunk; learned where it is left out.
        cost_bps: Cost of trading in the evaluation, in hundredths of a percent of what is traded.
        seed: For the card; nothing here is random.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())
    model_type: Literal["mean_variance"] = "mean_variance"
    lookback: int = Field(250, ge=20, le=10_000)
    rebalance_bars: int = Field(24, ge=1, le=10_000)
    max_weight: float = Field(0.5, gt=0, le=1)
    risk_aversion: float = Field(5.0, gt=0, le=1_000)
    turnover_penalty: float = Field(1.0, ge=0, le=1_000)
    volatility_target: float = Field(0.1, ge=0, le=10)
    prior_sharpe: float = Field(0.3, ge=0, le=10)
    return_shrinkage: float | None = Field(None, ge=0, le=1)
    cost_bps: float = Field(1.0, ge=0, le=1_000)
    seed: int = Field(7, ge=0, lt=2**32)

    @classmethod
    def read(cls, given: Mapping[str, HyperParam]) -> OptimizerParams:
        """Checks what was ordered; see :func:`mp_kit.trainer.hyper.read_hyperparams`."""
        return read_hyperparams(cls, given)

    def rules(self, bars_per_year: float) -> Rules:
        """The constraints, for bars of this length."""
        return Rules(
            max_weight=self.max_weight,
            risk_aversion=self.risk_aversion,
            turnover_penalty=self.turnover_penalty,
            volatility_target=self.volatility_target,
            prior_sharpe=self.prior_sharpe,
            bars_per_year=bars_per_year,
        )


@dataclass(frozen=True)
class Allocated:
    """What came of a training.

    Attributes:
        evaluation: Of the optimizer, on the validation bars.
        card: The model card as written.
    """

    evaluation: PortfolioEvaluation
    card: dict[str, Any]


def train_optimizer(
    files: Sequence[Path],
    target: Path,
    *,
    hyperparams: Mapping[str, HyperParam],
    round_id: str,
    telemetry: Telemetry | None = None,
) -> Allocated:
    """Learns, evaluates and exports an optimizer.

    Args:
        files: The round's ``train-*.parquet`` and ``validation-*.parquet``, one of each per symbol.
        target: Folder for ``model.onnx`` and ``model_card.json``.
        hyperparams: See :class:`OptimizerParams`.
        round_id: For the card.
        telemetry: Takes what there is to tell.

    Raises:
        InvalidInputError: A file lacks something, the bars are too few, or a hyperparameter is not known or out of
            bounds.
    """
    params, telemetry = OptimizerParams.read(hyperparams), telemetry or Telemetry()
    roles = sort_files(files)
    market = load_market(roles, lookback=params.lookback, every=params.rebalance_bars)
    rules = params.rules(market.bars_per_year)
    telemetry.say(
        f"{len(market.symbols)} symbols, {market.start} training bars, {len(market.returns) - market.start}"
        f" validation bars, {market.bars_per_year:.0f} bars a year"
    )
    with one_blas_thread():
        shrinkage, tried = _learn(market, params, rules, telemetry)
        judged = _judge(market, params, rules, shrinkage)
        difference = _export(market, params, rules, shrinkage, target)
    card = card_of("optimizer", roles["train"] + roles["validation"], params, round_id=round_id)
    metrics, verdict = _metrics(judged), _verdict(judged)
    card |= {
        "features": market.symbols,
        "lookback": params.lookback,
        "bars_per_year": market.bars_per_year,
        "return_shrinkage": shrinkage,
        "train_sharpe_by_shrinkage": tried,
        "metrics": metrics,
        "verdict": verdict,
        "onnx": {"max_abs_diff": difference},
        "rows": {"train": market.start, "validation": len(market.returns) - market.start},
    }
    card = write_card(card, target)
    telemetry.metric(**metrics, return_shrinkage=shrinkage, train_rows=market.start, symbols=len(market.symbols))
    for sentence in verdict:
        telemetry.say(sentence)
    return Allocated(judged["optimizer"], card)


def _walk(market: Market, params: OptimizerParams, rule: Decide, *, rows: int = 1, train: bool = False) -> Walk:
    returns = market.returns[: market.start] if train else market.returns
    return walk_forward(
        returns,
        start=params.lookback if train else market.start,
        lookback=params.lookback,
        every=params.rebalance_bars,
        rows=rows,
        decide=rule,
        cost=params.cost_bps * 1e-4,
    )


def _learn(
    market: Market, params: OptimizerParams, rules: Rules, telemetry: Telemetry
) -> tuple[float, dict[str, float | None]]:
    """The shrinkage with the best Sharpe ratio on the training bars; of equal ones, the one that trusts means least."""
    if params.return_shrinkage is not None:
        return params.return_shrinkage, {}
    tried = np.array(SHRINKAGES)
    walk = _walk(market, params, _rule(tried, rules), rows=len(tried), train=True)
    sharpes = [evaluate_portfolio(walk, at, market.bars_per_year).sharpe for at in range(len(tried))]
    for number, (shrinkage, sharpe) in enumerate(zip(SHRINKAGES, sharpes, strict=True), 1):
        telemetry.metric(step=number, total_steps=len(tried), return_shrinkage=shrinkage, train_sharpe=sharpe)
    best = max(range(len(tried)), key=lambda at: (-np.inf if sharpes[at] is None else sharpes[at], at))
    telemetry.say(f"return_shrinkage {SHRINKAGES[best]} has the best training Sharpe ratio, {sharpes[best]}")
    return SHRINKAGES[best], {str(each): sharpe for each, sharpe in zip(SHRINKAGES, sharpes, strict=True)}


def _rule(shrinkage: Floats, rules: Rules) -> Decide:
    return lambda window, held: decide(window, held, shrinkage, rules)


def _judge(market: Market, params: OptimizerParams, rules: Rules, shrinkage: float) -> dict[str, PortfolioEvaluation]:
    ways: dict[str, Decide] = {
        "optimizer": _rule(np.array([shrinkage]), rules),
        "equal_weight": equal_weight(params.max_weight),
        "inverse_volatility": inverse_volatility(params.max_weight),
    }
    return {
        name: evaluate_portfolio(_walk(market, params, rule), 0, market.bars_per_year) for name, rule in ways.items()
    }


def _metrics(judged: Mapping[str, PortfolioEvaluation]) -> dict[str, Any]:
    ours = judged["optimizer"]
    metrics = ours.metrics("validation_")
    for name in ("equal_weight", "inverse_volatility"):
        metrics |= judged[name].metrics(f"validation_{name}_")
        metrics[f"beats_{name}"] = _beats(ours, judged[name])
    return metrics


def _beats(ours: PortfolioEvaluation, theirs: PortfolioEvaluation) -> bool:
    return ours.sharpe is not None and (theirs.sharpe is None or ours.sharpe > theirs.sharpe)


def _verdict(judged: Mapping[str, PortfolioEvaluation]) -> list[str]:
    ours, sentences = judged["optimizer"], []
    for name in ("equal_weight", "inverse_volatility"):
        word = "beats" if _beats(ours, judged[name]) else "does not beat"
        sentences.append(
            f"validation Sharpe ratio {_number(ours.sharpe)} (standard error {_number(ours.sharpe_error)}) {word} that"
            f" of {name.replace('_', ' ')} at {_number(judged[name].sharpe)}, after costs, on {ours.bars} bars"
        )
    return sentences


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _export(market: Market, params: OptimizerParams, rules: Rules, shrinkage: float, folder: Path) -> float:
    """Writes the graph, once it decides as the evaluated optimizer does; returns the largest difference of a weight."""
    document = allocation_document(len(market.symbols), params.lookback, shrinkage, rules)
    session = open_session(document)
    differences = []
    held = np.zeros((1, len(market.symbols)))
    for at in np.linspace(market.start, len(market.returns), _COMPARED).astype(int):
        window = market.returns[at - params.lookback : at].astype(np.float32)
        given = {RETURNS: window, HELD: held.astype(np.float32)}
        answer = session.run([OUTPUTS[0]], given)[0]
        ours = decide(
            window.astype(np.float64), held.astype(np.float32).astype(np.float64), np.array([shrinkage]), rules
        )
        differences.append(float(np.max(np.abs(answer - ours))))
        held = ours
    if not max(differences) <= TOLERANCE:
        raise IntegrityError(f"The ONNX export differs by {max(differences):.2e}, above {TOLERANCE:.0e}.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL).write_bytes(document)
    return max(differences)
