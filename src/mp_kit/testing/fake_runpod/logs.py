"""A pod's log lines, numbered, waited for by streams."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime

__all__ = ["LogBook", "PodLine"]


@dataclass(frozen=True)
class PodLine:
    """One line.

    Attributes:
        number: Counts all lines of the pod from 1.
        source: ``container`` or ``system``.
        text: Without its line end.
        at: When it was written.
    """

    number: int
    source: str
    text: str
    at: datetime

    @property
    def id(self) -> str:
        """The SSE event's id, opaque to clients."""
        return f"{stamp(self.at)}/{self.number:012d}"


class LogBook:
    """All lines of one pod; safe between threads."""

    def __init__(self) -> None:
        self._lines: list[PodLine] = []
        self._grown = threading.Condition()
        self._closed = False

    def write(self, source: str, text: str, at: datetime) -> None:
        """Adds a line."""
        with self._grown:
            self._lines.append(PodLine(len(self._lines) + 1, source, text, at))
            self._grown.notify_all()

    def close(self) -> None:
        """No further line will come; streams end."""
        with self._grown:
            self._closed = True
            self._grown.notify_all()

    @property
    def lines(self) -> tuple[PodLine, ...]:
        """All lines so far."""
        with self._grown:
            return tuple(self._lines)

    def after(self, number: int, patience: float) -> tuple[list[PodLine], bool]:
        """The lines after a number, waiting for the first of them.

        Returns:
            The lines, none if the patience ended; and whether more may come.
        """
        with self._grown:
            self._grown.wait_for(lambda: len(self._lines) > number or self._closed, patience)
            return self._lines[number:], not self._closed


def stamp(at: datetime) -> str:
    """An instant as the API writes it."""
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")
