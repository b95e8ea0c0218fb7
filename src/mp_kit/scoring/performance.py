"""What a series of returns was worth: Sharpe ratio with its doubts, drawdown, turnover.

``y`` are returns of consecutive bars that do not overlap; ``SR = mean(y) / deviation(y)`` is of one bar, with n - 1.
Bars per year is always an argument, counted in the market and stored with the score: 252 is nobody's default.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mp_kit.contracts.scores import Measured
from mp_kit.errors import InvalidInputError
from mp_kit.scoring.numbers import NORMAL, Z95, Floats, Ints, Moments, finite, mean, moments, union

__all__ = [
    "EULER_GAMMA",
    "FEWEST_BARS",
    "Track",
    "bars_per_year",
    "deflated_sharpe",
    "expected_best",
    "max_drawdown",
    "min_track_record",
    "probabilistic_sharpe",
    "sharpe",
    "total_return",
    "turnover",
]

FEWEST_BARS = 30
"""Below this a Sharpe ratio's distribution is nowhere near its limit."""

EULER_GAMMA = 0.5772156649015329
YEAR_SECONDS = 365.25 * 86_400


@dataclass(frozen=True)
class Track:
    """Returns of consecutive bars whose moments are computed once for all that is asked of them.

    Attributes:
        returns: Shape (T,).
    """

    returns: Floats

    def __post_init__(self) -> None:
        """Refuses what is not finite."""
        finite(self.returns, "returns")

    @property
    def bars(self) -> int:
        """T."""
        return self.returns.size

    @cached_property
    def moments(self) -> Moments | None:
        """None where the returns never change."""
        return moments(self.returns)


def bars_per_year(runs: Sequence[Ints]) -> float | None:
    """Bars in a year of this market: intervals over the time that they span.

    ``sum (n_i - 1) / sum (t_last,i - t_first,i)`` over runs of consecutive bars, in years of 365.25 days. Hourly
    currencies give about 6,200 (24 x 5 x 52 less holidays), shares traded round the clock 8,766. Where runs lie side by
    side, as those of several symbols do, an instant that they share is one bar and the time that they share passes
    once: this is the grid of a portfolio of them.

    Args:
        runs: Opens of consecutive bars in microseconds, ascending.

    Returns:
        None where no run has two bars.
    """
    long = [times for times in runs if times.size > 1]
    span, reached = 0, min((int(times[0]) for times in long), default=0)
    for first, last in sorted((int(times[0]), int(times[-1])) for times in long):
        span += max(0, last - max(first, reached))
        reached = max(reached, last)
    return union([times[1:] for times in long]).size / (span / 1e6 / YEAR_SECONDS) if span > 0 else None


def sharpe(returns: Floats | Track, per_year: float) -> Measured:
    """Annual Sharpe ratio: ``SR sqrt(B)``, with its interval; cash earns nothing.

    The standard error of SR is ``sqrt((1 - g3 SR + (g4 - 1)/4 SR^2) / (T - 1))`` with skewness g3 and kurtosis g4
    (3 if normal). Sources: Sharpe, Journal of Portfolio Management 21 (1994); Mertens, Comments on variance of the
    IID estimator in Lo (2002).

    Args:
        returns: Of consecutive bars, shape (T,).
        per_year: Bars in a year.

    Raises:
        InvalidInputError: A return is not finite, or a year has no bars.
    """
    if not per_year > 0:
        raise InvalidInputError(f"A year of {per_year} bars cannot be.", hint="Hourly currencies have about 6,200.")
    track = _track(returns)
    found, reason = _enough(track)
    if found is None:
        return Measured(n=track.bars, reason=reason)
    ratio, scale = found.mean / found.deviation, math.sqrt(per_year)
    error = _error(found)
    if error is None:
        return Measured(value=ratio * scale, n=found.n)
    return Measured(
        value=ratio * scale, low=(ratio - Z95 * error) * scale, high=(ratio + Z95 * error) * scale, n=found.n
    )


def probabilistic_sharpe(returns: Floats | Track, benchmark: float = 0.0) -> Measured:
    """Probability that the true Sharpe ratio is above a benchmark.

    ``PSR(b) = Phi((SR - b) sqrt(T - 1) / sqrt(1 - g3 SR + (g4 - 1)/4 SR^2))``. Source: Bailey and Lopez de Prado, The
    Sharpe ratio efficient frontier, Journal of Risk 15 (2012).

    Args:
        returns: Of consecutive bars, shape (T,).
        benchmark: Sharpe ratio of one bar, not of a year.
    """
    track = _track(returns)
    found, reason = _enough(track)
    error = _error(found) if found is not None else None
    if found is None or error is None:
        return Measured(n=track.bars, reason=reason or "skewness and kurtosis leave no variance")
    return Measured(value=NORMAL.cdf((found.mean / found.deviation - benchmark) / error), n=found.n)


def expected_best(tries: int, deviation: float) -> float:
    """Sharpe ratio that the best of so many worthless tries is expected to show.

    ``SR0 = s ((1 - g) Phi^-1(1 - 1/N) + g Phi^-1(1 - 1/(N e)))`` with Euler's constant g; 0 for one try. Source:
    Bailey and Lopez de Prado, The deflated Sharpe ratio, Journal of Portfolio Management 40 (2014).

    Args:
        tries: N, at least 1.
        deviation: Standard deviation s of the Sharpe ratio over tries, of one bar.

    Raises:
        InvalidInputError: No try at all, or a deviation below 0.
    """
    if tries < 1 or not 0 <= deviation < math.inf:
        raise InvalidInputError(f"{tries} tries with deviation {deviation} cannot be.")
    if tries == 1:
        return 0.0
    first, second = NORMAL.inv_cdf(1 - 1 / tries), NORMAL.inv_cdf(1 - 1 / (tries * math.e))
    return deviation * ((1 - EULER_GAMMA) * first + EULER_GAMMA * second)


def deflated_sharpe(returns: Floats | Track, tries: int, deviation: float | None = None) -> Measured:
    """Probability that the true Sharpe ratio is above 0 though it is the best of so many tries: ``PSR(SR0)``.

    Source: as :func:`expected_best`. The Sharpe ratios of tries that were never shown are not known: unless told
    otherwise they spread as those of worthless tries of this length do, ``s = 1 / sqrt(T - 1)``.

    Args:
        returns: Of consecutive bars, shape (T,).
        tries: All that were made, the shown one among them.
        deviation: Of the Sharpe ratio of one bar over the tries.
    """
    track = _track(returns)
    if track.bars <= 1:
        return Measured(n=track.bars, reason=_few(track.bars))
    spread = 1 / math.sqrt(track.bars - 1) if deviation is None else deviation
    return probabilistic_sharpe(track, expected_best(tries, spread))


def min_track_record(returns: Floats | Track, benchmark: float = 0.0, confidence: float = 0.95) -> Measured:
    """Bars after which the PSR would reach a confidence if the returns went on like this.

    ``1 + (1 - g3 SR + (g4 - 1)/4 SR^2) (Phi^-1(confidence) / (SR - b))^2``, rounded up. Source: as
    :func:`probabilistic_sharpe`.

    Returns:
        No value where SR is not above the benchmark: no record is long enough then.
    """
    track = _track(returns)
    found, reason = _enough(track)
    error = _error(found) if found is not None else None
    if found is None or error is None:
        return Measured(n=track.bars, reason=reason or "skewness and kurtosis leave no variance")
    ahead = found.mean / found.deviation - benchmark
    if ahead <= 0:
        return Measured(n=found.n, reason="the Sharpe ratio is not above the benchmark")
    variance = error * error * (found.n - 1)
    return Measured(value=float(math.ceil(1 + variance * (NORMAL.inv_cdf(confidence) / ahead) ** 2)), n=found.n)


def max_drawdown(returns: Floats) -> Measured:
    """Deepest fall of the capital from its peak: ``max(1 - E / cummax(E))``, 0 to 1 and more if it went below 0.

    ``E`` begins with the start, 1, so that a loss in the first bar counts; returns compound.

    Args:
        returns: Of consecutive bars, shape (T,).
    """
    if not finite(returns, "returns").size:
        return Measured(reason="no bar was scored")
    capital = np.concatenate([[1.0], np.multiply.accumulate(1.0 + returns)])
    return Measured(value=float(np.max(1.0 - capital / np.maximum.accumulate(capital))), n=returns.size)


def total_return(returns: Floats) -> Measured:
    """What the capital gained from start to end, compound: ``prod(1 + y) - 1``."""
    if not finite(returns, "returns").size:
        return Measured(reason="no bar was scored")
    return Measured(value=float(np.multiply.accumulate(1.0 + returns)[-1]) - 1.0, n=returns.size)


def turnover(traded: Floats) -> Measured:
    """Mean change of position a bar, in units of the capital: ``mean |x_t - x_{t-1}|``, flat before the start.

    Args:
        traded: ``|x_t - x_{t-1}|`` summed over symbols, shape (T,).
    """
    return Measured(value=mean(traded), n=traded.size, reason=None if traded.size else "no bar was scored")


def _track(returns: Floats | Track) -> Track:
    return returns if isinstance(returns, Track) else Track(returns)


def _enough(track: Track) -> tuple[Moments | None, str | None]:
    if track.bars < FEWEST_BARS:
        return None, _few(track.bars)
    return track.moments, None if track.moments is not None else "the returns never change"


def _few(bars: int) -> str:
    return f"not enough data: {bars} of {FEWEST_BARS} bars"


def _error(found: Moments) -> float | None:
    """Standard error of the Sharpe ratio of one bar; None where the moments leave no variance."""
    ratio = found.mean / found.deviation
    variance = 1 - found.skewness * ratio + (found.kurtosis - 1) / 4 * ratio * ratio
    return math.sqrt(variance / (found.n - 1)) if variance > 0 else None
