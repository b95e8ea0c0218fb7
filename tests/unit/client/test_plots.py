from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import pyarrow as pa
import pytest
from matplotlib.axes import Axes

from mp_kit.client.marketplace import Marketplace
from mp_kit.client.score_plot import plot_board, plot_card
from mp_kit.client.scores import _COLUMNS, Board, ScoreView
from mp_kit.client.views import StandingView
from mp_kit.contracts.common import Timeframe
from mp_kit.contracts.scores import LeaderboardEntry, Measured, Standing
from mp_kit.errors import ConflictError, InvalidInputError, MissingExtraError
from mp_kit.notebook import plot_bars
from mp_kit.testing import FakeMarketplace, sample_bars

mpl.use("Agg")


def bars(symbols: tuple[str, ...] = ("EURUSD",)) -> pd.DataFrame:
    """Ten hours of bars per symbol."""
    times = pd.date_range("2026-01-05", periods=10, freq="h", tz="UTC")
    return pd.concat([pd.DataFrame({"timestamp": times, "close": range(10), "symbol": name}) for name in symbols])


def close(ax: Axes) -> None:
    """Frees the figure."""
    import matplotlib.pyplot as plt

    plt.close(ax.figure)


def test_plot_bars_draws_a_line_per_symbol():
    """Two symbols, two lines, a legend."""
    ax = plot_bars(bars(("EURUSD", "GBPUSD")), title="t")
    assert ["EURUSD", "GBPUSD"] == [line.get_label() for line in ax.lines]
    assert "t" == ax.get_title(loc="left")
    close(ax)


def test_plot_bars_marks_signals_at_the_known_price():
    """A signal between two bars lies at the earlier one's price; HOLD is not drawn."""
    times = pd.to_datetime(["2026-01-05T03:30Z", "2026-01-05T05:00Z", "2026-01-05T06:00Z"])
    signals = pd.DataFrame({"timestamp": times, "decision": ["BUY", "SELL", "HOLD"], "symbol": "EURUSD"})
    ax = plot_bars(bars(), signals=signals)
    buy, sell = ax.collections
    assert ([3.0], [5.0]) == ([y for _, y in buy.get_offsets()], [y for _, y in sell.get_offsets()])
    close(ax)


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (bars().drop(columns="close"), "no column 'close'"),
        (bars().drop(columns="timestamp"), "has no time"),
    ],
)
def test_plot_bars_names_what_is_missing(frame: pd.DataFrame, said: str):
    """The error says which column."""
    with pytest.raises(InvalidInputError, match=said):
        plot_bars(frame)


@pytest.fixture(autouse=True)
def no_figures_left() -> Iterator[None]:
    """Each test frees its figures."""
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


@pytest.fixture(scope="module")
def bars_market() -> Marketplace:
    """A round with candles: an embargo between its parts, and a hole of six days in the second."""
    rows = sample_bars(700)
    later = pa.concat_tables([rows.slice(330, 100), rows.slice(580, 120)])
    fake = FakeMarketplace({("train", "EURUSD"): rows.slice(0, 300), ("validation", "EURUSD"): later})
    return Marketplace(fake.url, fake.api_key, transport=fake.transport, sleep=lambda _: None)


def test_round_plot_draws_parts_and_gaps(bars_market: Marketplace):
    """A line and a band per part; what lies between them and what is missing is hatched."""
    ax = bars_market.rounds.current().plot("EURUSD")
    assert ["train", "validation"] == [line.get_label() for line in ax.lines]
    assert [None, None, "////", "xx"] == [patch.get_hatch() for patch in ax.patches]
    assert any(pd.isna(value) for value in ax.lines[1].get_ydata())


def test_round_plot_draws_the_first_symbol_by_default(bars_market: Marketplace):
    """Nobody knows a round's symbols before having seen it."""
    ax = bars_market.rounds.current().plot()
    assert ax.get_title(loc="left").startswith("EURUSD 1h, ")
    close(ax)


def test_round_plot_draws_candles_where_there_is_room(bars_market: Marketplace):
    """A body and a wick per bar."""
    first = sample_bars(1).column("timestamp")[0].as_py()
    ax = bars_market.rounds["current"].plot("EURUSD", start=first, end=first + pd.Timedelta(hours=48))
    assert (48, 1) == (len(ax.containers[0]), len(ax.collections))
    assert "price" == ax.get_ylabel()


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_round_plot_is_saved_see_through(bars_market: Marketplace, tmp_path: Path, ending: str):
    """Nothing is painted behind it, so that it fits a light page and a dark one."""
    figure = bars_market.rounds.current().plot("EURUSD").figure
    figure.savefig(tmp_path / f"round.{ending}")
    assert (tmp_path / f"round.{ending}").stat().st_size > 1000
    assert 0 == figure.get_facecolor()[3]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"symbol": "EURUSX"}, "'EURUSX' is no symbol"),
        ({"symbol": "EURUSD", "kind": "pie"}, "'pie' is no kind"),
        ({"symbol": "EURUSD", "start": "2030-01-01"}, "no bars of EURUSD"),
    ],
)
def test_round_plot_says_what_is_wrong(bars_market: Marketplace, how: dict[str, str], said: str):
    """One sentence with what there is."""
    with pytest.raises(InvalidInputError, match=said):
        bars_market.rounds.current().plot(**how)


def test_candles_of_closes_alone(market: Marketplace):
    """A round without open, high and low has a line only."""
    with pytest.raises(InvalidInputError, match="no open"):
        market.rounds.current().plot("EURUSD", kind="candles")
    assert "close" == market.rounds.current().plot("EURUSD").get_ylabel()


def test_plot_without_matplotlib(market: Marketplace, fake: FakeMarketplace, monkeypatch: pytest.MonkeyPatch):
    """The line that installs it, before anything is fetched."""
    shown = market.rounds.current()
    fake.requests.clear()
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(MissingExtraError) as caught:
        shown.plot("EURUSD")
    assert ("pip install 'mp-kit[notebook]'", []) == (caught.value.hint, fake.requests)


@pytest.fixture(scope="module")
def scored(bars_market: Marketplace) -> ScoreView:
    """A score of 90 signals about the first part."""
    times = sample_bars(100).column("timestamp").to_pylist()[:90]
    row: dict[str, Any] = {"symbol": "EURUSD", "timeframe": "1h", "model_version": "1"}
    sides = ("BUY", "SELL", "BUY")
    rows = [row | {"timestamp": t, "decision": sides[n % 3], "confidence": 0.6} for n, t in enumerate(times)]
    return bars_market.scores.score(rows, tries=2)


def test_score_plot_draws_equity_drawdown_and_calibration(scored: ScoreView):
    """Three pictures; the equity begins at 1 and ends where the card says."""
    equity, drawdown, calibration = scored.plot()
    curve = equity.lines[0].get_ydata()
    assert (1.0, pytest.approx(1 + (scored.total_return.value or 0))) == (curve[0], curve[-1])
    assert ("drawdown, %", "share that was right") == (drawdown.get_ylabel(), calibration.get_ylabel())
    assert [2, 1] == [len(scored.plot("equity")), len(scored.plot("calibration"))]


def entry(name: str, sharpe: Measured, card: ScoreView) -> LeaderboardEntry:
    """A row of a leaderboard."""
    nothing = Standing(contribution=Measured(), mmc=Measured())
    facts = {"round_id": "r", "deployment_id": name, "deployment": name, "enough_data": True, "standing": nothing}
    return LeaderboardEntry(**facts, card=card.model_copy(update={"sharpe": sharpe}), computed_at=datetime.now(UTC))


def test_board_plots_and_sorts_by_value(scored: ScoreView):
    """An interval per deployment that has a ratio; sorted by number, not by text."""
    board = Board(
        [
            entry("nine", Measured(value=9.0, low=8, high=10), scored),
            entry("ten", Measured(value=10.0, low=1, high=20), scored),
            entry("none", Measured(reason="not enough data"), scored),
        ],
        "Leaderboard",
        ("deployment", "sharpe"),
    )
    assert ["ten", "nine", "none"] == [one.deployment for one in board.sort("sharpe", reverse=True)]
    assert ["ten", "nine"] == [label.get_text() for label in board.plot().get_yticklabels()]
    assert ["as good as said", "nine", "ten", "none"] == [line.get_label() for line in board.plot("calibration").lines]


def test_board_tells_timeframes_and_lateness(scored: ScoreView):
    """A model has a line for each timeframe; where late signals are why there is no score, the line says it."""
    late = scored.basis.model_copy(update={"left_out": {"late": 4, "open": 0}, "timeframe": Timeframe.D1})
    few = Measured(reason="not enough data: 0 of 30 bars")
    entries = [
        entry("trend", Measured(value=1.0), scored),
        entry("trend", few, scored.model_copy(update={"basis": late})),
    ]
    shown = Board(entries, "Leaderboard", _COLUMNS)
    assert [("1h", "1"), ("1d", "not enough data: 0 of 30 bars (4 late)")] == [
        (row["timeframe"], row["sharpe"]) for row in shown.rows()
    ]
    assert ["timeframe" in shown.text(), "(4 late)" in repr(shown)] == [True, True]
    assert "(4 late)" in repr(StandingView(**dict(entries[1])))


def test_nothing_scored_says_so():
    """An error with the next step, no empty picture."""
    with pytest.raises(ConflictError, match="No score has"):
        plot_board([])
    with pytest.raises(ConflictError, match="no equity"):
        plot_card(None, [])
    with pytest.raises(InvalidInputError, match="no kind"):
        plot_card(None, [], "pie")
