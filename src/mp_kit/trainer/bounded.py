"""A call with an end: whatever the other side does, the caller goes on after so many seconds.

A socket's timeout bounds each read, not the call: a peer that sends a byte now and then holds it for ever. So the call
runs in a thread of its own, which is left to itself when the time is over; it is a daemon and goes with the process.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

from mp_kit.errors import NetworkError

__all__ = ["bounded"]

T = TypeVar("T")


def bounded(call: Callable[[], T], seconds: float, what: str) -> T:
    """Makes a call that takes no longer than it may.

    Args:
        call: What to do; safe to repeat, because nobody knows how far one that was given up came.
        seconds: How long to wait for it.
        what: Named in the error.

    Returns:
        The call's value; its own errors come through.

    Raises:
        NetworkError: It was not over in time.
    """
    answers: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            answers.put((call(), None))
        except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
            answers.put((None, error))

    threading.Thread(target=work, name=f"bounded {what}", daemon=True).start()
    try:
        value, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise NetworkError(f"No answer within {seconds:g} seconds ({what}).") from None
    if error is not None:
        raise error
    return value  # type: ignore[return-value] # None only where T allows it: an error was raised above
