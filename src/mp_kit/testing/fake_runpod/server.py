"""The fake's HTTP side: real sockets on the loopback, a thread per connection."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from mp_kit.testing.fake_runpod.api import Call
from mp_kit.testing.fake_runpod.faults import Fault
from mp_kit.testing.fake_runpod.records import Records, RequestRecord, masked
from mp_kit.testing.fake_runpod.replies import Reply, problem
from mp_kit.testing.fake_runpod.router import Router
from mp_kit.testing.fake_runpod.streams import Stream

__all__ = ["Server"]

_POLICY = '"minute";q={q};w=60, "hour";q={h};w=3600, "day";q={d};w=86400'
_STATE = '"minute";r={r};t={t}'
_SLOW = (Fault.SLOW_ANSWER, Fault.CREATED_BUT_SLOW)
_CUT = (Fault.DONE_BUT_CUT, Fault.CREATED_BUT_CUT)
_BROKEN = (Fault.DONE_BUT_500, Fault.CREATED_BUT_500)


class Server(ThreadingHTTPServer):
    """Listens until it is closed.

    Args:
        port: Of the loopback; 0 for any free one.
        router: Answers.
        records: Notes what came in.
        per_minute: Requests that an account may send in a minute; more get 429.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port: int, router: Router, records: Records, per_minute: int | None) -> None:
        self.router = router
        self.records = records
        self.quota = Quota(per_minute)
        self.closing = threading.Event()
        self.numbers = itertools.count(1)
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def root(self) -> str:
        """Its address, without a path."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no error; anything else is told as usual."""
        import sys

        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class Quota:
    """A window of a minute per account, and the headers that tell of it."""

    def __init__(self, per_minute: int | None) -> None:
        self._limit = per_minute
        self._used: dict[str, tuple[float, int]] = {}
        self._lock = threading.Lock()

    def take(self, owner: str, now: datetime) -> tuple[dict[str, str], int | None]:
        """Counts a request.

        Returns:
            The headers, and the seconds to wait if it was one too many.
        """
        limit = self._limit or 6_000
        with self._lock:
            start, used = self._used.get(owner, (now.timestamp(), 0))
            if now.timestamp() - start >= 60:  # noqa: PLR2004 - a minute
                start, used = now.timestamp(), 0
            self._used[owner] = (start, used + 1)
        left = max(1, round(60 - (now.timestamp() - start)))
        headers = {
            "RateLimit-Policy": _POLICY.format(q=limit, h=limit * 50, d=limit * 800),
            "RateLimit": _STATE.format(r=max(0, limit - used - 1), t=left),
        }
        return headers, left if self._limit and used >= self._limit else None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server
    _quota: dict[str, str] = {}  # noqa: RUF012 - never changed, only replaced

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PATCH = do_DELETE = do_PUT = do_HEAD = do_GET  # noqa: N815 - the base class calls them so

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Nothing on the console: ``fake.requests`` has it all."""

    def _serve(self) -> None:
        self._quota = {}
        call, root_path = self._call()
        found = self.server.router.find(call.method, call.path)
        operation = found[0].operation if found else ""
        request_id = f"req-{next(self.server.numbers):08d}"
        at = self.server.router.now()
        reply = self._answered(call, found)
        after = self._befallen(call, reply)
        status = after.status if after else 0
        faults = tuple(trouble.fault.value for trouble in call.troubles)
        body = masked(call.json()) if call.content else None
        record = RequestRecord(call.method, root_path, call.query, status, body, operation, at, request_id, faults)
        self.server.records.add(record, call.errors)
        self._send(after, request_id) if after else self._cut()

    def _call(self) -> tuple[Call, str]:
        parts = urlsplit(self.path)
        length = int(self.headers.get("content-length") or 0)
        content = self.rfile.read(length) if length else b""
        path = parts.path.removeprefix("/v2") if parts.path.startswith("/v2/") else f"/.{parts.path}"
        headers = {name.lower(): value for name, value in self.headers.items()}
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        return Call(self.command, path, query, headers, content, parts.query), parts.path

    def _answered(self, call: Call, found: Any) -> Reply | Stream:
        if found is not None and found[0].is_public:
            self.server.router.draw(call, found[0].operation)
            return self.server.router.answer(call, *found)
        stopped = self.server.router.stopped_at_edge(call)
        if stopped:
            return stopped
        if found is None:
            call.errors.append("there is no such operation")
            return problem(404, "no such route")
        headers, wait = self.server.quota.take(call.owner, self.server.router.now())
        self._quota = headers
        if wait:
            detail = "rate limit exceeded for the minute window"
            return problem(429, detail, headers={"Retry-After": str(wait)})
        self.server.router.draw(call, found[0].operation)
        return self.server.router.answer(call, *found)

    def _befallen(self, call: Call, reply: Reply | Stream) -> Reply | Stream | None:
        """What the client sees of an answer; None if the connection is cut instead."""
        slow = call.met(*_SLOW)
        if slow:
            self.server.closing.wait(slow.seconds)
        if reply.status == 0 or call.met(*_CUT):
            return None
        broken = call.met(*_BROKEN)
        return problem(broken.status, "internal server error") if broken else reply

    def _send(self, reply: Reply | Stream, request_id: str) -> None:
        self.send_response(reply.status)
        headers = {"x-request-id": request_id, **self._quota, **reply.headers}
        if isinstance(reply, Reply):
            headers |= {"Content-Length": str(len(reply.content))} if reply.status != 204 else {}  # noqa: PLR2004
            headers |= {"Content-Type": reply.content_type} if reply.content else {}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if isinstance(reply, Reply):
            self.wfile.write(reply.content)
        else:
            self._stream(reply.frames(self._is_over))

    def _stream(self, frames: Iterator[bytes | None]) -> None:
        for frame in frames:
            if frame is None:
                return self._cut()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(frame), frame))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")
        return None

    def _is_over(self) -> bool:
        """Whether nobody listens any more, or the fake is being closed."""
        if self.server.closing.is_set():
            return True
        try:
            heard: bytes = self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        return not heard

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)
