"""The socket around an :class:`Application`: HTTP/1.1 of the standard library, bounded and with an orderly end.

1. A connection has a thread; above :data:`CONNECTIONS` of them the next is answered 503 at once.
2. No read waits longer than :data:`IDLE_SECONDS`, no body is read beyond the application's limit.
3. ``close`` lets requests on their way end before the process does.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from mp_kit.errors import InvalidInputError, MarketplaceError, SetupError, UnavailableError
from mp_kit.serving.app import Application, Reply, failed, too_large

__all__ = ["CONNECTIONS", "IDLE_SECONDS", "WebServer"]

CONNECTIONS = 128
IDLE_SECONDS = 30.0

_LONGEST_LINE = 1_024
_DISCARDED = 64 * 1024 * 1024
_PIECE = 1 << 16


class WebServer:
    """Listens for an application.

    Args:
        app: Answers.
        host: Address to listen on.
        port: 0 chooses a free one.

    Raises:
        SetupError: Something else listens there, or the address is none of this machine's.
    """

    def __init__(self, app: Application, host: str = "0.0.0.0", port: int = 8000) -> None:  # noqa: S104 - a container's port is meant to be reached
        self._busy = _Busy()
        handler = type("Handler", (_Handler,), {"app": app, "busy": self._busy})
        try:
            self._server = _Server((host, port), handler)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise SetupError(
                f"Nothing can listen on {host}:{port}: {why}.", hint="Choose another PORT, or end what listens there."
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begins to answer, in threads."""
        self._thread.start()

    def close(self, grace: float = 10.0) -> bool:
        """Takes no more connections and waits for requests on their way; False if some did not end in time."""
        self._server.shutdown()
        self._thread.join()
        ended = self._busy.wait(grace)
        self._server.server_close()
        return ended


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = CONNECTIONS

    def __init__(self, address: tuple[str, int], handler: Any) -> None:
        super().__init__(address, handler)
        self._seats = threading.BoundedSemaphore(CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._seats.acquire(blocking=False):
            _turn_away(request)
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._seats.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Silent: what reaches it is a caller that went away."""


def _turn_away(connection: socket.socket) -> None:
    body = failed(UnavailableError("Too many connections at once.")).body
    head = f"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    with contextlib.suppress(OSError):
        connection.sendall(f"{head}Retry-After: 1\r\nConnection: close\r\n\r\n".encode() + body)


class _Busy:
    """Counts requests on their way."""

    def __init__(self) -> None:
        self._count = 0
        self._change = threading.Condition()

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        with self._change:
            self._count += 1
        try:
            yield
        finally:
            with self._change:
                self._count -= 1
                self._change.notify_all()

    def wait(self, seconds: float) -> bool:
        with self._change:
            return self._change.wait_for(lambda: self._count == 0, seconds)


class _Handler(BaseHTTPRequestHandler):
    app: Application
    busy: _Busy
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    server_version = "mp-kit"
    sys_version = ""
    disable_nagle_algorithm = True
    error_content_type = "application/json"
    error_message_format = '{"success": false, "error": "The request cannot be read.", "code": "bad_request"}'

    def _do(self) -> None:
        """Reads a request whole, asks the application, writes the reply."""
        with self.busy.one():
            try:
                body = self._body()
                headers = {name.lower(): value for name, value in self.headers.items()}
                reply = self.app.handle(self.command, urlsplit(self.path).path, headers, body)
            except MarketplaceError as error:  # the body was not read: what follows on this connection is not a request
                self.close_connection = True
                self._write(failed(error))
                self._discard()
                return
            self._write(reply)

    def __getattr__(self, name: str) -> Any:
        """Every verb is the application's to refuse: ``do_GET``, ``do_POST`` and all others are one."""
        if name.startswith("do_"):
            return self._do
        raise AttributeError(name)

    def _write(self, reply: Reply) -> None:
        body = reply.body
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if body:
            self.send_header("Content-Type", "application/json")
        if reply.status != 204:  # noqa: PLR2004 - No Content has no length either
            self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return b"".join(self._chunks())
        text = self.headers.get("Content-Length")
        if text is None:
            return b""
        if not (text.isascii() and text.isdigit()):
            raise InvalidInputError("Content-Length is no number.")
        if int(text) > self.app.most_bytes:
            raise too_large(self.app.most_bytes)
        return self.rfile.read(int(text))

    def _discard(self) -> None:
        """Reads on for a while: a caller that is still sending would lose the reply to a reset connection."""
        left = _DISCARDED
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.settimeout(1.0)
            while left > 0 and (part := self.rfile.read1(_PIECE)):
                left -= len(part)

    def _chunks(self) -> Iterator[bytes]:
        left = self.app.most_bytes
        while (size := self._chunk_size()) > 0:
            left -= size
            if left < 0:
                raise too_large(self.app.most_bytes)
            yield self.rfile.read(size)
            self.rfile.readline(_LONGEST_LINE)
        while self.rfile.readline(_LONGEST_LINE).strip():  # trailers, of which none means anything here
            continue

    def _chunk_size(self) -> int:
        line = self.rfile.readline(_LONGEST_LINE)
        try:
            return int(line.partition(b";")[0].strip(), 16)
        except ValueError:
            raise InvalidInputError("The body's chunks cannot be read.") from None

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Silent: a line per request costs more than it tells; figures are in /health and in heartbeats."""
