"""Stand-ins of RunPod, Hugging Face and Weights & Biases on loopback: they know which keys are good."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Accounts:
    """The three services at one address.

    Attributes:
        url: Where they listen.
        good: Keys that they take.
        broken: A status that they answer whatever was asked.
        body: What they send in place of their own answers.
        asked: ``METHOD path`` and the headers of each request.
    """

    url: str = ""
    good: set[str] = field(default_factory=set)
    broken: int | None = None
    body: bytes | None = None
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def answer(self, line: str, headers: dict[str, str]) -> tuple[int, bytes]:
        """Status and body."""
        self.asked.append((line, headers))
        if self.broken is not None:
            return self.broken, b"down"
        scheme, _, sent = headers.get("authorization", "").partition(" ")
        if line == "POST /wandb/graphql":
            key = base64.b64decode(sent).decode().removeprefix("api:")
            viewer = {"username": "ann"} if scheme == "Basic" and key in self.good else None
            return 200, self.body or _json({"data": {"viewer": viewer}})
        if scheme != "Bearer" or sent not in self.good or "user-agent" not in headers:
            return 401, b"{}"
        answers: dict[str, Any] = {"GET /runpod/pods": {"pods": []}, "GET /hf/api/whoami-v2": {"name": "ann"}}
        return (200, self.body or _json(answers[line])) if line in answers else (404, b"{}")


def _json(document: Any) -> bytes:
    return json.dumps(document).encode()


@contextlib.contextmanager
def standing_in() -> Iterator[Accounts]:
    """The services for the length of a block."""
    accounts = Accounts()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, body = accounts.answer(f"{self.command} {self.path}", headers)
            self.send_response(status)
            if status in range(300, 400):
                self.send_header("Location", f"{accounts.url}/runpod/pods")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _serve  # noqa: N815 - the names are the base class's

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    accounts.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield accounts
    server.shutdown()
    server.server_close()
    thread.join(timeout=10)
