"""HTML for notebooks: plain strings, every text escaped, colours that follow the theme (light or dark)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from html import escape
from typing import Any

_CELL = "padding:2px 10px;text-align:left;border-bottom:1px solid color-mix(in srgb,currentColor 20%,transparent)"
TABLE = "border-collapse:collapse;color:inherit;background:transparent;border:0;font-size:inherit;margin:0"
FRAME = (
    "border:1px solid color-mix(in srgb,currentColor 30%,transparent);border-radius:6px;"
    "padding:8px 12px;display:inline-block;color:inherit;background:transparent"
)


SORTS = "mp-sorts"
SORTER = (
    "<script>(()=>{const value=cell=>{const said=cell.textContent.trim(),"
    r"number=said.match(/^[-+]?[\d,]*\.?\d+(e[-+]?\d+)?(?= \[|$)/i);"
    'return said===""?[2,0]:number?[0,parseFloat(number[0].replaceAll(",",""))]:[1,said]};'
    "const order=(a,b,down)=>{const[k,x]=value(a),[l,y]=value(b);"
    "return k-l||(down?-1:1)*(k===1?x.localeCompare(y):x-y)};"
    f'for(const table of document.querySelectorAll("table.{SORTS}:not([data-ready])"))'
    '{table.dataset.ready="";const heads=[...table.tHead.rows[0].cells],body=table.tBodies[0];'
    'heads.forEach((head,at)=>{const mark=head.appendChild(document.createElement("span"));'
    'head.style.cursor="pointer";head.tabIndex=0;head.title="Sort by this column";'
    'const sort=()=>{const down=head.getAttribute("aria-sort")==="ascending";'
    'for(const other of heads){other.removeAttribute("aria-sort");other.lastChild.textContent=""}'
    'head.setAttribute("aria-sort",down?"descending":"ascending");mark.textContent=down?" \u25bc":" \u25b2";'
    "body.append(...[...body.rows].sort((a,b)=>order(a.cells[at],b.cells[at],down)))};"
    'head.onclick=sort;head.onkeydown=event=>{if(event.key==="Enter")sort()}})}})()</script>'
)
"""Makes the page's tables sort, each once: numbers by value (of ``1.2 [0.9, 1.5]`` the first), empty cells last."""

_DIGEST = re.compile("[0-9a-f]{64}")
_DIGEST_SHOWN = 16

ACCENT = "#4493f8"
"""A blue that is seen upon white and upon black."""


def text(value: Any) -> str:
    """A value as a person reads it; nothing at all for ``None``."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%SZ")
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(text(part) for part in value)
    return str(value)


def table(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None, title: str = "", *, sorts: bool = False
) -> str:
    """A table of the rows.

    Args:
        rows: What is in it.
        columns: The first row's keys by default.
        title: Above it.
        sorts: A click on a column's name sorts by it, where the notebook runs scripts of outputs; else it is as plain.
    """
    found = list(rows)
    names = list(columns) if columns is not None else list(found[0]) if found else []
    head = "".join(f'<th style="{_CELL}">{escape(name.replace("_", " "))}</th>' for name in names)
    body = "".join(
        "<tr>" + "".join(f'<td style="{_CELL}">{_cell(text(row.get(name)))}</td>' for name in names) + "</tr>"
        for row in found
    )
    caption = f'<caption style="text-align:left;color:inherit"><b>{escape(title)}</b></caption>' if title else ""
    if not found:
        return f"<p>{escape(title)}: none</p>" if title else "<p>none</p>"
    mark, script = (f' class="{SORTS}"', SORTER) if sorts and len(found) > 1 else ("", "")
    return (
        f'<table{mark} style="border-collapse:collapse;color:inherit;background:transparent">{caption}'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{script}"
    )


def _cell(said: str) -> str:
    """A cell's text; of a hash its beginning, which tells it from others and leaves room for the other columns."""
    if not _DIGEST.fullmatch(said):
        return escape(said)
    return f'<span title="{said}">{said[:_DIGEST_SHOWN]}…</span>'


def card(title: str, facts: Mapping[str, Any], below: str = "") -> str:
    """A titled box of facts; ``below`` is HTML already (a table, a progress bar)."""
    lines = "".join(
        f'<tr><td style="{_CELL};opacity:.7;white-space:nowrap">{escape(name.replace("_", " "))}</td>'
        f'<td style="{_CELL}">{escape(text(value))}</td></tr>'
        for name, value in facts.items()
        if text(value)
    )
    return (
        f'<div style="{FRAME}"><b>{escape(title)}</b>'
        f'<table style="border-collapse:collapse;color:inherit;background:transparent">{lines}</table>{below}</div>'
    )


def progress_bar(done: float, total: float, label: str = "") -> str:
    """A bar for ``done`` of ``total``."""
    share = 1.0 if total <= 0 else max(0.0, min(1.0, done / total))
    return (
        f'<div style="color:inherit">{escape(label)} <progress max="1" value="{share:.4f}" style="width:20em">'
        f"</progress> {share:.0%}</div>"
    )


def sparkline(values: Sequence[float], label: str = "", width: int = 140, height: int = 22) -> str:
    """A small curve of the values, evenly spaced, as inline SVG; nothing for fewer than two finite ones.

    Args:
        values: In their order.
        label: What a screen reader says, and a pointer shows.
        width: Pixels.
        height: Pixels.
    """
    shown = [value for value in values if math.isfinite(value)]
    if len(shown) < 2:  # noqa: PLR2004 - a curve has two ends
        return ""
    low, high = min(shown), max(shown)
    across, span = (width - 4) / (len(shown) - 1), (high - low) or 1.0
    points = [(2 + at * across, height - 2 - (value - low) / span * (height - 4)) for at, value in enumerate(shown)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    x, y = points[-1]
    told = escape(f"{label}: {text(shown[0])} to {text(shown[-1])}, {text(low)} at least, {text(high)} at most")
    return (
        f'<svg role="img" aria-label="{told}" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        f' style="vertical-align:middle"><title>{told}</title>'
        f'<polyline points="{line}" fill="none" stroke="currentColor" stroke-width="1.3" opacity=".75"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{ACCENT}"/></svg>'
    )


def log_lines(lines: Iterable[str], height: str = "20em") -> str:
    """The tail of a log, at most so high."""
    style = (
        f"color:inherit;background:color-mix(in srgb,currentColor 6%,transparent);max-height:{height};overflow:auto;"
        "margin:6px 0 0;padding:6px 8px;border-radius:4px;font-size:90%;white-space:pre-wrap;overflow-wrap:anywhere"
    )
    return f'<pre style="{style}">{escape(chr(10).join(lines))}</pre>'
