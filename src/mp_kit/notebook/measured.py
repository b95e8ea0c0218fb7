"""Measured numbers as points with their intervals, and words where there is no number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mp_kit.client.plot_style import new_axes
from mp_kit.contracts import Measured

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_measured"]

_INK, _NONE = "#2b5fa8", "#6b7280"


def plot_measured(
    numbers: Mapping[str, Measured], *, title: str = "", reference: float | None = None, ax: Axes | None = None
) -> Axes:
    """Draws each number as a point with its 95 % interval, one line each.

    Args:
        numbers: Name to number; one that is not measured says why instead.
        title: Above the plot.
        reference: Where a line is drawn, such as 0 or 0.5: what no skill would be.
        ax: Axes to draw upon; new ones by default.

    Returns:
        The axes.
    """
    ax = new_axes() if ax is None else ax
    for place, number in enumerate(numbers.values()):
        if number.value is None:
            words = number.reason or "not enough data yet"
            ax.text(0.02, place, words, transform=ax.get_yaxis_transform(), va="center", color=_NONE, fontsize="small")
        elif number.low is None or number.high is None:
            ax.plot(number.value, place, "o", color=_INK, markerfacecolor="white")
        else:
            reach = [[max(0.0, number.value - number.low)], [max(0.0, number.high - number.value)]]
            ax.errorbar(number.value, place, xerr=reach, fmt="o", color=_INK, capsize=3, linewidth=1.3)
    if reference is not None:
        ax.axvline(reference, color=_NONE, linewidth=0.9, linestyle=":")
    ax.set_yticks(range(len(numbers)), list(numbers))
    ax.set_ylim(len(numbers) - 0.4, -0.6)
    if all(number.value is None for number in numbers.values()):
        ax.set_xticks([])
    ax.set_title(title, fontsize="medium")
    ax.grid(axis="x", alpha=0.25)
    return ax
