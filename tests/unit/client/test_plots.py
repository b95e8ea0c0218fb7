from __future__ import annotations

import matplotlib as mpl
import pandas as pd
import pytest
from matplotlib.axes import Axes

from mp_kit.errors import InvalidInputError
from mp_kit.notebook import plot_bars

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
