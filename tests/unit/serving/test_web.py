"""The socket around the application."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from servers import Momentum

from mp_kit.serving.app import Application
from mp_kit.serving.web import WebServer
from mp_kit.serving.window import Windows


@pytest.fixture
def web(app: Application) -> Iterator[WebServer]:
    server = WebServer(app, "127.0.0.1", 0)
    server.start()
    yield server
    server.close()


def url(web: WebServer, path: str) -> str:
    return f"http://127.0.0.1:{web.port}{path}"


def raw(web: WebServer, request: bytes) -> bytes:
    """Sends bytes as they are; gives all that comes back."""
    with socket.create_connection(("127.0.0.1", web.port), timeout=10) as one:
        one.sendall(request)
        one.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: one.recv(65_536), b""))


def test_connection_is_kept(web: WebServer, bars: Windows):
    """Several requests over one connection, refused ones among them."""
    good = {"symbol": "EURUSD", "timeframe": "1h", "ohlcv": bars.rows("EURUSD", 5)}
    with httpx.Client() as client:
        statuses = [client.post(url(web, "/infer"), json=body).status_code for body in (good, {}, good)]
    assert [200, 422, 200] == statuses


def test_chunked_body_is_read(web: WebServer, bars: Windows):
    """Proxies send without a length."""
    text = json.dumps({"symbol": "EURUSD", "timeframe": "1h", "ohlcv": bars.rows("EURUSD", 5)}).encode()
    parts = iter([text[:100], text[100:]])
    answer = httpx.post(url(web, "/infer"), content=parts, headers={"Content-Type": "application/json"})
    assert 200 == answer.status_code


@pytest.mark.parametrize("chunked", [False, True], ids=["with-length", "chunked"])
def test_body_above_the_limit_gets_its_answer(chunked: bool, web: WebServer):
    """413 reaches a caller that was still sending."""
    text = b"x" * (9 * 1024 * 1024)
    body: Any = iter([text]) if chunked else text
    answer = httpx.post(url(web, "/infer"), content=body, headers={"Content-Type": "application/json"})
    assert (413, "too_large") == (answer.status_code, answer.json()["code"])


@pytest.mark.parametrize(
    "request_",
    [
        b"POST /infer HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
        b"POST /infer HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
    ids=["length-text", "length-negative", "chunk-text", "long-line", "nonsense"],
)
def test_unreadable_requests_are_told_so_as_json(request_: bytes, web: WebServer):
    """And the connection is closed: what follows on it means nothing."""
    answer = raw(web, request_)
    assert b'"success": false' in answer
    assert 200 == httpx.get(url(web, "/health")).status_code


def test_no_content_has_no_body():
    """204 while the model loads, as a load balancer reads it."""
    web = WebServer(Application(), "127.0.0.1", 0)
    web.start()
    answer = raw(web, b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    web.close()
    assert answer.startswith(b"HTTP/1.1 204 ")
    assert answer.endswith(b"\r\n\r\n")


def test_closing_waits_for_requests_on_their_way(bars: Windows):
    """An answer that was begun is given."""
    entered, go_on = threading.Event(), threading.Event()

    class Slow(Momentum):
        def infer(self, request: Any) -> dict[str, Any]:
            entered.set()
            go_on.wait(10)
            return super().infer(request)

    app = Application()
    app.load(Slow())
    web = WebServer(app, "127.0.0.1", 0)
    web.start()
    got: list[int] = []
    good = {"symbol": "EURUSD", "timeframe": "1h", "ohlcv": bars.rows("EURUSD", 5)}
    caller = threading.Thread(target=lambda: got.append(httpx.post(url(web, "/infer"), json=good).status_code))
    caller.start()
    entered.wait(10)
    closer = threading.Thread(target=web.close)
    closer.start()
    go_on.set()
    closer.join(10)
    caller.join(10)
    assert [200] == got
    with pytest.raises(httpx.ConnectError):
        httpx.get(url(web, "/health"))


def test_request_that_does_not_end_is_told(bars: Windows):
    """Close says that it gave up waiting."""
    entered, go_on = threading.Event(), threading.Event()

    class Stuck(Momentum):
        def infer(self, request: Any) -> dict[str, Any]:
            entered.set()
            go_on.wait(10)
            return super().infer(request)

    app = Application()
    app.load(Stuck())
    web = WebServer(app, "127.0.0.1", 0)
    web.start()
    good = {"symbol": "EURUSD", "timeframe": "1h", "ohlcv": bars.rows("EURUSD", 5)}
    caller = threading.Thread(target=lambda: httpx.post(url(web, "/infer"), json=good))
    caller.start()
    entered.wait(10)
    ended = web.close(grace=0.05)
    go_on.set()
    caller.join(10)
    assert ended is False
