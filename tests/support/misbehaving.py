"""A small HTTP server that serves one file honestly, unless it is told to misbehave."""

from __future__ import annotations

import hashlib
import random
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SIZE = 4500
CONTENT = random.Random(7).randbytes(SIZE)
SHA = hashlib.sha256(CONTENT).hexdigest()

Misdeed = Callable[["Handler"], bool]


@dataclass
class Store:
    """What the server serves, and how it misbehaves."""

    content: bytes = CONTENT
    etag: str = '"one"'
    misdeed: Misdeed | None = None
    url: str = ""
    asked: list[str] = field(default_factory=list)
    hits: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Handler(BaseHTTPRequestHandler):
    """Serves ranges honestly unless the store's misdeed answers first."""

    protocol_version = "HTTP/1.1"
    store: Store

    def do_GET(self) -> None:
        """Answers."""
        with self.store.lock:
            self.store.hits += 1
            self.store.asked.append(self.headers.get("Range", "whole"))
        if self.store.misdeed is None or not self.store.misdeed(self):
            self.honest()

    def bounds(self) -> tuple[int, int] | None:
        """The asked range, end excluded."""
        asked = self.headers.get("Range")
        if asked is None:
            return None
        first, last = asked.removeprefix("bytes=").split("-")
        return int(first), int(last) + 1

    def honest(self, *, cut: int = 0, etag: str | None = None, shift: int = 0) -> None:
        """The right answer, optionally cut short, with another ETag, or with shifted bounds in its header."""
        bounds, size = self.bounds(), len(self.store.content)
        if self.headers.get("If-Range", self.store.etag) != self.store.etag:
            bounds = None
        body = self.store.content if bounds is None else self.store.content[bounds[0] : bounds[1]]
        self.send_response(200 if bounds is None else 206)
        self.send_header("ETag", etag or self.store.etag)
        self.send_header("Content-Length", str(len(body)))
        if bounds is not None:
            self.send_header("Content-Range", f"bytes {bounds[0] + shift}-{bounds[1] - 1 + shift}/{size}")
        self.end_headers()
        self.wfile.write(body[: len(body) - cut])
        if cut:
            self.wfile.flush()
            self.close_connection = True

    def plain(self, status: int, body: bytes) -> None:
        """A status with a body."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Says nothing."""


@contextmanager
def serve(secured: ssl.SSLContext | None = None) -> Iterator[Store]:
    """Runs the server for the length of a block, over TLS where a context is given."""
    state = Store()
    handler = type("Bound", (Handler,), {"store": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if secured is not None:
        server.socket = secured.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"{'https' if secured else 'http'}://127.0.0.1:{server.server_port}/file"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def once(act: Callable[[Handler], None]) -> Misdeed:
    """Misbehaves for the first request only."""
    used = threading.Event()
    lock = threading.Lock()

    def misdeed(handler: Handler) -> bool:
        with lock:
            if used.is_set():
                return False
            used.set()
        act(handler)
        return True

    return misdeed
