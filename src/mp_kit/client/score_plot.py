"""Scores as pictures: Sharpe ratios with their intervals, calibration, equity with its drawdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mp_kit.client import plot_style
from mp_kit.client.invalid import invalid_choice
from mp_kit.contracts.scores import LeaderboardEntry, ReliabilityBin
from mp_kit.errors import ConflictError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mp_kit.scoring.outcomes import Portfolio

__all__ = ["BOARD_KINDS", "CARD_KINDS", "plot_board", "plot_card"]

BOARD_KINDS = ("sharpe", "calibration")
CARD_KINDS = ("equity", "calibration")
MOST_LINES = 30
MOST_CURVES = 6


def plot_board(entries: Sequence[LeaderboardEntry], kind: str = "sharpe") -> Axes:
    """Draws a table of scores.

    Args:
        entries: Its rows.
        kind: sharpe: each one's ratio with its 95 % interval; calibration: how often calls of a confidence were right.

    Raises:
        InvalidInputError: There is no such kind.
        ConflictError: Nothing in it has been measured (yet).
        MissingExtraError: matplotlib is not installed.
    """
    if kind not in BOARD_KINDS:
        raise invalid_choice("kind of plot", kind, BOARD_KINDS)
    if kind == "calibration":
        return _calibration({entry.deployment: entry.card.reliability for entry in entries[:MOST_CURVES]})
    return _sharpes([entry for entry in entries if entry.card.sharpe.value is not None][:MOST_LINES])


def plot_card(followed: Portfolio | None, bins: Sequence[ReliabilityBin], kind: str | None = None) -> list[Axes]:
    """Draws one score: what following the signals earned, with its drawdown, and their calibration.

    Args:
        followed: Bar by bar; None where the score was not made here.
        bins: Calls by confidence.
        kind: equity or calibration; both by default.

    Raises:
        InvalidInputError: There is no such kind.
        ConflictError: Nothing has been measured (yet).
        MissingExtraError: matplotlib is not installed.
    """
    if kind is not None and kind not in CARD_KINDS:
        raise invalid_choice("kind of plot", kind, CARD_KINDS)
    equity = [] if kind == "calibration" else _equity(followed)
    return equity + ([] if kind == "equity" else [_calibration({"": bins})])


def _sharpes(entries: Sequence[LeaderboardEntry]) -> Axes:
    if not entries:
        raise ConflictError(
            "No score has a Sharpe ratio yet.", hint="Scores come once bars of a later round judge your signals."
        )
    ax = plot_style.new_axes(height=1.2 + 0.35 * len(entries))
    for place, entry in enumerate(reversed(entries)):
        found = entry.card.sharpe
        value = math.nan if found.value is None else found.value
        colour = plot_style.BLUE if entry.enough_data else plot_style.GREY
        if found.low is not None and found.high is not None:
            ax.hlines(place, found.low, found.high, color=colour, linewidth=2)
        ax.plot([value], [place], "o", color=colour)
    ax.axvline(0, color=plot_style.INK, linewidth=0.8)
    ax.set_yticks(range(len(entries)), [_called(entry) for entry in reversed(entries)])
    ax.set_xlabel("annual Sharpe ratio, 95 % interval; grey: not enough data yet")
    plot_style.title(ax, "Sharpe ratios")
    return ax


def _called(entry: LeaderboardEntry) -> str:
    return f"{entry.deployment} ({entry.model})" if entry.model else entry.deployment


def _calibration(curves: Mapping[str, Sequence[ReliabilityBin]]) -> Axes:
    shown = {name: [one for one in bins if one.hit_rate.value is not None] for name, bins in curves.items()}
    if not any(shown.values()):
        raise ConflictError("No BUY or SELL has been scored yet: there is no calibration to draw.")
    ax = plot_style.new_axes()
    ax.plot([0, 1], [0, 1], linestyle=":", color=plot_style.INK, label="as good as said")
    for number, (name, bins) in enumerate((name, bins) for name, bins in shown.items() if bins):
        colour = plot_style.PALETTE[number % len(plot_style.PALETTE)]
        said, hit = [one.confidence for one in bins], [one.hit_rate for one in bins]
        ax.plot(said, [one.value or 0.0 for one in hit], "o-", color=colour, label=name or "signals")
        whole = [(x, one.low, one.high) for x, one in zip(said, hit, strict=True) if one.low is not None]
        if whole:
            ax.vlines(*zip(*whole, strict=True), color=colour, alpha=0.5)
    ax.set_xlabel("confidence that was said")
    ax.set_ylabel("share that was right")
    ax.set_ylim(0, 1)
    plot_style.title(ax, "Calibration")
    plot_style.legend(ax)
    return ax


def _equity(followed: Portfolio | None) -> list[Axes]:
    import numpy as np

    if followed is None or not followed.returns.size:
        raise ConflictError(
            "There is no equity to draw: no signal of these has met its outcome.",
            hint="m.scores.score(m.signals.list(limit=10_000)) keeps the curve of what it scores.",
        )
    equity = np.cumprod(np.r_[1.0, 1.0 + followed.returns])
    drawdown = equity / np.maximum.accumulate(equity) - 1.0
    step = followed.times[1] - followed.times[0] if followed.times.size > 1 else 3_600_000_000
    times: Any = np.r_[followed.times[0] - step, followed.times].astype("datetime64[us]")
    above, below = plot_style.grid(2, height=2.0, heights=(3, 1), sharex=True)
    above.plot(times, equity, color=plot_style.BLUE)
    above.axhline(1, color=plot_style.INK, linewidth=0.8)
    above.set_ylabel("capital")
    plot_style.title(above, "Equity of a capital that follows the signals")
    below.fill_between(times, 100 * drawdown, 0, color=plot_style.RED, alpha=0.5, linewidth=0)
    below.set_ylabel("drawdown, %")
    plot_style.dated(below)
    return [above, below]
