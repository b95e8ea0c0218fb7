"""Server-sent events out of bytes, as https://html.spec.whatwg.org/multipage/server-sent-events.html has them.

Only the three line ends of that page end a line: text may hold any other character that Python's ``splitlines`` knows.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mp_kit.errors import NetworkError

__all__ = ["Event", "events"]

MOST_CHARS = 4 << 20
"""Of one event; a server that sends more without an end is none of ours."""


@dataclass(frozen=True)
class Event:
    """One event.

    Attributes:
        kind: Its ``event`` field; ``message`` when it had none.
        data: Its ``data`` lines.
        id: Its own ``id`` field, if it had one.
    """

    kind: str
    data: str
    id: str | None = None


def events(chunks: Iterable[bytes]) -> Iterator[Event]:
    """Reads a stream; what follows the last empty line was cut off and is no event.

    Args:
        chunks: Bytes as they come, cut anywhere.

    Raises:
        NetworkError: An event has no end.
    """
    fields: dict[str, list[str]] = {}
    for line in _lines(chunks):
        if line:
            name, _, value = line.partition(":")
            if name:  # else it is a comment
                fields.setdefault(name, []).append(value.removeprefix(" "))
            continue
        if "data" in fields:
            kind = fields.get("event", ["message"])[-1]
            yield Event(kind, "\n".join(fields["data"]), fields.get("id", [None])[-1])
        fields = {}


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")("replace"), translate=True)
    rest = ""
    for chunk in chunks:
        *lines, rest = (rest + decoder.decode(chunk)).split("\n")
        if len(rest) > MOST_CHARS:
            raise NetworkError("The live log is no stream of events: a line of it has no end.")
        yield from lines
