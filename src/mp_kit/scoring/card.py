"""A score card: one deployment's signals against a market. The server and ``mp score`` call this same function."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from mp_kit.contracts.scores import Measured, ReliabilityBin, ScoreBasis, ScoreCard
from mp_kit.scoring import accuracy, correlation, numerai, performance
from mp_kit.scoring.bootstrap import interval_of_mean
from mp_kit.scoring.numbers import Floats, Ints, mean
from mp_kit.scoring.outcomes import Market, Outcomes, Portfolio, Statements, join, portfolio

__all__ = ["FEWEST_SIGNALS", "card_of", "enough", "score"]

FEWEST_SIGNALS = 100
"""Independent calls below which a leaderboard gives no rank: the interval of a hit rate is 20 points wide there. Calls
about several symbols at one instant are one."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def score(market: Market, told: Statements, *, cost: float = 0.0, tries: int | None = None) -> ScoreCard:
    """Scores one deployment's statements.

    Args:
        market: A later round's bars and horizon.
        told: All that the deployment said about bars of that timeframe, in any order.
        cost: Of trading one unit of capital, as a share.
        tries: Made by the vendor, counted by the marketplace; the deflated Sharpe ratio needs it.
    """
    return card_of(market, join(market, told), cost=cost, tries=tries)


def card_of(market: Market, met: Outcomes, *, cost: float = 0.0, tries: int | None = None) -> ScoreCard:
    """As :func:`score`, for signals that have met their outcomes already."""
    followed = portfolio(market, met, cost=cost)
    earned, pairs, track = followed.returns, met.separate, performance.Track(followed.returns)
    positions, separate = met.positions[pairs], met.returns[pairs]
    calls, n = _instants(met, np.flatnonzero(met.direction)), _instants(met, pairs)
    basis = _basis(market, met, followed, cost)
    no_tries = Measured(n=earned.size, reason="nobody counted the tries")
    return ScoreCard(
        basis=basis,
        hit_rate=accuracy.hit_rate(met.direction, met.returns, calls),
        coverage=accuracy.coverage(met.direction, n),
        ic=correlation.ic(positions, separate, n),
        rank_ic=correlation.rank_ic(positions, separate, n),
        corr=_corr(positions, separate, n),
        sharpe=_sharpe(track, basis.bars_per_year),
        psr=performance.probabilistic_sharpe(track),
        dsr=no_tries if tries is None else performance.deflated_sharpe(track, tries),
        tries=tries,
        min_track_record=performance.min_track_record(track),
        max_drawdown=performance.max_drawdown(earned),
        turnover=performance.turnover(followed.traded),
        total_return=performance.total_return(earned),
        **_calls(met, market.horizon, cost),
    )


def enough(card: ScoreCard) -> str | None:
    """Why a card is not enough for a rank; None if it is."""
    if card.hit_rate.n < FEWEST_SIGNALS:
        return f"not enough data: {card.hit_rate.n} of {FEWEST_SIGNALS} independent signals"
    return card.sharpe.reason


def _basis(market: Market, met: Outcomes, followed: Portfolio, cost: float) -> ScoreBasis:
    symbols = [met.names[number] for number in np.unique(met.symbol).tolist()]
    return ScoreBasis(
        timeframe=market.timeframe,
        horizon=market.horizon,
        bars_per_year=market.bars_per_year(symbols),
        cost=cost,
        signals=met.signals,
        scored=met.returns.size,
        left_out=met.left_out,
        bars=followed.returns.size,
        symbols=symbols,
        first=_instant(int(met.began.min())) if met.began.size else None,
        last=_instant(int(met.ended.max())) if met.ended.size else None,
    )


def _sharpe(track: performance.Track, per_year: float | None) -> Measured:
    if per_year is None:  # of no symbol at all: nothing was scored
        return Measured(n=track.bars, reason=f"not enough data: {track.bars} of {performance.FEWEST_BARS} bars")
    return performance.sharpe(track, per_year)


def _instants(met: Outcomes, places: Ints) -> int:
    return correlation.instants(met.began[places], met.ended[places])


def _corr(positions: Floats, returns: Floats, n: int) -> Measured:
    if n < correlation.FEWEST_PAIRS:
        return Measured(n=n, reason=f"not enough data: {n} of {correlation.FEWEST_PAIRS} pairs that do not overlap")
    value = numerai.corr(positions, returns, target_pow15=False)
    return Measured(value=value, n=n, reason="positions or returns never change" if value is None else None)


def _calls(met: Outcomes, horizon: int, cost: float) -> dict[str, Measured | list[ReliabilityBin]]:
    """What is measured of single signals, in order of time."""
    order = np.lexsort((met.symbol, met.event_time, met.began))
    block = horizon * max(1, np.unique(met.symbol).size)
    calls = order[met.direction[order] != 0]
    direction, confidence, returns = met.direction[calls], met.confidence[calls], met.returns[calls]
    right = direction * returns > 0
    profit = direction * confidence * returns - 2.0 * cost * confidence
    said = met.confidence[order]
    return {
        "profit_per_signal": _mean(profit, block, "no BUY or SELL was scored"),
        "avg_confidence": _mean(said, block, "no signal was scored"),
        "brier": accuracy.brier(confidence, right, block=block),
        "reliability": accuracy.reliability(confidence, right, block=block),
    }


def _mean(values: Floats, block: int, reason: str) -> Measured:
    if not values.size:
        return Measured(reason=reason)
    low, high = interval_of_mean(values, block)
    return Measured(value=mean(values), low=low, high=high, n=values.size)


def _instant(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
