"""Scores: the leaderboard, one's own, and the same numbers made at home."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pydantic import PrivateAttr, ValidationError

from mp_kit.client.desk import Desk
from mp_kit.client.http import Api
from mp_kit.client.invalid import invalid, one_of
from mp_kit.client.results import Rows, Shown, counted
from mp_kit.client.rows import Signals
from mp_kit.client.score_plot import plot_board, plot_card
from mp_kit.client.views import StandingView, standing_row
from mp_kit.contracts.common import CURRENT, Confidence, Decision, Instant, Model, Symbol, Timeframe
from mp_kit.contracts.rounds import Manifest
from mp_kit.contracts.scores import LeaderboardEntry, Measured, ScoreCard
from mp_kit.errors import InvalidInputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mp_kit.client.data import Data
    from mp_kit.client.rounds import Rounds
    from mp_kit.scoring.outcomes import Market, Portfolio, Statements

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COLUMNS = (
    *("deployment", "timeframe", "model", "vendor", "stage"),
    *("scored", "tries", "sharpe", "dsr", "hit_rate", "rank_ic"),
)


class Told(Model):
    """A signal as it was stored, as far as a score needs it; one that was never stored counts as said in time."""

    symbol: Symbol
    timeframe: Timeframe
    decision: Decision
    confidence: Confidence
    timestamp: Instant | None = None
    event_time: Instant | None = None
    received_at: Instant | None = None
    late: bool = False
    deployment_id: str | None = None
    signal_id: str | None = None

    @property
    def bar(self) -> datetime:
        """Open of the bar that it speaks of."""
        found = self.event_time or self.timestamp
        if found is None:
            raise InvalidInputError("A signal has neither event_time nor timestamp.")
        return found

    @property
    def place(self) -> tuple[int, int]:
        """Number of its batch and place in it, out of its id; zeros where it has none."""
        parts = (self.signal_id or "").split("_")
        try:
            return int(parts[1], 16), int(parts[2])
        except (IndexError, ValueError):
            return 0, 0


@dataclass(frozen=True)
class Followed:
    """The curve that a score was made from; scores are equal by their numbers."""

    portfolio: Portfolio = field(compare=False, repr=False)


class ScoreView(Shown, ScoreCard):
    """A score card, as it shows itself."""

    _followed: Followed | None = PrivateAttr(default=None)
    _aside: Mapping[str, int] = PrivateAttr(default_factory=dict)
    __repr__ = Shown.__repr__
    __str__ = Shown.__str__

    def _title(self) -> str:
        basis = self.basis
        held = counted(basis.horizon, "bar")
        return f"Score of {counted(basis.scored, 'signal')}, {basis.timeframe.value}, held {held}"

    def _facts(self) -> Mapping[str, Any]:
        numbers = {name: str(value) for name, value in self if isinstance(value, Measured)}
        about = {"symbols": self.basis.symbols, "left out": _counts(self.basis.left_out)}
        return {**about, "not this round's": _counts(self._aside), **numbers, "tries": self.tries}

    @property
    def set_aside(self) -> Mapping[str, int]:
        """Signals that this round cannot judge: why, and how many; the marketplace's own card knows only the others."""
        return self._aside

    def plot(self, kind: str | None = None) -> list[Axes]:
        """Draws what following the signals earned, with its drawdown, and their calibration.

        Args:
            kind: ``equity`` or ``calibration``; both by default.

        Returns:
            The axes; ``axes[0].figure.savefig("equity.png")`` exports them.

        Raises:
            ConflictError: No signal has met its outcome.
            MissingExtraError: matplotlib is not installed.

        Example:
            >>> m.scores.score(signals).plot("equity")
        """
        return plot_card(None if self._followed is None else self._followed.portfolio, self.reliability, kind)


def _counts(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in reasons.items() if count)


class Scores(Desk):
    """Scores of signals.

    Example:
        >>> m.scores.leaderboard()
        >>> m.scores.own()
        >>> m.scores.score(m.signals.list(limit=10_000))
    """

    def __init__(self, api: Api, rounds: Rounds, data: Data) -> None:
        self._api = api
        self._rounds = rounds
        self._data = data

    def __repr__(self) -> str:
        return f"Scores at {self._api.base_url}: leaderboard(), own(), score(signals), plot()"

    def plot(self, kind: str = "sharpe") -> Axes:
        """Draws your own scores: ``sharpe`` with its intervals, or ``calibration``.

        The leaderboard draws itself likewise: ``m.scores.leaderboard().plot()``.

        Raises:
            ConflictError: Nothing has been measured yet.
            MissingExtraError: matplotlib is not installed.

        Example:
            >>> m.scores.plot()
        """
        return self.own().plot(kind)

    def leaderboard(self, timeframe: str | None = None, limit: int = 100) -> Board:
        """Deployments of models in pilot or prod by deflated Sharpe ratio; public.

        Example:
            >>> m.scores.leaderboard().sort("sharpe", reverse=True)
        """
        found = self._api.pages(StandingView, "/api/leaderboard", limit, timeframe=_frame(timeframe))
        return Board(found, "Leaderboard", _COLUMNS)

    def own(self, timeframe: str | None = None, limit: int = 100) -> Board:
        """The vendor's own, those of models in shadow among them.

        Example:
            >>> m.scores.own()
        """
        found = self._api.pages(StandingView, "/api/vendors/scores", limit, timeframe=_frame(timeframe))
        return Board(found, "Scores", _COLUMNS)

    def score(
        self,
        signals: Signals,
        round: str = CURRENT,  # noqa: A002 - the vendor's word, and the command's option
        *,
        deployment: str | None = None,
        cost: float = 0.0,
        tries: int | None = None,
        progress: bool = True,
    ) -> ScoreView:
        """Scores signals here, as the marketplace would: the same function over the same bars, equal to the last bit.

        Args:
            signals: As ``m.signals.list()`` gives them, as a frame, or as they were pushed.
            round: The round whose bars and horizon judge.
            deployment: Only its signals; needed where there are several.
            cost: Of trading one unit of capital, as a share.
            tries: All that were made, for the deflated Sharpe ratio; the leaderboard says what the marketplace counted.
            progress: Show the transfer of bars.

        Raises:
            InvalidInputError: Rows break the contract, or are of several deployments.

        Example:
            >>> m.scores.score(signals, cost=0.0001).plot()
        """
        from mp_kit.scoring.card import card_of
        from mp_kit.scoring.outcomes import join, portfolio

        manifest = self._rounds.manifest(round)
        given = told_of(signals)
        told = [one for one in given if one.timeframe is manifest.timeframe]
        names = sorted({one.deployment_id or "" for one in told})
        if deployment is None and len(names) > 1:
            raise InvalidInputError(
                f"These are signals of {len(names)} deployments.", hint=f"Choose: {', '.join(names)}."
            )
        mine = [one for one in told if deployment is None or one.deployment_id == deployment]
        market = self._market(manifest, progress=progress)
        met = join(market, statements_of(mine))
        view = ScoreView(**dict(card_of(market, met, cost=cost, tries=tries)))
        view._followed = Followed(portfolio(market, met, cost=cost))  # noqa: SLF001 - a view is frozen for its readers
        view._aside = _foreign(given, manifest)  # noqa: SLF001 - same
        return view

    def _market(self, manifest: Manifest, *, progress: bool) -> Market:
        import pyarrow.compute as pc

        from mp_kit.market.bars import column, times_of
        from mp_kit.market.pricing import priced_after
        from mp_kit.scoring.outcomes import Market, join_runs

        pieces = defaultdict(list)
        for role in sorted({file.type.value for file in manifest.files}):
            wanted = ["timestamp", "close", "symbol"]
            table = self._data.arrow(role, columns=wanted, round=manifest.round_id, progress=progress)
            for symbol in table.column("symbol").unique().to_pylist():
                part = table.filter(pc.equal(table.column("symbol"), symbol))
                pieces[symbol].append((times_of(part), column(part, "close")))
        series = {symbol: join_runs(parts) for symbol, parts in pieces.items()}
        return Market(manifest.timeframe, manifest.horizon, series, priced_after(manifest))


class Board(Rows[LeaderboardEntry]):
    """Scores as a table, each number with its interval."""

    def rows(self) -> list[dict[str, Any]]:
        """One line per deployment and timeframe.

        Example:
            >>> m.scores.leaderboard().rows()
        """
        return [standing_row(entry) for entry in self]

    def plot(self, kind: str = "sharpe") -> Axes:
        """Draws the deployments' ``sharpe`` ratios with their intervals, or the ``calibration`` of the first six.

        Returns:
            The axes; ``.figure.savefig("scores.png")`` exports them.

        Raises:
            ConflictError: Nothing has been measured yet.
            MissingExtraError: matplotlib is not installed.

        Example:
            >>> m.scores.leaderboard().plot()
        """
        return plot_board(self, kind)

    def _value(self, item: LeaderboardEntry, column: str) -> Any:
        found = getattr(item.card, column, None) if hasattr(item.card, column) else standing_row(item).get(column)
        return found.value if isinstance(found, Measured) else found


def _frame(timeframe: str | None) -> str | None:
    return one_of("timeframe", timeframe, Timeframe)


def told_of(signals: Signals) -> list[Told]:
    """Reads signals with what was stored beside them.

    Raises:
        InvalidInputError: A row breaks the contract; it names the first.
    """
    found = []
    for index, row in enumerate(_records(signals)):
        try:
            found.append(Told.model_validate(row))
        except ValidationError as error:
            raise invalid(f"Signal {index}", error) from None
    return found


def _foreign(given: Sequence[Told], manifest: Manifest) -> dict[str, int]:
    """Why signals are none of this round's, and how many."""
    whose = f"round {manifest.round_id}"
    found = Counter(
        f"of {one.timeframe.value}: {whose} has {manifest.timeframe.value}"
        if one.timeframe is not manifest.timeframe
        else f"of {one.symbol}: not in {whose}"
        for one in given
        if one.timeframe is not manifest.timeframe or one.symbol not in manifest.symbols
    )
    return dict(found)


def _records(signals: Signals) -> Iterable[Mapping[str, Any]]:
    if hasattr(signals, "to_pylist"):
        rows: Iterable[Any] = signals.to_pylist()
    elif hasattr(signals, "to_dicts"):
        rows = signals.to_dicts()
    elif hasattr(signals, "to_dict") and hasattr(signals, "columns"):
        rows = signals.astype(object).where(signals.notna(), None).to_dict(orient="records")
    elif isinstance(signals, Iterable) and not isinstance(signals, (str, bytes, Mapping)):
        rows = signals
    else:
        raise InvalidInputError(
            f"Signals can't be read from {type(signals).__name__}.",
            hint="Pass a frame or a list with symbol, timeframe, decision, confidence, event_time, received_at.",
        )
    for row in rows:
        fields = row if isinstance(row, Mapping) else row.model_dump()
        yield {name: value for name, value in fields.items() if value is not None}


def statements_of(told: Sequence[Told]) -> Statements:
    """Signals by columns; what was never stored counts as stored when its bar opened."""
    import numpy as np

    from mp_kit.scoring.outcomes import Statements

    names = sorted({one.symbol for one in told})
    place = {name: number for number, name in enumerate(names)}
    integers = {
        "symbol": [place[one.symbol] for one in told],
        "event_time": [_micro(one.bar) for one in told],
        "received_at": [_micro(one.received_at or one.bar) for one in told],
        "direction": [one.decision.sign for one in told],
        "batch": [one.place[0] for one in told],
        "row": [one.place[1] if one.signal_id else index for index, one in enumerate(told)],
    }
    columns: dict[str, Any] = {name: np.asarray(values, np.int64) for name, values in integers.items()}
    return Statements(
        names,
        **columns,
        late=np.asarray([one.late for one in told], np.bool_),
        confidence=np.asarray([one.confidence for one in told], np.float64),
    )


def _micro(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(microseconds=1)
