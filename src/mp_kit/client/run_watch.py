"""Watching a run: a live card in a notebook, lines on a terminal, state changes only where nobody looks.

1. A watch ends by itself when the run does.
2. An interrupt ends the watch and never the run, and says so.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import TYPE_CHECKING, Protocol

from mp_kit.client import run_words as words
from mp_kit.client.display import in_kernel, live_html, on_terminal
from mp_kit.client.run_card import card

if TYPE_CHECKING:
    from mp_kit.client.display import Handle
    from mp_kit.contracts.training import LogLine, TrainingRun

__all__ = ["Show", "StoppedWaiting", "show_here"]

TAIL_LINES = 15


class StoppedWaiting(KeyboardInterrupt):
    """The interrupt of somebody who waited for a run: the run goes on.

    It stays an interrupt, so that the notebook's next cells don't run on with a run that is not done.
    """

    def __init__(self, run_id: str) -> None:
        super().__init__(
            f"Stopped waiting; run {run_id} goes on. Take it up again: m.train.attach({run_id!r}).watch()."
            " End it: run.cancel()."
        )

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: nobody needs to know where in our code the key was pressed."""
        return [str(self)]


class Show(Protocol):
    """Shows a run as it changes."""

    def seen(self, run: TrainingRun, lines: list[LogLine]) -> None:
        """There was a look: the run, and the log lines that are new."""
        ...

    def note(self, sentence: str) -> None:
        """Something besides the run is worth a sentence."""
        ...

    def left(self, sentence: str) -> None:
        """The watch ends before the run does, with an exception that says so too."""
        ...


def show_here() -> Show:
    """The show for where we are."""
    return CardShow(live_html()) if in_kernel() else LineShow(log=on_terminal())


class CardShow:
    """One card that is drawn anew.

    Args:
        handle: Where.
    """

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._run: TrainingRun | None = None

    def seen(self, run: TrainingRun, lines: list[LogLine]) -> None:
        """Draws the card."""
        self._run = run
        self._tail.extend(line.text for line in lines)
        self._handle.update(card(run, self._tail))

    def note(self, sentence: str) -> None:
        """Draws the card with a sentence at its foot."""
        if self._run is not None:
            self._handle.update(card(self._run, self._tail, sentence))

    left = note


class LineShow:
    """Lines on stderr.

    Args:
        log: The job's own lines too.
    """

    def __init__(self, *, log: bool) -> None:
        self._log = log
        self._said = ""

    def seen(self, run: TrainingRun, lines: list[LogLine]) -> None:
        """Says a new state once, and the lines."""
        said = f"run {run.run_id}: {run.status.value}: {words.doing(run)}"
        if said != self._said:
            self._said = said
            sys.stderr.write(said + "\n")
        for line in lines if self._log else ():
            sys.stderr.write(f"  {line.text}\n")
        sys.stderr.flush()

    def note(self, sentence: str) -> None:
        """Says the sentence."""
        if sentence != self._said:
            self._said = sentence
            sys.stderr.write(sentence + "\n")
            sys.stderr.flush()

    def left(self, sentence: str) -> None:
        """Nothing: an exception's sentence is the last line of a terminal anyway."""
