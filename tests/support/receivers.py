"""A receiver of webhooks on loopback: it keeps what it gets, and misbehaves as it is told."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Misdeed = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Receiver:
    """Where it listens, what it got, and how it answers.

    Attributes:
        url: Its address.
        got: Headers (lower-case) and body of each request, in order.
        misdeed: Answers in place of 204.
        released: Set at the end: what hangs lets go.
    """

    url: str = ""
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    misdeed: Misdeed | None = None
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def ids(self) -> list[str]:
        """The ``webhook-id`` of each request, in order."""
        return [headers["webhook-id"] for headers, _ in self.got]

    def hang(self, _: BaseHTTPRequestHandler) -> None:
        """Answers nothing, for as long as anybody waits."""
        self.released.wait(60)

    def drip(self, handler: BaseHTTPRequestHandler) -> None:
        """Sends its headers a byte at a time, each well within any read's time-out."""
        for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 10_000:
            if self.released.wait(0.05):
                return
            handler.wfile.write(bytes([byte]))


def status(code: int, body: bytes = b"", **headers: str) -> Misdeed:
    """An answer of this status."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def cut(handler: BaseHTTPRequestHandler) -> None:
    """Closes the connection in the middle of the status line."""
    handler.wfile.write(b"HTTP/1.1 2")
    handler.wfile.flush()


def endless(handler: BaseHTTPRequestHandler) -> None:
    """A good status, then a body without end."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        handler.wfile.write(b"x" * 65_536)


@contextmanager
def receiving(secured: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """A receiver for the length of a block."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            (receiver.misdeed or status(204))(self)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A deliverer that hangs up is what is tested."""

    server = Server(("127.0.0.1", 0), Handler)
    if secured is not None:
        server.socket = secured.wrap_socket(server.socket, server_side=True)
    receiver.url = f"{'https' if secured else 'http'}://127.0.0.1:{server.server_port}/hook?key=1"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield receiver
    receiver.released.set()
    server.shutdown()
    server.server_close()
    thread.join(timeout=10)


def eventually(so: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Whether it becomes so before the time is over."""
    end = time.monotonic() + seconds
    while not so() and time.monotonic() < end:
        time.sleep(0.02)
    return so()
