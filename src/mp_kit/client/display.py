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
def progress(title: str, *, wanted: bool | OnProgress = True, in_bytes: bool = True) -> Iterator[OnProgress | None]:
    """A reporter for where we are: HTML in a kernel, a bar on a terminal, nothing when piped.

    Args:
        title: What is going on.
        wanted: False for none; a callable is used as it is.
        in_bytes: What is counted are bytes; else things.
    """
    if not isinstance(wanted, bool):
        yield wanted
    elif wanted and in_kernel():
        yield _html_reporter(title, live_html())
    elif wanted and on_terminal():
        with _terminal_reporter(title, in_bytes=in_bytes) as report:
            yield report
    else:
        yield None


def _html_reporter(title: str, handle: Handle) -> OnProgress:
    last = 0.0

    def report(done_bytes: int, total_bytes: int, file: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= REFRESH_SECONDS or done_bytes >= total_bytes:
            last = now
            handle.update(progress_bar(done_bytes, total_bytes, f"{title}: {file}"))

    return report


@contextlib.contextmanager
def _terminal_reporter(title: str, *, in_bytes: bool) -> Iterator[OnProgress]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TransferSpeedColumn

    counted = (DownloadColumn(), TransferSpeedColumn()) if in_bytes else (MofNCompleteColumn(),)
    columns = (TextColumn("{task.description}"), BarColumn(), *counted)
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(title, total=None)

        def report(done_bytes: int, total_bytes: int, file: str) -> None:
            bars.update(task, completed=done_bytes, total=total_bytes, description=f"{title}: {file}")

        yield report
