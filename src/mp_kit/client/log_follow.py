"""A run's log as it grows: by server-sent events, resumed through cut and silent connections, else by pages.

1. Every line comes once and in order, whatever the connection does and whatever is sent again.
2. Only the server's word is an end: a stream that breaks off is taken up again behind the last line.
3. Refusals that trying again does not mend are raised; the others only when ``ATTEMPTS`` in a row brought no line.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing

import httpx
from pydantic import ValidationError

from mp_kit.client.http import Api, Patience, path
from mp_kit.client.sse import events
from mp_kit.contracts.training import LogLine, RunLogs
from mp_kit.errors import MarketplaceError, NetworkError

__all__ = ["follow"]

STREAM = "text/event-stream"
SILENCE_SECONDS = 40.0
"""Longer than two of the server's signs of life: a connection this silent is dead."""

ATTEMPTS = 30
_PATIENCE = Patience(attempts=ATTEMPTS, first_wait=0.5, longest_wait=15.0)
_PAUSE_SECONDS = 1.0


def follow(
    api: Api,
    run_id: str,
    after: int = 0,
    *,
    sleep: Callable[[float], None] = time.sleep,
    silence: float = SILENCE_SECONDS,
) -> Iterator[LogLine]:
    """Yields the log's lines from number ``after`` on, as they appear, until the run is over.

    Args:
        api: The marketplace.
        run_id: The run.
        after: The number of the first line that is wanted.
        sleep: Waits between attempts.
        silence: Seconds without a byte after which a connection is given up.

    Raises:
        NotFoundError: There is no such run.
        NetworkError: The marketplace did not answer in any of many attempts.
    """
    where, failed = path("training", "runs", run_id, "logs"), 0
    while True:
        try:
            with closing(_once(api, where, after, silence)) as lines:
                for line in lines:
                    if line is None:
                        return
                    if line.seq >= after:
                        after, failed = line.seq + 1, 0
                        yield line
            failed, wait = 0, _PAUSE_SECONDS  # the server ended this stream, not the run
        except MarketplaceError as error:
            failed += 1
            if not error.retryable or failed >= ATTEMPTS:
                raise
            wait = _PATIENCE.wait(failed, error.retry_after)
        sleep(wait)


def _once(api: Api, where: str, after: int, silence: float) -> Generator[LogLine | None]:
    """The lines of one connection; None says that the log is complete."""
    headers = {"Accept": f"{STREAM}, application/json;q=0.5", "Last-Event-ID": str(after)}
    with api.stream(where, params={"after": after}, headers=headers, read_timeout=silence) as response:
        if response.headers.get("content-type", "").startswith(STREAM):
            yield from _streamed(response)
            return
    page = api.get(RunLogs, where, after=after)  # no streams here, or a proxy that does not let them through
    yield from page.lines
    while page.lines and not page.complete:
        page = api.get(RunLogs, where, after=page.next)
        yield from page.lines
    if page.complete:
        yield None


def _streamed(response: httpx.Response) -> Iterator[LogLine | None]:
    for event in events(response.iter_bytes()):
        if event.kind == "end":
            yield None
            return
        if event.kind == "log":
            yield _line(event.data)


def _line(data: str) -> LogLine:
    try:
        return LogLine.model_validate_json(data)
    except ValidationError:
        raise NetworkError("A line of the live log does not fit the contract.") from None
