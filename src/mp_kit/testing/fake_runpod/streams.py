"""Log lines as Server-Sent Events, with resume, and with what goes wrong there."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar

from mp_kit.testing.fake_runpod.api import Call
from mp_kit.testing.fake_runpod.cloud import Cloud
from mp_kit.testing.fake_runpod.faults import Fault
from mp_kit.testing.fake_runpod.logs import LogBook, PodLine, stamp
from mp_kit.testing.fake_runpod.replies import Reply, problem

__all__ = ["LogRoutes", "Stream"]

_LOOK_SECONDS = 0.5
_MAX_TAIL = 5_000
_SOURCES = ("container", "system")


@dataclass(frozen=True)
class Stream:
    """An answer that goes on until the client or the pod ends it."""

    book: LogBook
    wants: Callable[[PodLine], bool]
    after: int
    silent: bool = False
    cut_after: int | None = None
    repeats: bool = False
    status: int = 200
    headers: ClassVar[Mapping[str, str]] = {
        "Content-Type": "text/event-stream",
        "Cache-Control": "no-cache",
        "X-Accel-Buffering": "no",
        "Transfer-Encoding": "chunked",
    }

    def frames(self, is_over: Callable[[], bool]) -> Iterator[bytes | None]:
        """The events, as they come; None if the connection is to be cut. ``is_over`` is asked while nothing comes."""
        while self.silent and not is_over():
            time.sleep(_LOOK_SECONDS)
        number, sent, more = self.after, 0, True
        while more and not is_over():
            lines, more = self.book.after(number, _LOOK_SECONDS)
            number = lines[-1].number if lines else number
            for line in filter(self.wants, lines):
                if sent == self.cut_after:
                    yield None
                sent += 1
                yield _frame(line) * (2 if self.repeats else 1)


class LogRoutes:
    """``GET /v2/pods/{id}/logs``.

    Args:
        cloud: The state.
    """

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def pod(self, call: Call, pod_id: str) -> Reply | Stream:
        """A pod's lines; those of a pod that is gone are gone."""
        pod = self._cloud.find(call.owner, pod_id)
        return stream(call, pod.log) if pod else problem(404, "pod not found")


def stream(call: Call, book: LogBook) -> Reply | Stream:
    """A stream as the query and ``Last-Event-ID`` want it."""
    source, tail = call.query.get("source"), call.query.get("tail", "100")
    if source not in (None, *_SOURCES):
        return problem(422, "Request validation failed.", ["source: must be container or system"])
    if not tail.isdigit() or int(tail) > _MAX_TAIL:
        return problem(422, "Request validation failed.", [f"tail: must be 0..{_MAX_TAIL}"])
    since = _since(call.query.get("since"))

    def wants(line: PodLine) -> bool:
        return source in (None, line.source) and (since is None or line.at >= since)

    cut = call.met(Fault.SSE_CUT)
    repeats = call.met(Fault.SSE_REPEATS) is not None
    after = _after(call, [line for line in book.lines if wants(line)], int(tail))
    return Stream(
        book=book,
        wants=wants,
        after=max(0, after - 2) if repeats else after,
        silent=call.met(Fault.SSE_SILENT) is not None,
        cut_after=cut.count if cut else None,
        repeats=repeats,
    )


def _after(call: Call, lines: list[PodLine], tail: int) -> int:
    """The number of the last line that is not sent: by the id of the last event, else by ``tail``."""
    _, _, number = call.headers.get("last-event-id", "").rpartition("/")
    if number.isdigit():
        return int(number)
    if tail == 0 or not lines:
        return lines[-1].number if lines else 0
    return lines[max(0, len(lines) - tail)].number - 1


def _since(text: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found and not found.tzinfo else found


def _frame(line: PodLine) -> bytes:
    data = json.dumps({"ts": stamp(line.at), "source": line.source, "line": line.text}, ensure_ascii=False)
    return f"id: {line.id}\ndata: {data}\n\n".encode()
