"""Signals met with what the market did afterwards.

1. A signal speaks of the bar that opens at its ``event_time``. It is entered at that bar's close, or at the first
   close at or after the moment when it was stored, if that is later: no outcome begins before the signal was stored.
   A close's instant is when it was a price (``Market.priced_after``), not when its bar's stamp ends.
2. It is held for the round's horizon: its return is ``close[entry + horizon] / close[entry] - 1``.
3. Only the first statement of a deployment about a bar counts, whichever version of its model made it.
4. Late signals never count, and neither does one whose horizon leaves a run of consecutive bars. What was said about
   bars before the market's first is not even counted among what is left out.
5. Nothing depends on the order in which signals or symbols come.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mp_kit.contracts.common import Timeframe
from mp_kit.errors import InvalidInputError
from mp_kit.scoring.correlation import apart
from mp_kit.scoring.numbers import Booleans, Floats, Ints, finite, union
from mp_kit.scoring.performance import bars_per_year

__all__ = ["Market", "Outcomes", "Portfolio", "Series", "Statements", "join", "join_runs", "portfolio"]

_MICRO = 1_000_000


@dataclass(frozen=True)
class Series:
    """One symbol's bars.

    Attributes:
        times: Their opens in microseconds since 1970, ascending, shape (n,).
        closes: Shape (n,).
        runs: Which run of consecutive bars each is in, ascending, shape (n,).
    """

    times: Ints
    closes: Floats
    runs: Ints


@dataclass(frozen=True)
class Market:
    """The bars that signals are met with.

    Attributes:
        timeframe: Of the bars.
        horizon: Bars that a signal is held.
        series: Symbol to bars.
        priced_after: Seconds from a bar's open to the instant of its close; None: the bar's length.
    """

    timeframe: Timeframe
    horizon: int
    series: Mapping[str, Series]
    priced_after: int | None = None

    @property
    def until_close(self) -> int:
        """Microseconds from a bar's open to the instant of its close."""
        return (self.timeframe.seconds if self.priced_after is None else self.priced_after) * _MICRO

    @property
    def begins(self) -> int | None:
        """Open of the first bar of any symbol; None without bars."""
        return min((int(one.times[0]) for one in self.series.values() if one.times.size), default=None)

    def bars_per_year(self, names: Collection[str]) -> float | None:
        """Bars in a year on the grid that a portfolio of these symbols walks; other symbols do not matter."""
        key = frozenset(names)
        if key not in self._per_year:
            self._per_year[key] = bars_per_year([part for name in sorted(key) for part in _parts(self.series[name])])
        return self._per_year[key]

    @cached_property
    def _per_year(self) -> dict[frozenset[str], float | None]:
        """What was counted before: deployments mostly speak of the same symbols."""
        return {}


@dataclass(frozen=True)
class Statements:
    """What one deployment said about bars of one timeframe, by columns of shape (n,).

    Attributes:
        names: The symbols.
        symbol: Place in ``names``.
        event_time: Opens of the bars in microseconds.
        received_at: When it was stored, in microseconds.
        late: Marked as late when it was stored.
        direction: +1 BUY, -1 SELL, 0 HOLD.
        confidence: 0 to 1.
        batch: Number of the batch, to order what was stored at the same moment.
        row: Place in the batch.
        counts: Whether it was heard by the consensus (its version in pilot or prod); None where that is not known, and
            then all count. It matters to what others are set against, not to one's own score.
    """

    names: Sequence[str]
    symbol: Ints
    event_time: Ints
    received_at: Ints
    late: Booleans
    direction: Ints
    confidence: Floats
    batch: Ints
    row: Ints
    counts: Booleans | None = None

    def take(self, places: Ints | slice) -> Statements:
        """Some of them."""
        columns = {name: getattr(self, name)[places] for name in _COLUMNS}
        return Statements(self.names, **columns, counts=None if self.counts is None else self.counts[places])


_COLUMNS = ("symbol", "event_time", "received_at", "late", "direction", "confidence", "batch", "row")
_KINDS = {
    **dict.fromkeys(("symbol", "event_time", "entry", "began", "ended", "direction"), np.int64),
    **dict.fromkeys(("confidence", "returns"), np.float64),
    **dict.fromkeys(("separate", "counts"), np.bool_),
}
"""Columns of outcomes."""


@dataclass(frozen=True)
class Outcomes:
    """Signals with their outcome, ordered by symbol's name, entry, bar; columns of shape (n,).

    Attributes:
        names: The symbols, sorted.
        symbol: Place in ``names``.
        event_time: Opens of the bars that they speak of.
        entry: Number of the bar at whose close they were entered.
        began: That close's instant in microseconds.
        ended: The instant of the close ``horizon`` bars later.
        direction: +1, -1, 0.
        confidence: 0 to 1.
        returns: Of the horizon.
        counts: Whether the consensus heard it; true where that is not known.
        separate: Places of signals whose horizons do not overlap, symbol by symbol.
        signals: First statements that were not late.
        left_out: Reason to count.
    """

    names: tuple[str, ...]
    symbol: Ints
    event_time: Ints
    entry: Ints
    began: Ints
    ended: Ints
    direction: Ints
    confidence: Floats
    returns: Floats
    counts: Booleans
    separate: Ints
    signals: int
    left_out: dict[str, int]

    @property
    def positions(self) -> Floats:
        """Direction times confidence."""
        return self.direction * self.confidence


@dataclass(frozen=True)
class Portfolio:
    """What following the signals earned, bar by bar.

    Attributes:
        times: Opens of the bars in which it was earned, shape (t,).
        returns: After costs, as a share of the capital, shape (t,).
        traded: Change of position as a share of the capital, shape (t,).
    """

    times: Ints
    returns: Floats
    traded: Floats


def join_runs(pieces: Iterable[tuple[Ints, Floats]]) -> Series:
    """Puts runs of consecutive bars together; those that share a bar become one.

    Args:
        pieces: Times and closes of bars between which none is missing, such as the rows of one role of a round.

    Raises:
        InvalidInputError: A piece is not ascending, or a close is no positive number.
    """
    times: list[Ints] = []
    closes: list[Floats] = []
    runs: list[Ints] = []
    run, last = -1, -1
    for opens, prices in sorted(pieces, key=lambda piece: (int(piece[0][0]) if piece[0].size else 0, piece[0].size)):
        if not opens.size:
            continue
        _check(opens, prices)
        run += int(run < 0 or opens[0] > last)
        fresh = opens > last if times else np.ones(opens.size, np.bool_)
        times.append(opens[fresh])
        closes.append(prices[fresh])
        runs.append(np.full(int(np.count_nonzero(fresh)), run, np.int64))
        last = max(last, int(opens[-1]))
    if not times:
        return Series(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64))
    return Series(np.concatenate(times), np.concatenate(closes), np.concatenate(runs))


def join(market: Market, told: Statements) -> Outcomes:
    """Meets a deployment's statements with the market.

    Raises:
        InvalidInputError: A confidence is no number.
    """
    finite(told.confidence, "confidence")
    if market.begins is not None:
        told = told.take(np.flatnonzero(told.event_time >= market.begins))
    left = {"late": int(np.count_nonzero(told.late))}
    on_time = told.take(np.flatnonzero(~told.late))
    first = on_time.take(_first(on_time))
    left["restated"] = on_time.event_time.size - first.event_time.size
    left |= {"no_bar": 0, "open": 0}
    names = tuple(sorted(told.names))
    parts = [_meet(market, first, number, name, left) for number, name in enumerate(names)]
    columns: dict[str, Any] = {
        name: np.concatenate([part[name] for part in parts] or [np.zeros(0)]).astype(kind)
        for name, kind in _KINDS.items()
    }
    columns["separate"] = np.flatnonzero(columns["separate"])
    return Outcomes(names=names, signals=first.event_time.size, left_out=left, **columns)


def portfolio(market: Market, met: Outcomes, *, cost: float = 0.0) -> Portfolio:
    """Follows the signals with a capital that is divided equally among the symbols.

    Each signal holds a share ``1 / horizon`` of its symbol's part from its entry to its exit, so that horizons
    overlap without any bar's return being counted twice:
    ``y_k = mean over symbols of (x_k r_k - cost |x_k - x_{k-1}|)`` with ``x_k = (1/h) sum_{j<h} s_{k-j}``, the
    position ``s`` that was entered at the close of bar k - j, and ``r_k = close[k+1] / close[k] - 1``. Source of the
    overlapping portfolio: Jegadeesh and Titman, Journal of Finance 48 (1993). Where two signals are entered at one
    close, the one about the newer bar holds. It is flat before the first entry and after the last exit.

    Args:
        market: The bars.
        met: From :func:`join` with it.
        cost: Of trading one unit of capital, as a share.
    """
    used = np.unique(met.symbol)
    if not used.size:
        return Portfolio(np.zeros(0, np.int64), np.zeros(0), np.zeros(0))
    span = int(met.began.min()), int(met.ended.max())
    legs = [_leg(market, met, number, span) for number in used.tolist()]
    times = union([leg.times for leg in legs])
    returns, traded = np.zeros(times.size), np.zeros(times.size)
    for leg in legs:
        places = np.searchsorted(times, leg.times)
        returns[places] += (leg.returns - cost * leg.traded) / used.size
        traded[places] += leg.traded / used.size
    return Portfolio(times, returns, traded)


def _check(opens: Ints, prices: Floats) -> None:
    if np.any(opens[1:] <= opens[:-1]):
        raise InvalidInputError("Bars must be in order of time and unique.", hint="Take them from a round's files.")
    if opens.shape != prices.shape or not np.all(prices > 0) or not np.all(np.isfinite(prices)):
        raise InvalidInputError("Every bar needs a close above 0.", hint="Take bars from a round's files.")


def _parts(series: Series) -> list[Ints]:
    return np.split(series.times, np.flatnonzero(series.runs[1:] != series.runs[:-1]) + 1)


def _first(told: Statements) -> Ints:
    """Places of the first statement about each bar."""
    order = np.lexsort((told.row, told.batch, told.received_at, told.event_time, told.symbol))
    symbol, bar = told.symbol[order], told.event_time[order]
    fresh = np.ones(order.size, np.bool_)
    fresh[1:] = (symbol[1:] != symbol[:-1]) | (bar[1:] != bar[:-1])
    return order[fresh]


def _meet(market: Market, first: Statements, number: int, name: str, left: dict[str, int]) -> dict[str, Any]:
    """One symbol's outcomes by column, ordered by entry and bar; adds to the counts of what is left out."""
    mine = first.take(np.flatnonzero(first.symbol == list(first.names).index(name)))
    series = market.series.get(name) or join_runs([])
    bar = np.searchsorted(series.times, mine.event_time)
    known = bar < series.times.size
    known[known] = series.times[bar[known]] == mine.event_time[known]
    left["no_bar"] += int(np.count_nonzero(~known))
    mine, bar = mine.take(np.flatnonzero(known)), bar[known]
    entry = np.maximum(bar, np.searchsorted(series.times, mine.received_at - market.until_close))
    leaves = entry + market.horizon
    whole = leaves < series.times.size
    whole[whole] = series.runs[bar[whole]] == series.runs[leaves[whole]]
    left["open"] += int(np.count_nonzero(~whole))
    kept = np.flatnonzero(whole)
    kept = kept[np.lexsort((mine.event_time[kept], entry[kept]))]
    mine, entry, leaves = mine.take(kept), entry[kept], leaves[kept]
    separate = np.zeros(entry.size, np.bool_)
    separate[apart(entry, market.horizon)] = True
    return {
        "symbol": np.full(entry.size, number, np.int64),
        "event_time": mine.event_time,
        "entry": entry,
        "began": series.times[entry] + market.until_close,
        "ended": series.times[leaves] + market.until_close,
        "direction": mine.direction,
        "confidence": mine.confidence,
        "returns": series.closes[leaves] / series.closes[entry] - 1.0,
        "separate": separate,
        "counts": np.ones(entry.size, np.bool_) if mine.counts is None else mine.counts,
    }


def _leg(market: Market, met: Outcomes, number: int, span: tuple[int, int]) -> Portfolio:
    """One symbol's part; ``traded`` of the last bar has the way back to nothing in it."""
    series, mine = market.series[met.names[number]], met.symbol == number
    low, high = (int(np.searchsorted(series.times, instant - market.until_close)) for instant in span)
    high = min(high, series.times.size - 1)
    told = np.zeros(high - low)
    told[met.entry[mine] - low] = met.positions[mine]
    held = np.zeros(high - low)
    for age in range(min(market.horizon, held.size)):
        held[age:] += told[: held.size - age]
    held /= market.horizon
    traded = np.abs(np.diff(held, prepend=0.0))
    if held.size:
        traded[-1] += abs(held[-1])
    earned = held * (series.closes[low + 1 : high + 1] / series.closes[low:high] - 1.0)
    within = series.runs[low + 1 : high + 1] == series.runs[low:high]
    # What is sold at a run's last close is booked on its last bar: the next one leads over the gap and is not walked.
    traded[:-1] += np.where(within[1:], 0.0, traded[1:])
    return Portfolio(series.times[low + 1 : high + 1][within], earned[within], traded[within])
