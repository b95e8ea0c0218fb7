"""What a classifier of directions is worth on rows that it has not seen: plain numbers, exactly as measured.

Undefined is None, never 0 and never infinite.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mp_kit.trainer.portfolio import Walk

__all__ = [
    "Evaluation",
    "PortfolioEvaluation",
    "evaluate",
    "evaluate_portfolio",
    "log_loss",
    "rank_correlation",
    "softmax",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_TINY = 1e-15
_MIN_RANKED = 3
_FLAT = 1e-15


@dataclass(frozen=True)
class Evaluation:
    """Measured on the validation split.

    Attributes:
        rows: Rows measured.
        log_loss: Mean negative log-likelihood of the true class, in nats.
        baseline_log_loss: The same for a constant answer: the class frequencies of the training rows.
        beats_baseline: ``log_loss < baseline_log_loss``.
        accuracy: Share of rows whose most probable class is the true one.
        majority_accuracy: Share of rows in the training rows' most frequent class.
        balanced_accuracy: Mean recall over the classes that occur.
        hit_rate: Share of BUY and SELL answers whose realised return has their sign; None without such answers.
        active_signals: How many BUY and SELL answers there were.
        information_coefficient: Spearman's rank correlation of P(BUY) - P(SELL) with the realised return, over all
            rows together; None if either is constant. Rows overlap by the label's horizon, so it has no plain error.
    """

    rows: int
    log_loss: float
    baseline_log_loss: float
    beats_baseline: bool
    accuracy: float
    majority_accuracy: float
    balanced_accuracy: float
    hit_rate: float | None
    active_signals: int
    information_coefficient: float | None

    def metrics(self) -> dict[str, Any]:
        """As a JSON object, under ``validation_…`` names."""
        return {f"validation_{name}": value for name, value in asdict(self).items()}


def evaluate(probabilities: Floats, classes: Ints, *, truth: Ints, returns: Floats, prior: Floats) -> Evaluation:
    """Measures a classifier's answers.

    Args:
        probabilities: Shape (n, k).
        classes: Shape (k,): the directions that the columns stand for.
        truth: Shape (n,): true directions.
        returns: Shape (n,): realised log returns.
        prior: Shape (k,): class frequencies of the training rows.
    """
    answers = classes[np.argmax(probabilities, axis=1)]
    active = answers != 0
    hits = np.sign(returns[active]) == answers[active]
    loss = log_loss(probabilities, classes, truth)
    baseline = log_loss(np.broadcast_to(prior, probabilities.shape), classes, truth)
    return Evaluation(
        rows=len(truth),
        log_loss=loss,
        baseline_log_loss=baseline,
        beats_baseline=loss < baseline,
        accuracy=float(np.mean(answers == truth)),
        majority_accuracy=float(np.mean(truth == classes[np.argmax(prior)])),
        balanced_accuracy=float(np.mean([np.mean(answers[truth == each] == each) for each in np.unique(truth)])),
        hit_rate=float(np.mean(hits)) if active.any() else None,
        active_signals=int(active.sum()),
        information_coefficient=rank_correlation(probabilities @ np.sign(classes), returns),
    )


def log_loss(probabilities: Floats, classes: Ints, truth: Ints) -> float:
    """Mean of -ln p(true class); a class without a column, or p = 0, counts as p = 1e-15."""
    columns = np.searchsorted(classes, truth)
    known = (columns < len(classes)) & (classes[np.minimum(columns, len(classes) - 1)] == truth)
    picked = probabilities[np.arange(len(truth)), np.where(known, columns, 0)]
    return float(-np.mean(np.log(np.clip(np.where(known, picked, 0.0), _TINY, 1.0))))


def softmax(logits: Floats) -> Floats:
    """Probabilities along the last axis."""
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True), dtype=np.float64)


def rank_correlation(left: Floats, right: Floats) -> float | None:
    """Spearman's rho with mid-ranks for ties; None where it is undefined."""
    if len(left) < _MIN_RANKED:
        return None
    a, b = _mid_ranks(left), _mid_ranks(right)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def _mid_ranks(values: Floats) -> Floats:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2.0)[inverse], dtype=np.float64)


@dataclass(frozen=True)
class PortfolioEvaluation:
    """What a walk forward was worth, after costs.

    Attributes:
        bars: Bars walked.
        sharpe: Mean over standard deviation of the bar returns, times sqrt(bars per year); no interest on cash.
        sharpe_error: Its standard error, sqrt((1 + s^2 / 2) / bars) for the ratio s of one bar, per year (Lo,
            Financial Analysts Journal 58, 2002); as if bar returns were independent.
        annual_return: Compound.
        annual_volatility: Standard deviation of the bar returns, per year.
        max_drawdown: Largest fall from a peak, the start among them, 0 to 1.
        annual_turnover: Sum of |change of weight| per year.
        invested: Mean share that was not cash.
    """

    bars: int
    sharpe: float | None
    sharpe_error: float | None
    annual_return: float | None
    annual_volatility: float
    max_drawdown: float
    annual_turnover: float
    invested: float

    def metrics(self, prefix: str) -> dict[str, Any]:
        """As a JSON object, under names with a prefix."""
        return {f"{prefix}{name}": value for name, value in asdict(self).items()}


def evaluate_portfolio(walk: Walk, row: int, bars_per_year: float) -> PortfolioEvaluation:
    """Measures one of a walk's portfolios.

    Args:
        walk: What was earned, of at least two bars.
        row: Which portfolio.
        bars_per_year: Bars in a year.
    """
    returns = walk.returns[row]
    years = len(returns) / bars_per_year
    deviation = float(returns.std(ddof=1))
    ratio = float(returns.mean()) / deviation if deviation > _FLAT else None
    wealth = np.concatenate([[1.0], np.cumprod(1 + returns)])
    last = float(wealth[-1])
    return PortfolioEvaluation(
        bars=len(returns),
        sharpe=None if ratio is None else ratio * bars_per_year**0.5,
        sharpe_error=None if ratio is None else ((1 + ratio**2 / 2) / len(returns) * bars_per_year) ** 0.5,
        annual_return=last ** (1 / years) - 1 if last > 0 else None,
        annual_volatility=deviation * bars_per_year**0.5,
        max_drawdown=float(np.max(1 - wealth / np.maximum.accumulate(wealth))),
        annual_turnover=float(walk.turnover[row]) / years,
        invested=float(walk.invested[row]),
    )
