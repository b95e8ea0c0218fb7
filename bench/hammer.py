"""A client that costs little: raw sockets in one thread, prebuilt requests, kept connections."""

from __future__ import annotations

import re
import selectors
import socket
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


@dataclass
class Heard:
    """What came back.

    Args:
        seconds: Of each request, from when it was due.
        statuses: How often each status came.
        lasted: Seconds of it all.
    """

    seconds: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    lasted: float = 0.0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.seconds) / self.lasted

    @property
    def errors(self) -> int:
        """Answers other than 200."""
        return sum(count for status, count in self.statuses.items() if status != 200)


def get(path: str, *headers: str) -> bytes:
    """A GET as bytes."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: bench", *headers, "", ""]).encode()


def post(path: str, body: bytes, *headers: str) -> bytes:
    """A POST as bytes."""
    lines = [f"POST {path} HTTP/1.1", "Host: bench", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@dataclass
class _Line:
    """A connection, and what it waits for."""

    sock: socket.socket
    due: float = 0.0
    received: bytes = b""
    idle: bool = False


class _Lines:
    """The connections to a port, and what is heard over them."""

    def __init__(self, port: int, count: int) -> None:
        self.heard = Heard()
        self.idle: deque[_Line] = deque()
        self._port = port
        self._selector = selectors.DefaultSelector()
        for _ in range(count):
            self._watch(_Line(_connect(port)))

    def send(self, request: bytes, due: float) -> None:
        """Sends a request over a connection that is idle, in turn: a server closes what is silent for long."""
        line = self.idle.popleft()
        line.due, line.received, line.idle = due, b"", False
        line.sock.sendall(request)

    def listen(self, seconds: float) -> None:
        """Takes what comes."""
        for key, _ in self._selector.select(timeout=max(0.0, seconds)):
            self._take(key.data)

    def close(self) -> None:
        """Closes them."""
        for line in self.idle:
            line.sock.close()

    def _take(self, line: _Line) -> None:
        came = line.sock.recv(262_144)
        if not came:  # the server closed it; a request that was under way is lost
            self.heard.statuses[0] = self.heard.statuses.get(0, 0) + (not line.idle)
            self._selector.unregister(line.sock)
            line.sock.close()
            line.sock = _connect(self._port)
            self._watch(line)
            return
        line.received += came
        if _whole(line.received):
            self.heard.seconds.append(time.perf_counter() - line.due)
            status = int(line.received[9:12])
            self.heard.statuses[status] = self.heard.statuses.get(status, 0) + 1
            line.idle = True
            self.idle.append(line)

    def _watch(self, line: _Line) -> None:
        self._selector.register(line.sock, selectors.EVENT_READ, line)
        if not line.idle:
            line.idle = True
            self.idle.append(line)


def hammer(
    port: int, requests: Sequence[bytes], *, connections: int, seconds: float, rate: float | None = None
) -> Heard:
    """Sends requests in their order, over and over.

    Args:
        port: Where to, on this machine.
        requests: Them, as bytes.
        connections: Kept open; each bears one request at a time.
        seconds: For so long.
        rate: Requests a second, evenly; as many as are answered where left out.
    """
    lines, began, sent = _Lines(port, connections), time.perf_counter(), 0
    ends = began + seconds
    while (now := time.perf_counter()) < ends:
        due = now if rate is None else began + sent / rate
        while lines.idle and due <= now:
            lines.send(requests[sent % len(requests)], due)
            sent += 1
            due = now if rate is None else began + sent / rate
        lines.listen(min(due - now, 0.05) if lines.idle else 0.05)
    while len(lines.idle) < connections and time.perf_counter() < ends + 10:
        lines.listen(0.05)
    lines.heard.lasted = time.perf_counter() - began
    lines.close()
    return lines.heard


def _connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _whole(received: bytes) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    length = _LENGTH.search(head + b"\r\n")
    return bool(end) and length is not None and len(body) >= int(length[1])
