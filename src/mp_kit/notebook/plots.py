"""Plots through matplotlib, which is imported when the first one is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mp_kit.client import plot_style
from mp_kit.errors import InvalidInputError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

TIME_COLUMNS = ("timestamp", "event_time", "time")
MOST_POINTS = 5_000


def plot_bars(
    frame: pd.DataFrame,
    column: str = "close",
    *,
    signals: pd.DataFrame | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draws a price over time, one line per symbol, and signals as triangles upon it.

    Args:
        frame: Bars with a time column or index, ``column``, and optionally ``symbol``.
        column: What to draw.
        signals: Frame with a time column and ``decision``; BUY points up, SELL down, HOLD is not drawn. With several
            symbols in ``frame`` it needs ``symbol`` too.
        title: Above the plot.
        ax: Axes to draw upon; new ones by default.

    Returns:
        The axes; ``ax.figure.savefig("bars.svg")`` exports them.

    Raises:
        InvalidInputError: A column is absent.
        MissingExtraError: matplotlib is not installed.
    """
    series = _by_symbol(frame, column)
    ax = plot_style.new_axes() if ax is None else ax
    for symbol, line in series.items():
        thin = line.iloc[:: max(1, len(line) // MOST_POINTS)]
        ax.plot(thin.index.to_numpy(), thin.to_numpy(), linewidth=1, label=symbol or column)
    if signals is not None:
        _mark(ax, series, signals)
    plot_style.title(ax, title)
    ax.set_ylabel(column)
    if len(series) > 1 or signals is not None:
        plot_style.legend(ax)
    return ax


def _by_symbol(frame: pd.DataFrame, column: str) -> dict[str, pd.Series[Any]]:
    _need(frame, column)
    timed = _timed(frame)
    if "symbol" not in timed.columns:
        return {"": timed[column].sort_index()}
    return {str(name): part[column].sort_index() for name, part in timed.groupby("symbol", observed=True)}


def _timed(frame: pd.DataFrame) -> pd.DataFrame:
    time = next((name for name in TIME_COLUMNS if name in frame.columns), None)
    if time is not None:
        return frame.set_index(time)
    if frame.index.dtype.kind != "M":
        raise InvalidInputError(f"The frame has no time: neither its index nor a column of {', '.join(TIME_COLUMNS)}.")
    return frame


def _need(frame: pd.DataFrame, column: str) -> None:
    if column not in frame.columns:
        raise InvalidInputError(
            f"The frame has no column {column!r}.", hint=f"It has {', '.join(map(str, frame.columns[:12]))}."
        )


def _mark(ax: Axes, series: dict[str, pd.Series[Any]], signals: pd.DataFrame) -> None:
    _need(signals, "decision")
    timed = _timed(signals)
    for decision, marker, colour in (("BUY", "^", plot_style.GREEN), ("SELL", "v", plot_style.RED)):
        times, prices = _points(series, timed[timed["decision"] == decision])
        ax.scatter(times, prices, marker=marker, color=colour, s=28, zorder=3, label=decision)


def _points(series: dict[str, pd.Series[Any]], chosen: pd.DataFrame) -> tuple[Sequence[Any], Sequence[Any]]:
    """Where the signals lie upon their lines: at the newest price that was known then."""
    times: list[Any] = []
    prices: list[Any] = []
    for symbol, line in series.items():
        own = chosen[chosen["symbol"] == symbol] if symbol and "symbol" in chosen.columns else chosen
        times += list(own.index)
        prices += [line.asof(when) for when in own.index]
    return times, prices
