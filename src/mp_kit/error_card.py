"""An error as a short card: what happened, its code, the next step. For notebooks and IPython's shell.

1. The first showing of an exception is the card; showing the same one again (``%tb``) is the whole traceback.
2. Jupyter draws an error's text only, so that the card is text with ANSI colours, which it draws in light and dark.
3. What looks like a secret is masked in the card and in the whole traceback.
"""

from __future__ import annotations

import sys
import textwrap
import traceback
from collections.abc import Iterator
from html import escape
from types import TracebackType
from typing import Any, ClassVar, Protocol

from mp_kit.masking import mask

__all__ = ["html_card", "render", "text_card"]

BOLD, DIM, PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"  # no red: JupyterLab's error boxes are, and it is lost on them
WIDTH = 100
MOST_DETAILS = 5
_LINE = "border-left:3px solid #e5534b;padding:4px 12px;margin:2px 0;color:inherit"


class Told(Protocol):
    """What :class:`mp_kit.errors.MarketplaceError` is to a card."""

    __traceback__: TracebackType | None
    code: ClassVar[str]
    hint: str
    message: str
    details: list[dict[str, Any]]
    retry_after: float | None
    request_id: str | None


def render(error: Told, *, full: bool) -> list[str]:
    """What IPython prints for an exception that nobody caught.

    Args:
        error: The exception.
        full: The whole traceback at once.
    """
    trace = error.__traceback__
    again = trace is not None and getattr(error, "_shown_traceback", None) is trace
    error._shown_traceback = trace  # type: ignore[attr-defined]  # noqa: SLF001 - the mark of a first showing
    if full or again:
        return [mask(line) for line in _whole(error, trace)]
    return text_card(error, where=_own_line(trace))


def text_card(error: Told, *, where: str = "", colours: bool = True) -> list[str]:
    """The card as lines of text.

    Args:
        error: The exception.
        where: The line of the caller's own code.
        colours: With ANSI colours.
    """
    bold, dim, plain = (BOLD, DIM, PLAIN) if colours else ("",) * 3
    lines = [f"{bold}{type(error).__name__}{plain} {dim}({error.code}){plain}"]
    lines += _wrapped(mask(error.message))
    lines += [f"{dim}{line}{plain}" for detail in _details(error) for line in _wrapped(detail, "  - ", "    ")]
    if error.hint:
        first, *others = _wrapped(f"Next step: {mask(error.hint)}")
        lines += [first.replace("Next step:", f"{bold}Next step:{plain}", 1), *others]
    lines += [f"{dim}{line}{plain}" for line in _foot(error, where)]
    return lines


def html_card(error: Told) -> str:
    """The card as HTML: what a notebook shows where the exception is a cell's value."""
    details = "".join(f"<li>{escape(detail)}</li>" for detail in _details(error))
    parts = [
        f'<b style="color:#e5534b">{type(error).__name__}</b> <span style="opacity:.7">({escape(error.code)})</span>',
        f"<div>{escape(mask(error.message))}</div>",
        f'<ul style="margin:2px 0;opacity:.85">{details}</ul>' if details else "",
        f"<div><b>Next step:</b> {escape(mask(error.hint))}</div>" if error.hint else "",
        *(f'<div style="opacity:.7">{escape(line)}</div>' for line in _foot(error, "")),
    ]
    return f'<div style="{_LINE}">{"".join(parts)}</div>'


def _details(error: Told) -> Iterator[str]:
    if len(error.details) < 2:  # noqa: PLR2004 - a single finding stands in the sentence already
        return
    for detail in error.details[:MOST_DETAILS]:
        place = ".".join(str(part) for part in detail.get("loc", ()))
        yield mask(f"{place}: {detail.get('msg', '')}")
    if len(error.details) > MOST_DETAILS:
        yield f"and {len(error.details) - MOST_DETAILS} more in .details"


def _foot(error: Told, where: str) -> Iterator[str]:
    if error.retry_after:
        yield f"Try again after {error.retry_after:g} s."
    if error.request_id:
        yield f"Request {mask(error.request_id)}"
    if where:
        yield f"{where}; the whole traceback: %tb"


def _wrapped(text: str, first: str = "", other: str = "") -> list[str]:
    how: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=other, **how) or [""]


def _own_line(trace: TracebackType | None) -> str:
    """The last frame that is neither ours nor a library's: where the reader's own code called us."""
    found = ""
    for frame, number in traceback.walk_tb(trace):
        name = str(frame.f_globals.get("__name__", ""))
        if name == "__main__":
            found = f"Line {number} of the cell" if _is_cell(frame.f_code.co_filename) else f"Line {number}"
        elif name.partition(".")[0] == "mp_kit":
            break
    return found


def _is_cell(filename: str) -> bool:
    return "ipykernel_" in filename or filename.startswith("<ipython-input")


def _whole(error: Any, trace: TracebackType | None) -> list[str]:
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is None:
        return traceback.format_exception(error)
    return list(shell.InteractiveTB.structured_traceback(type(error), error, trace, tb_offset=1))
