"""A round's symbol as a picture: its price, which part is for what, and where bars are missing."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mp_kit.client import plot_style
from mp_kit.client.invalid import invalid_choice
from mp_kit.contracts.rounds import FileRole, Manifest
from mp_kit.errors import InvalidInputError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from matplotlib.axes import Axes

__all__ = ["KINDS", "Source", "plot_round"]

KINDS = ("auto", "candles", "line")
MOST_CANDLES = 240
MOST_POINTS = 5_000
LONGEST_PAUSE_DAYS = 4
"""A weekend and a holiday: what is longer than that, bars are missing."""
_OHLC = ("open", "high", "low", "close")
_COLOURS = {"train": plot_style.BLUE, "validation": plot_style.ORANGE, "test": plot_style.GREEN}

Table = Callable[..., Any]


@dataclass(frozen=True)
class Source:
    """Where a plot's bars come from; a round is the same whatever connection it came by.

    Args:
        manifest: Gives a round's verified manifest by its id.
        table: ``m.data.arrow``.
    """

    manifest: Callable[[str], Manifest] = field(compare=False)
    table: Table = field(compare=False)


@dataclass(frozen=True)
class Part:
    """One role's bars, columns of shape (n,).

    Args:
        role: Train, validation or test.
        times: Opens, as datetime64.
        columns: Prices by name.
    """

    role: str
    times: np.ndarray[Any, Any]
    columns: Mapping[str, np.ndarray[Any, Any]]


def plot_round(source: Source, round_id: str, symbol: str | None, *, kind: str = "auto", **span: Any) -> Axes:
    """Draws a symbol of a round.

    Args:
        source: The round's bars.
        round_id: Which round.
        symbol: Which symbol; the first by default.
        kind: candles, line, or auto: candles where there is room for them.
        **span: ``start`` and ``end``, and ``progress``.

    Raises:
        InvalidInputError: There is no such symbol or kind, or no bar lies in the span.
        MissingExtraError: matplotlib is not installed.
    """
    if kind not in KINDS:
        raise invalid_choice("kind of plot", kind, KINDS)
    plot_style.pyplot()  # before anything is fetched
    manifest = source.manifest(round_id)
    symbol = manifest.symbols[0] if symbol is None else symbol
    if symbol not in manifest.symbols:
        raise invalid_choice(f"symbol of round {manifest.round_id}", symbol, manifest.symbols)
    parts = _parts(source, manifest, symbol, kind, span)
    drawn = _thick(parts, kind)
    ax = plot_style.new_axes(height=4.0)
    for part in parts:
        (_candles if drawn else _line)(ax, part)
    _bands(ax, parts)
    _gaps(ax, parts, manifest)
    plot_style.title(ax, f"{symbol} {manifest.timeframe.value}, {manifest.round_id}")
    ax.set_ylabel("price" if drawn else "close")
    plot_style.dated(ax)
    plot_style.legend(ax, loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=5)
    return ax


def _parts(source: Source, manifest: Manifest, symbol: str, kind: str, span: Mapping[str, Any]) -> list[Part]:
    """The roles that hold this symbol, oldest first, without what has no bars in the span."""
    found = []
    for role in (FileRole.TRAIN.value, FileRole.VALIDATION.value, FileRole.TEST.value):
        files = [file for file in manifest.files if file.type == role and file.symbol in {symbol, None}]
        if not files:
            continue
        prices = _columns(files[0].columns, kind)
        table = source.table(role, columns=["timestamp", *prices], symbols=[symbol], round=manifest.round_id, **span)
        if table.num_rows:
            found.append(_part(role, table, prices))
    if not found:
        raise InvalidInputError(f"Round {manifest.round_id} has no bars of {symbol} in this span.")
    return sorted(found, key=lambda part: part.times[0])


def _columns(there: Mapping[str, str], kind: str) -> Sequence[str]:
    if all(name in there for name in _OHLC) and kind != "line":
        return _OHLC
    if kind == "candles":
        raise InvalidInputError("This round's files have no open, high and low.", hint='Draw kind="line".')
    return ("close",)


def _part(role: str, table: pa.Table, prices: Sequence[str]) -> Part:
    times = table.column("timestamp").to_numpy().astype("datetime64[us]")
    order = times.argsort(kind="stable")
    return Part(role, times[order], {name: table.column(name).to_numpy()[order] for name in prices})


def _thick(parts: Sequence[Part], kind: str) -> bool:
    """Candles are drawn: they are wanted, or there is room for them."""
    if kind != "auto":
        return kind == "candles"
    return sum(part.times.size for part in parts) <= MOST_CANDLES and all("open" in part.columns for part in parts)


def _bar(times: np.ndarray[Any, Any]) -> Any:
    """A bar's length: the most usual distance, which is the median's."""
    import numpy as np

    return np.median(np.diff(times)) if times.size > 1 else np.timedelta64(1, "h")


def _line(ax: Axes, part: Part) -> None:
    """The closes; broken where bars are missing, so that no line is drawn through what nobody measured."""
    import numpy as np

    step = max(1, part.times.size // MOST_POINTS)
    times, closes = part.times[::step], part.columns["close"][::step].astype(float)
    holes = np.flatnonzero(np.diff(times) > _longest(part) + step * _bar(part.times))
    times, closes = np.insert(times, holes + 1, times[holes]), np.insert(closes, holes + 1, np.nan)
    ax.plot(times, closes, color=_COLOURS[part.role], label=part.role)


def _candles(ax: Axes, part: Part) -> None:
    import numpy as np

    opened, high, low, close = (part.columns[name].astype(float) for name in _OHLC)
    colours = [plot_style.GREEN if up else plot_style.RED for up in close >= opened]
    ax.vlines(part.times, low, high, colors=colours, linewidth=0.8)
    width = 0.7 * _bar(part.times)
    ax.bar(part.times, np.abs(close - opened), width, np.minimum(opened, close), color=colours, linewidth=0)


def _bands(ax: Axes, parts: Sequence[Part]) -> None:
    for part in parts:
        ax.axvspan(part.times[0], part.times[-1] + _bar(part.times), alpha=0.08, color=_COLOURS[part.role], lw=0)
        ax.annotate(
            part.role,
            (part.times[0], 1),
            (4, -12),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            color=_COLOURS[part.role],
            fontsize="small",
        )


def _longest(part: Part) -> Any:
    """The longest pause that is no gap."""
    import numpy as np

    return max(np.timedelta64(LONGEST_PAUSE_DAYS, "D"), 5 * _bar(part.times))


def _gaps(ax: Axes, parts: Sequence[Part], manifest: Manifest) -> None:
    """Hatched: the embargo between parts, and where bars are missing within one."""
    import numpy as np

    between = [
        (one.times[-1] + _bar(one.times), other.times[0])
        for one, other in itertools.pairwise(parts)
        if other.times[0] - one.times[-1] > _bar(one.times)
    ]
    missing = [
        (part.times[at] + _bar(part.times), part.times[at + 1])
        for part in parts
        for at in np.flatnonzero(np.diff(part.times) > _longest(part))
    ]
    named = ((between, f"gap between parts (embargo {manifest.embargo} bars)"), (missing, "bars are missing"))
    for (spans, label), hatch in zip(named, ("////", "xx"), strict=True):
        for number, (start, end) in enumerate(spans):
            told = label if number == 0 else "_"
            ax.axvspan(start, end, fill=False, hatch=hatch, edgecolor=plot_style.GREY, lw=0, label=told)
