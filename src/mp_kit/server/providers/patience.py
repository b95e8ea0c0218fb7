"""One deadline for all of a request by httpx, whose own limits are per read: a byte now and then meets them always."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

__all__ = ["Watch", "within"]


class Watch:
    """Closes a request's socket at the deadline; a trace of httpx tells it which socket that is."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._late = False
        self._lock = threading.Lock()

    def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        """Sees a connection come, and become another object by TLS."""
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            held = info["return_value"].get_extra_info("socket")
            with self._lock:
                self._socket = held
                late = self._late
            if late:
                _shut(held)

    def end(self) -> None:
        """The deadline."""
        with self._lock:
            self._late, held = True, self._socket
        if held is not None:
            _shut(held)


@contextmanager
def within(seconds: float) -> Iterator[Watch]:
    """Gives a request of the block, as its extension ``trace``, an end of all of it: whatever it is at then fails.

    Args:
        seconds: From now on.
    """
    watch = Watch()
    timer = threading.Timer(seconds, watch.end)
    timer.daemon = True
    timer.start()
    try:
        yield watch
    finally:
        timer.cancel()


def _shut(held: socket.socket) -> None:
    try:
        # Not SSLSocket's own, which takes the TLS object from under the thread that reads.
        socket.socket.shutdown(held, socket.SHUT_RDWR)
    except OSError:
        return  # it is closed already
