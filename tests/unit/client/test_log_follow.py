"""Following a log: through servers that cut, stall, repeat, refuse, or offer no streams."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from mp_kit.client import log_follow
from mp_kit.client.http import Api
from mp_kit.client.marketplace import Marketplace
from mp_kit.client.sse import Event, events
from mp_kit.errors import AuthError, NetworkError, NotFoundError
from mp_kit.testing import FakeMarketplace

END = b"id: 9\r\nevent: end\r\ndata: {}\r\n\r\n"
Act = Callable[[BaseHTTPRequestHandler], None]


def line(seq: int) -> dict[str, Any]:
    return {"seq": seq, "at": "2026-01-05T10:00:00Z", "stream": "stdout", "text": f"line {seq}\u2028\x85é"}


def event(seq: int) -> bytes:
    said = json.dumps(line(seq), ensure_ascii=False)
    return f"id: {seq + 1}\r\nevent: log\r\ndata: {said}\r\n\r\n".encode()


@contextmanager
def server(*acts: Act) -> Iterator[tuple[Api, list[str]]]:
    """Answers the requests one after the other as told; an API client of it, and the Last-Event-IDs that were sent."""
    left, asked = list(acts), []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(self.headers["Last-Event-ID"] or self.path.partition("?")[2])
            left.pop(0)(self)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    api = Api(f"http://127.0.0.1:{httpd.server_port}", sleep=lambda _: None)
    try:
        yield api, asked
    finally:
        api.close()
        httpd.shutdown()
        httpd.server_close()


def sends(*parts: bytes, then: Callable[[], object] | None = None) -> Act:
    """A stream of these bytes; then it waits, or breaks off."""

    def act(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream; charset=utf-8")
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        for part in parts:
            handler.wfile.write(part)
            handler.wfile.flush()
        if then is not None:
            then()
        handler.close_connection = True

    return act


def answers(status: int, body: Any) -> Act:
    """An answer with a JSON body."""

    def act(handler: BaseHTTPRequestHandler) -> None:
        said = json.dumps(body).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(said)))
        handler.end_headers()
        handler.wfile.write(said)

    return act


def page(*seqs: int, complete: bool = False) -> Act:
    lines = [line(seq) for seq in seqs]
    data = {"logs_url": "x", "lines": lines, "next": seqs[-1] + 1 if seqs else 0, "complete": complete}
    return answers(200, {"success": True, "data": data})


def followed(api: Api, **options: Any) -> list[int]:
    return [found.seq for found in log_follow.follow(api, "run_1", sleep=lambda _: None, **options)]


def test_stream_to_its_end():
    """Text keeps characters that are line ends to Python and to nobody else."""
    with server(sends(b": hi\r\n\r\n", event(0), event(1), END)) as (api, _):
        found = list(log_follow.follow(api, "run_1"))
    assert ["line 0\u2028\x85é", "line 1\u2028\x85é"] == [each.text for each in found]


def test_cut_stream_is_resumed_behind_the_last_line():
    """Also one that is cut in the middle of a line; nothing is lost or doubled."""
    cut = event(2)[:40]
    with server(sends(event(0), event(1), cut), sends(b": hi\r\n\r\n"), sends(event(2), END)) as (api, asked):
        assert [0, 1, 2] == followed(api)
    assert ["0", "2", "2"] == asked


def test_silent_stream_is_given_up_and_resumed():
    """A connection that says nothing for longer than the server's signs of life is dead."""
    over = threading.Event()
    with server(sends(event(0), then=over.wait), sends(event(1), END)) as (api, asked):
        assert [0, 1] == followed(api, silence=0.2)
        over.set()
    assert ["0", "1"] == asked


def test_server_that_repeats_itself():
    """Lines that are there already are dropped, also those of a server that ignores where we were."""
    with server(sends(event(0), event(0), event(1)), sends(event(0), event(1), event(2), END)) as (api, _):
        assert [0, 1, 2] == followed(api)


def test_server_that_is_down_for_a_while():
    """503 and nonsense are tried again."""
    down = answers(503, {"success": False, "error": "Down.", "code": "unavailable"})
    nonsense = sends(b"event: log\r\ndata: {}\r\n\r\n")
    with server(down, nonsense, down, sends(event(0), END)) as (api, _):
        assert [0] == followed(api)


def test_server_that_stays_down():
    """It ends with what was wrong, after many attempts."""
    down = answers(503, {"success": False, "error": "Down.", "code": "unavailable"})
    with server(*[down] * log_follow.ATTEMPTS) as (api, asked), pytest.raises(Exception, match=r"Down\."):
        followed(api)
    assert log_follow.ATTEMPTS == len(asked)


@pytest.mark.parametrize(
    ("status", "code", "kind"), [(404, "not_found", NotFoundError), (401, "unauthorized", AuthError)]
)
def test_refusal_is_raised_at_once(status: int, code: str, kind: type[Exception]):
    """Trying again mends neither."""
    refused = answers(status, {"success": False, "error": "No.", "code": code})
    with server(refused) as (api, _), pytest.raises(kind, match=r"No\."):
        followed(api)


def test_no_streams_means_pages():
    """A marketplace, or a proxy before it, that knows no streams: the same lines, by pages."""
    first, last = page(0, 1), page(2, complete=True)
    with server(first, page(0, 1), page(), page(), page(), page(2), last) as (api, _):
        assert [0, 1, 2] == followed(api)


def test_follow_of_a_run(market: Marketplace, fake: FakeMarketplace):
    """Streams and pages give the same lines; the history says what happened."""
    run = market.train.start("signal")
    assert ["step 0", "step 1", "step 2"] == [found.text for found in run.follow()]
    assert ["queued", "running", "succeeded"] == [each.to_state for each in run.events()]
    fake.runs.streams = False
    assert ["step 1", "step 2"] == [found.text for found in run.follow(after=1)]


def test_events_cut_anywhere():
    """The same events however the bytes are cut, with any of the three line ends."""
    body = b": c\r\nid: 1\revent: a\ndata: x\r\ndata:  y\r\n\r\nretry: 5\n\ndata\n\nevent: lost\ndata: cut"
    wanted = [Event("a", "x\n y", "1"), Event("message", "")]
    for size in range(1, len(body) + 1):
        cut = [body[at : at + size] for at in range(0, len(body), size)]
        assert wanted == list(events(cut))


def test_events_without_an_end():
    """A server that sends megabytes without a line end is none of ours."""
    with pytest.raises(NetworkError, match="no end"):
        list(events([b"data: "] + [b"x" * (1 << 20)] * 5))
