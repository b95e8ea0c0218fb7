"""Charts as inline SVG, made here and not in the browser: they are there without JavaScript, and print.

Colours come from the stylesheet by class; nothing is styled inline. Each chart says in words what it shows, for those
who do not see it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

__all__ = ["Bar", "Point", "bars", "line", "reliability", "spark"]

WIDTH, HEIGHT = 420.0, 190.0
"""In pixels of a card of ordinary width: there, letters have the size that the stylesheet says."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 40.0, 8.0, 8.0, 24.0
_STEPS = 5
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Point:
    """A point of a line.

    Args:
        label: What stands below it, and in its tooltip.
        value: How high.
        kind: A class of the stylesheet for its mark, such as ``buy``; none makes no mark.
        low: Lower end of its interval.
        high: Upper end of it.
    """

    label: str
    value: float
    kind: str = ""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Bar:
    """A bar.

    Args:
        label: What stands below it.
        value: How high; None shows that nothing is known.
        low: Lower end of its interval.
        high: Upper end of it.
        kind: A class of the stylesheet.
    """

    label: str
    value: float | None
    low: float | None = None
    high: float | None = None
    kind: str = ""


class _Scale:
    """From values to heights, between two round numbers."""

    def __init__(self, low: float, high: float) -> None:
        span = (high - low) or abs(high) or 1.0
        power = 10.0 ** math.floor(math.log10(span / _STEPS))
        self.step = next(power * nice for nice in (1, 2, 2.5, 5, 10) if span / (power * nice) <= _STEPS)
        self.low = math.floor(low / self.step + _ROUNDING) * self.step
        self.high = max(math.ceil(high / self.step - _ROUNDING) * self.step, self.low + self.step)

    def y(self, value: float) -> float:
        room = HEIGHT - _TOP - _BOTTOM
        return _TOP + room * (1 - (value - self.low) / (self.high - self.low))

    def axis(self) -> list[str]:
        """Lines across, with their values."""
        parts = []
        for number in range(round((self.high - self.low) / self.step) + 1):
            value = self.low + self.step * number
            value = 0.0 if abs(value) < self.step * _ROUNDING else value
            y, kind = self.y(value), "axis" if value else "zero"
            parts.append(f'<line class="{kind}" x1="{_LEFT:g}" x2="{WIDTH - _RIGHT:g}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text x="{_LEFT - 6:g}" y="{y + 4:.1f}" text-anchor="end">{_short(value)}</text>')
        return parts


def line(points: Sequence[Point], *, says: str, low: float | None = None, high: float | None = None) -> Markup:
    """A line through points, with a band where they have intervals and marks where they have kinds.

    Args:
        points: From left to right.
        says: The chart in a sentence.
        low: The least that the axis shows; from the points by default.
        high: The most.
    """
    ends = [end for p in points for end in (p.value, p.low, p.high) if end is not None]
    if not ends:
        return Markup("")
    scale = _Scale(min(ends) if low is None else low, max(ends) if high is None else high)
    xs = _places(len(points))
    parts = scale.axis()
    banded = [(x, p) for x, p in zip(xs, points, strict=True) if p.low is not None and p.high is not None]
    if len(banded) > 1:
        above = [f"{x:.1f},{scale.y(p.high or 0):.1f}" for x, p in banded]
        below = [f"{x:.1f},{scale.y(p.low or 0):.1f}" for x, p in reversed(banded)]
        parts.append(f'<polygon class="band" points="{" ".join(above + below)}"/>')
    path = " ".join(f"{x:.1f},{scale.y(p.value):.1f}" for x, p in zip(xs, points, strict=True))
    parts.append(f'<polyline class="line" points="{path}"/>')
    for x, p in zip(xs, points, strict=True):
        if p.kind or len(points) == 1:
            title = f"<title>{escape(p.label)}: {_short(p.value)}</title>"
            parts.append(
                f'<circle class="dot {escape(p.kind)}" cx="{x:.1f}" cy="{scale.y(p.value):.1f}" r="3">{title}</circle>'
            )
    return _svg([*parts, *_below(xs, [p.label for p in points])], says)


def bars(given: Sequence[Bar], *, says: str, low: float = 0.0, high: float | None = None) -> Markup:
    """Bars from zero, each with its interval; where nothing is known there is a mark and no bar."""
    ends = [end for b in given for end in (b.value, b.low, b.high) if end is not None]
    if not given:
        return Markup("")
    scale = _Scale(min([low, *ends]), max([*ends, 0.0]) if high is None else high)
    step = (WIDTH - _LEFT - _RIGHT) / len(given)
    xs = [_LEFT + step * (number + 0.5) for number in range(len(given))]
    parts = scale.axis()
    for x, bar in zip(xs, given, strict=True):
        parts += _bar(scale, x, max(2.0, min(step * 0.7, 48.0)), bar)
    return _svg([*parts, *_below(xs, [b.label for b in given])], says)


def reliability(bins: Sequence[tuple[float, Bar]], *, says: str) -> Markup:
    """How often calls of a confidence were right, beside the line on which the two are equal.

    Args:
        bins: Mean confidence of each, and its hit rate with interval.
        says: The chart in a sentence.
    """
    scale = _Scale(0.0, 1.0)
    room = WIDTH - _LEFT - _RIGHT
    parts = scale.axis()
    parts.append(
        f'<line class="ideal" x1="{_LEFT:g}" x2="{_LEFT + room:g}" y1="{scale.y(0):.1f}" y2="{scale.y(1):.1f}"/>'
    )
    for confidence, bar in bins:
        if bar.value is not None:
            x = _LEFT + room * confidence
            parts += _whisker(scale, x, bar)
            title = f"<title>{escape(bar.label)}: {_short(bar.value)}</title>"
            parts.append(f'<circle class="dot" cx="{x:.1f}" cy="{scale.y(bar.value):.1f}" r="5">{title}</circle>')
    marks = [0.0, 0.25, 0.5, 0.75, 1.0]
    return _svg([*parts, *_below([_LEFT + room * m for m in marks], [f"{m:g}" for m in marks])], says)


def spark(values: Sequence[float], *, says: str) -> Markup:
    """A line as small as a word."""
    if not values:
        return Markup("")
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    step = 98 / max(1, len(values) - 1)
    path = " ".join(f"{1 + n * step:.1f},{19 - 18 * (v - low) / span:.1f}" for n, v in enumerate(values))
    return Markup(
        '<svg class="spark" viewBox="0 0 100 20" role="img" aria-label="{}"><polyline class="line" points="{}"/></svg>'
    ).format(says, path)


def _bar(scale: _Scale, x: float, width: float, bar: Bar) -> list[str]:
    title = f"<title>{escape(bar.label)}: {'unknown' if bar.value is None else _short(bar.value)}</title>"
    if bar.value is None:
        y = scale.y(0) - 3
        return [f'<rect class="none" x="{x - width / 2:.1f}" y="{y:.1f}" width="{width:.1f}" height="3">{title}</rect>']
    top, bottom = sorted((scale.y(bar.value), scale.y(0)))
    height = max(bottom - top, 1.0)
    kind = f"bar {escape(bar.kind)}".strip()
    shape = f'x="{x - width / 2:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return [f'<rect class="{kind}" {shape}>{title}</rect>', *_whisker(scale, x, bar)]


def _whisker(scale: _Scale, x: float, bar: Bar) -> list[str]:
    if bar.low is None or bar.high is None:
        return []
    low, high = scale.y(bar.low), scale.y(bar.high)
    return [
        f'<path class="whisker" d="M{x:.1f} {low:.1f}V{high:.1f}M{x - 4:.1f} {low:.1f}h8M{x - 4:.1f} {high:.1f}h8"/>'
    ]


def _places(many: int) -> list[float]:
    room = WIDTH - _LEFT - _RIGHT
    return [_LEFT + room * (number / (many - 1) if many > 1 else 0.5) for number in range(many)]


def _below(xs: Sequence[float], labels: Sequence[str]) -> list[str]:
    """As many labels as there is room for, the first and the last among them."""
    longest = max((len(label) for label in labels), default=1)
    fit = max(2, int((WIDTH - _LEFT) / (longest * 6.5 + 14)))
    stride = max(1, -(-(len(labels) - 1) // (fit - 1)) if len(labels) > 1 else 1)
    parts = []
    for number in range(0, len(labels), stride):
        half = len(labels[number]) * 3.2
        x = min(max(xs[number], _LEFT + half - 20), WIDTH - half)
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 6:g}" text-anchor="middle">{escape(labels[number])}</text>')
    return parts


def _svg(parts: Sequence[str], says: str) -> Markup:
    inside = Markup("".join(parts))  # noqa: S704 - every text in it is escaped above, the rest are numbers of ours
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        f"{WIDTH:g}", f"{HEIGHT:g}", says, inside
    )


def _short(value: float) -> str:
    size = abs(value)
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= limit:
            return f"{value / (1e3 if letter == 'k' else limit):.3g}{letter}"
    return f"{value:.3g}".replace("-", "\N{MINUS SIGN}")
