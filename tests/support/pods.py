"""RunPod's two routes that a pod calls from inside, and a marketplace for a wrapper in a process of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Told:
    """What the server heard, and how it answers.

    Args:
        url: Where it listens.
        asked: Method, path, User-Agent and Authorization of each call to RunPod's routes.
        status: What DELETE answers.
        on_end: Called when a pod is deleted or stopped with a good answer.
        is_away: The marketplace's routes answer 503.
        lines: Log lines, by number.
        beats: Heartbeats.
        outcomes: Outcomes.
    """

    url: str = ""
    asked: list[tuple[str, str, str, str]] = field(default_factory=list)
    status: int = 204
    on_end: Callable[[], None] = lambda: None
    is_away: bool = False
    lines: list[str] = field(default_factory=list)
    beats: list[dict[str, Any]] = field(default_factory=list)
    outcomes: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def market(self, verb: str, body: dict[str, Any]) -> dict[str, Any]:
        """Takes a report."""
        if verb == "heartbeat":
            self.beats.append(body)
            return {"command": "continue", "heartbeat_seconds": 0.2}
        if verb == "logs":
            if body["seq"] <= len(self.lines):
                self.lines[body["seq"] :] = [line["text"] for line in body["lines"]] or self.lines[body["seq"] :]
            return {"next": len(self.lines)}
        if verb == "finish":
            self.outcomes.append(body)
        return {}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    told: Told

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        if self.path.startswith("/v2/"):
            self._pod("POST", 200 if self.told.status != 500 else 500)
            return
        if self.told.is_away:
            self._answer(503, {})
            return
        with self.told.lock:
            data = self.told.market(self.path.rpartition("/")[2], body)
        self._answer(200, {"success": True, "data": data})

    def do_DELETE(self) -> None:
        self._pod("DELETE", self.told.status)

    def _pod(self, method: str, status: int) -> None:
        header = self.headers.get
        self.told.asked.append((method, self.path, header("User-Agent", ""), header("Authorization", "")))
        self._answer(status, {} if status != 204 else None)
        if status < 300:
            self.told.on_end()

    def _answer(self, status: int, document: dict[str, Any] | None) -> None:
        body = b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Says nothing."""


@contextmanager
def serving() -> Iterator[Told]:
    """Answers for the length of a block."""
    told = Told()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"told": told}))
    server.daemon_threads = True
    told.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
