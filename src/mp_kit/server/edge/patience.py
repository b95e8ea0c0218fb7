"""How long the edge waits for a peer: connections that dribble, stall or never end are cut, and harm nobody else.

The server's own protocol has a limit for the pause between two requests and for nothing else. This one adds:

1. A request's line and headers are whole within some seconds and some bytes, from the connection's first moment on.
2. Of a body, some bytes a second must come, unless it is we who do not read; never judged by one slow second.
3. Once the answer is sent, what is left of the request's body has a moment to come, and then the connection ends.
4. An answer that nobody reads ends after a while, so that no file stays open for a peer that is asleep.
5. Where connections become scarce, the one that has waited longest without a whole request goes first.

A proxy in front does much of this too; ours is for the edge that stands alone.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

__all__ = ["Patience", "PatientProtocol"]


@dataclass(frozen=True)
class Patience:
    """How long is waited, and for how much.

    Args:
        head_seconds: For a request's line and headers.
        head_bytes: Their size at most.
        body_seconds: The length of a look at a body's progress.
        body_rate: Bytes a second that must have come in each look.
        rest_seconds: For the rest of a body that was answered before it was whole.
        unread_seconds: While a peer takes nothing of its answer.
        most_connections: Above this, those without a whole request go, oldest first.
    """

    head_seconds: float = 10.0
    head_bytes: int = 64 * 1024
    body_seconds: float = 10.0
    body_rate: int = 512
    rest_seconds: float = 5.0
    unread_seconds: float = 60.0
    most_connections: int = 900


class PatientProtocol(HttpToolsProtocol):
    """HTTP/1.1 with an end to everything; see the module."""

    patience: ClassVar[Patience] = Patience()
    _waiting: ClassVar[dict[PatientProtocol, None]] = {}
    """Connections without a whole request, in the order of their waiting."""

    _head_timer: asyncio.TimerHandle | None = None
    _body_timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None
    _head_came = 0
    _body_came = 0
    _ended = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait for a head."""
        super().connection_made(transport)
        self._await_head()
        if len(self.connections) > self.patience.most_connections:
            next(iter(self._waiting)).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends all waiting."""
        self._waiting.pop(self, None)
        for timer in (self._head_timer, self._body_timer, self._unread_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Counts a head's bytes, which the parser would gather without end."""
        self._ended = False
        super().data_received(data)
        if self.cycle is not None and self.cycle.response_complete and self._body_timer is None:
            self._await_head()  # empty lines between requests: the parser says nothing of them
        if self in self._waiting and not self._ended:  # else it may have been the rest of a body, of any size
            self._head_came += len(data)
            if self._head_came > self.patience.head_bytes:
                self._refuse(431)

    def on_message_begin(self) -> None:
        """The first byte of a further request on a connection that was idle."""
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        """The head is whole; now for the body."""
        self._waiting.pop(self, None)
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        self._look_later(self.patience.body_seconds, self._look)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Counts a body's bytes."""
        self._body_came += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The body is whole."""
        self._ended = True
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer that came before its request was whole."""
        super().on_response_complete()
        if self._body_timer is not None and self.cycle.response_complete:
            self._look_later(self.patience.rest_seconds, self.transport.close)

    def pause_writing(self) -> None:
        """The peer reads more slowly than we write."""
        super().pause_writing()
        self._unread_timer = self.loop.call_later(self.patience.unread_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads."""
        super().resume_writing()
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _await_head(self) -> None:
        if self._head_timer is None and not self.transport.is_closing():
            self._head_came = 0
            self._waiting[self] = None
            self._head_timer = self.loop.call_later(self.patience.head_seconds, self._refuse, 408)

    def _look_later(self, seconds: float, look: Any) -> None:
        if self._body_timer is not None:
            self._body_timer.cancel()
        self._body_came = 0
        self._body_timer = self.loop.call_later(seconds, look)

    def _look(self) -> None:
        ours = self.flow.read_paused or (self.cycle is not None and self.cycle.waiting_for_100_continue)
        if ours or self._body_came >= self.patience.body_rate * self.patience.body_seconds:
            self._look_later(self.patience.body_seconds, self._look)
        else:
            self.transport.abort()

    def _refuse(self, status: int) -> None:
        """Says why, where no answer is on its way, and ends the connection."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()
