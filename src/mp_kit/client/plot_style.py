"""How our plots look: nothing painted behind them, and inks that are read upon white and upon black.

A kernel cannot know its notebook's theme, and a saved PNG goes anywhere. matplotlib is imported by the first plot only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mp_kit.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "BLUE",
    "GREEN",
    "GREY",
    "INK",
    "ORANGE",
    "PALETTE",
    "RED",
    "dated",
    "grid",
    "legend",
    "new_axes",
    "pyplot",
    "title",
]

INK, GREY = "#767e88", "#8b949e"
INK_TOO = "#7a828c"
"""INK to the eye. Jupyter paints white behind a plot whose ticks are all dark, black behind all light ones, and nothing
where they are of both kinds: so one axis gets this one."""
BLUE, ORANGE, GREEN, RED, PURPLE, TEAL = "#3b82f6", "#d97706", "#2da44e", "#e5534b", "#a371f7", "#1b9e9e"
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, RED, TEAL)
WIDE = 9.0
_STYLE: Mapping[str, Any] = {
    "axes.facecolor": "none",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK_TOO,
    "grid.color": GREY,
    "grid.alpha": 0.3,
    "axes.grid": True,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.3,
}


def pyplot() -> Any:
    """Matplotlib's pyplot.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib.pyplot as plt
    except ModuleNotFoundError as error:
        raise MissingExtraError.for_extra("notebook", "A plot") from error
    return plt


def new_axes(height: float = 3.5) -> Axes:
    """Axes for one plot.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    return grid(1, height=height)[0]


def grid(
    count: int, *, columns: int = 1, height: float = 2.6, heights: Sequence[float] | None = None, **how: Any
) -> list[Axes]:
    """Axes side by side and below each other, in our style.

    Args:
        count: How many.
        columns: At most so many in a row.
        height: Inches of a row.
        heights: Of the rows to each other.
        **how: As of ``pyplot.subplots``, such as ``sharex``.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    plt = pyplot()
    from cycler import cycler

    columns = min(columns, count)
    rows = -(-count // columns)
    size = (WIDE, height * rows)
    # Outside of the context: the first figure loads a notebook's backend, whose settings must outlive it.
    figure: Figure = plt.figure(figsize=size, facecolor="none", layout="constrained")
    with plt.rc_context({**_STYLE, "axes.prop_cycle": cycler(color=PALETTE)}):
        ratios = {"height_ratios": list(heights)} if heights is not None else None
        axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw=ratios, **how)
        for ax in axes.flat:
            for axis in (ax.xaxis, ax.yaxis):
                axis.get_offset_text().set_color(INK)
    for spare in axes.flat[count:]:
        spare.remove()
    return list(axes.flat[:count])


def title(ax: Axes, said: str) -> None:
    """A heading of the plot."""
    ax.set_title(said, loc="left", fontsize="medium", color=INK)


def dated(ax: Axes) -> None:
    """Dates below the axes, as short as they can be told apart."""
    import matplotlib.dates

    dates: Any = matplotlib.dates
    locator = dates.AutoDateLocator(maxticks=9)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
    ax.xaxis.get_offset_text().set_color(INK)


def legend(ax: Axes, **how: Any) -> None:
    """A legend of what has a name; none where nothing has one."""
    if ax.get_legend_handles_labels()[1]:
        ax.legend(frameon=False, labelcolor=INK, fontsize="small", **how)
