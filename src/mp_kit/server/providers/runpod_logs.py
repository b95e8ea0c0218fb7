"""A pod's log as Server-Sent Events, read as a snapshot: the stream stays open for ever and may say nothing.

1. Reading ends after a bound of seconds, of bytes, or of silence (the HTTP client's read timeout), whichever is first.
2. What came before the end counts; an event that is cut in the middle does not, and is read again next time.
3. An event whose data is not the JSON that RunPod documents is kept as a line of its own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable

from mp_kit.masking import storable
from mp_kit.server.providers.runpod_wire import LogEvent

__all__ = ["Snapshot"]

_MAX_BYTES = 256 * 1024


class Snapshot:
    """Collects the events of one stream.

    Args:
        seconds: Longest time to read.
    """

    def __init__(self, seconds: float) -> None:
        self.events: list[LogEvent] = []
        self.was_open = False
        self._end = time.monotonic() + seconds
        self._id = ""
        self._data: list[str] = []

    def take(self, chunks: Iterable[bytes]) -> None:
        """Reads until a bound is met; what the chunks raise goes through, and the events stay."""
        self.was_open = True
        rest, taken = b"", 0
        for chunk in chunks:
            taken += len(chunk)
            *lines, rest = (rest + chunk).replace(b"\r\n", b"\n").split(b"\n")
            for line in lines:
                self._line(line.decode("utf-8", "replace"))
            if taken >= _MAX_BYTES or time.monotonic() >= self._end:
                return

    def _line(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            self._dispatch()
        elif name == "id":
            self._id = value
        elif name == "data":
            self._data.append(value)

    def _dispatch(self) -> None:
        if self._data:
            self.events.append(_event(self._id, "\n".join(self._data)))
        self._data = []


def _event(event_id: str, data: str) -> LogEvent:
    try:
        told = json.loads(data)
    except ValueError:
        told = None
    if not isinstance(told, dict) or "line" not in told:
        return LogEvent(event_id, "", storable(data))
    return LogEvent(event_id, str(told.get("source", "")), storable(str(told["line"])), str(told.get("ts", "")))
