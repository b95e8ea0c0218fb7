"""Where we are shown: a notebook's kernel, a terminal, or a pipe; and what to show there."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from mp_kit.client.html import progress_bar
from mp_kit.client.progress import OnProgress

REFRESH_SECONDS = 0.2
QUIET_SECONDS = 0.5
BYTES = "bytes"


def in_kernel() -> bool:
    """We run in a Jupyter kernel; answered without importing IPython where nobody did."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    return shell is not None and hasattr(shell, "kernel")


def on_terminal() -> bool:
    """Progress may be drawn: stderr is a terminal."""
    return sys.stderr.isatty()


class Handle(Protocol):
    """A piece of output that can be replaced."""

    def update(self, html: str) -> None:
        """Shows this instead."""
        ...


class _KernelHandle:
    def __init__(self) -> None:
        import IPython.display

        shown: Any = IPython.display
        self._html: Callable[[str], Any] = shown.HTML
        self._shown = shown.display(shown.HTML(""), display_id=True)

    def update(self, html: str) -> None:
        if self._shown is not None:
            self._shown.update(self._html(html))


def live_html() -> Handle:
    """An updatable piece of HTML output; only in a kernel."""
    return _KernelHandle()


@contextlib.contextmanager
def progress(title: str, *, wanted: bool | OnProgress = True, unit: str = BYTES) -> Iterator[OnProgress | None]:
    """A reporter for where we are: HTML in a kernel, a bar on a terminal, nothing when piped.

    In a kernel, what is over within half a second shows nothing, and the bar goes when all is done.

    Args:
        title: What is going on.
        wanted: False for none; a callable is used as it is.
        unit: What is counted, where it is not bytes.
    """
    if not isinstance(wanted, bool):
        yield wanted
    elif wanted and in_kernel():
        shown = _KernelBar(title, unit)
        try:
            yield shown
        finally:
            shown.close()
    elif wanted and on_terminal():
        with _terminal_reporter(title, unit) as report:
            yield report
    else:
        yield None


class _KernelBar:
    """A reporter that draws HTML: not before it is worth it, and not faster than an eye sees."""

    def __init__(self, title: str, unit: str) -> None:
        self._title = title
        self._unit = unit
        self._handle: Handle | None = None
        self._next = time.monotonic() + QUIET_SECONDS

    def __call__(self, done_bytes: int, total_bytes: int, file: str) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + REFRESH_SECONDS
        if self._handle is None:
            self._handle = live_html()
        counted = f", {done_bytes:,} of {total_bytes:,} {self._unit}" if self._unit != BYTES else ""
        label = ": ".join(part for part in (self._title, file) if part)
        self._handle.update(progress_bar(done_bytes, total_bytes, label + counted))

    def close(self) -> None:
        """Takes the bar away."""
        if self._handle is not None:
            self._handle.update("")


@contextlib.contextmanager
def _terminal_reporter(title: str, unit: str) -> Iterator[OnProgress]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TransferSpeedColumn

    of_bytes = (DownloadColumn(), TransferSpeedColumn())
    counted = of_bytes if unit == BYTES else (MofNCompleteColumn(), TextColumn(unit))
    with Progress(
        TextColumn("{task.description}"), BarColumn(), *counted, console=Console(stderr=True), transient=True
    ) as bars:
        task = bars.add_task(title, total=None)

        def report(done_bytes: int, total_bytes: int, file: str) -> None:
            told = ": ".join(part for part in (title, file) if part)
            bars.update(task, completed=done_bytes, total=total_bytes, description=told)

        yield report
