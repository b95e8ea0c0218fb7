"""A client that costs little: raw sockets in one thread, prebuilt requests, kept connections."""

from __future__ import annotations

import re
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
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
    idle: bool = True


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
    heard, selector, began = Heard(), selectors.DefaultSelector(), time.perf_counter()
    idle = deque(_Line(_connect(port, selector)) for _ in range(connections))
    for line in idle:
        selector.modify(line.sock, selectors.EVENT_READ, line)
    sent, ends = 0, began + seconds
    while True:
        now = time.perf_counter()
        while idle and now < ends and (rate is None or began + sent / rate <= now):
            line = idle.popleft()  # in turn: a server closes what is silent for long
            line.due, line.received, line.idle = (now if rate is None else began + sent / rate), b"", False
            line.sock.sendall(requests[sent % len(requests)])
            sent += 1
        if now >= ends and (len(idle) == connections or now >= ends + 10):
            break
        due = ends if rate is None or now >= ends else began + sent / rate
        for key, _ in selector.select(timeout=max(0.0, min(due - now, 0.05)) if idle else 0.05):
            if _answered(key.data, heard, lambda line: _again(line, port, selector)):
                idle.append(key.data)
    heard.lasted = time.perf_counter() - began
    for line in idle:
        line.sock.close()
    return heard


def _answered(line: _Line, heard: Heard, again: Callable[[_Line], None]) -> bool:
    """Reads what came; whether the line's request has ended, with an answer or without one."""
    came = line.sock.recv(262_144)
    line.received += came
    if not came:
        again(line)  # silent for long, or its request is lost
    if line.idle or (came and not _whole(line.received)):
        return False
    if came:
        _note(heard, line)
    else:
        heard.statuses[0] = heard.statuses.get(0, 0) + 1
    line.idle = True
    return True


def _connect(port: int, selector: selectors.BaseSelector) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    selector.register(sock, selectors.EVENT_READ)
    return sock


def _again(line: _Line, port: int, selector: selectors.BaseSelector) -> None:
    selector.unregister(line.sock)
    line.sock.close()
    line.sock = _connect(port, selector)
    selector.modify(line.sock, selectors.EVENT_READ, line)


def _whole(received: bytes) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    length = _LENGTH.search(head + b"\r\n")
    return bool(end) and length is not None and len(body) >= int(length[1])


def _note(heard: Heard, line: _Line) -> None:
    heard.seconds.append(time.perf_counter() - line.due)
    status = int(line.received[9:12])
    heard.statuses[status] = heard.statuses.get(status, 0) + 1
