"""Peers that dribble, stall or never end, over real sockets: they are cut, and good clients notice nothing."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import httpx
import pytest
from edges import serving

from mp_kit.server.edge.patience import Patience, PatientProtocol
from mp_kit.server.house import House

WAIT = 30
"""Seconds after which a connection that is still open has not been cut."""


_LARGE = 32 << 20


HURRIED = Patience(
    head_seconds=0.4,
    head_bytes=16 * 1024,
    body_seconds=0.4,
    body_rate=512,
    rest_seconds=0.4,
    unread_seconds=0.8,
    most_connections=12,
)
"""As the edge's own, in tenths of seconds."""


@pytest.fixture(scope="module")
def edge(edge_house: House) -> Iterator[httpx.Client]:
    """The edge as it is served, in a hurry."""
    with pytest.MonkeyPatch.context() as patch, serving(edge_house):
        patch.setattr(PatientProtocol, "patience", HURRIED)
        with httpx.Client(base_url=edge_house.settings.base_url, timeout=WAIT) as client:
            yield client


@contextmanager
def connected(edge: httpx.Client) -> Iterator[socket.socket]:
    """A connection without any client's courtesy."""
    with socket.create_connection((edge.base_url.host, edge.base_url.port or 80), timeout=WAIT) as raw:
        yield raw


def told(raw: socket.socket) -> bytes:
    """What the edge still says until it ends the connection; a TimeoutError where it does not."""
    said = b""
    try:
        while piece := raw.recv(65_536):
            said += piece
    except ConnectionError:
        pass
    return said


def dribble(raw: socket.socket, pieces: Iterator[bytes]) -> bytes:
    """Sends a piece every now and then until the edge has had enough."""
    deadline = time.monotonic() + WAIT
    try:
        for piece in pieces:
            raw.sendall(piece)
            time.sleep(0.05)
            assert time.monotonic() < deadline, "nobody cut the connection"
    except ConnectionError:
        return b""
    return told(raw)


@contextmanager
def undisturbed(edge: httpx.Client) -> Iterator[None]:
    """Good clients are answered before, meanwhile and after."""
    over, statuses = threading.Event(), []

    def ask() -> None:
        while not over.is_set():
            statuses.append(httpx.get(edge.base_url.join("/api/health"), timeout=WAIT).status_code)
            over.wait(0.05)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert statuses
    assert {200} == set(statuses)


HEADS = {
    "nothing at all": iter([b""]),
    "a request line that never ends": (b"G" if not n else b"E" for n in itertools.count()),
    "headers that never end": (
        b"GET / HTTP/1.1\r\nHost: x\r\n" if not n else b"X-%d: y\r\n" % n for n in itertools.count()
    ),
    "empty lines": (b"\r\n" for _ in itertools.count()),
}


@pytest.mark.parametrize("pieces", HEADS.values(), ids=HEADS)
def test_a_head_that_is_dribbled(edge: httpx.Client, pieces: Iterator[bytes]):
    """Each byte comes in time, and the whole never does."""
    with undisturbed(edge), connected(edge) as raw:
        dribble(raw, pieces)


def test_empty_lines_after_an_answer(edge: httpx.Client):
    """They keep no connection alive."""
    with connected(edge) as raw:
        raw.sendall(b"GET /api/health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert raw.recv(65_536).startswith(b"HTTP/1.1 200")
        dribble(raw, (b"\r\n" for _ in itertools.count()))


def test_headers_beyond_their_size(edge: httpx.Client):
    """One header of a gigabyte is not gathered until it is whole."""
    with connected(edge) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nX: ")
        said = dribble(raw, (b"y" * 8_000 for _ in range(8)))
        assert said.startswith((b"HTTP/1.1 431 ", b""))


BODIES = {
    "a length that is too large": (b"Content-Length: 1000", itertools.chain([b"[{"], itertools.repeat(b" ", 900))),
    "chunks without an end": (b"Transfer-Encoding: chunked", (b"1\r\n \r\n" for _ in itertools.count())),
    "no body at all": (b"Content-Length: 1000", iter([b""])),
}


@pytest.mark.parametrize(("header", "pieces"), BODIES.values(), ids=BODIES)
def test_a_body_that_is_dribbled(
    edge: httpx.Client,
    deployment: SimpleNamespace,
    caplog: pytest.LogCaptureFixture,
    header: bytes,
    pieces: Iterator[bytes],
):
    """A good token buys no more patience, nothing is stored, and no log fills with it."""
    with undisturbed(edge), connected(edge) as raw:
        raw.sendall(head("/api/signals/store", deployment.token, header))
        assert b" 200 " not in dribble(raw, pieces)
    assert [] == [record.message for record in caplog.records if record.levelname == "ERROR"]


def test_a_body_that_is_slow_and_honest(edge: httpx.Client, deployment: SimpleNamespace):
    """A thin line is no attack: what comes steadily is taken."""
    body = b"[" + b" " * 4_000 + b"{}]"
    with connected(edge) as raw:
        raw.sendall(
            head("/api/signals/store", deployment.token, b"Content-Length: %d\r\nConnection: close" % len(body))
        )
        for start in range(0, len(body), 500):
            raw.sendall(body[start : start + 500])
            time.sleep(0.1)
        assert told(raw).startswith(b"HTTP/1.1 200 ")


def test_a_body_that_goes_on_after_its_answer(edge: httpx.Client):
    """Who is refused is not listened to for ever."""
    with connected(edge) as raw:
        raw.sendall(head("/api/signals/store", "sit_nobody_x", b"Content-Length: 1000000000"))
        dribble(raw, (b" " * 1_000 for _ in itertools.count()))


def test_the_rest_of_a_body_is_no_head(edge: httpx.Client):
    """Whoever sends on what was refused already has kept to the protocol: the connection serves the next request."""
    rest = b" " * (HURRIED.head_bytes * 4)
    with connected(edge) as raw:
        raw.sendall(head("/api/signals/store", "sit_nobody_x", b"Content-Length: %d" % len(rest)))
        assert raw.recv(65_536).startswith(b"HTTP/1.1 401 ")
        raw.sendall(rest)
        raw.sendall(b"GET /api/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"HTTP/1.1 200 " in told(raw)


TOO_MUCH = {
    "a length that says so": b"Content-Length: 9000000",
    "chunks that do not": b"Transfer-Encoding: chunked",
}


@pytest.mark.parametrize("header", TOO_MUCH.values(), ids=TOO_MUCH)
def test_more_than_a_route_takes(edge: httpx.Client, vendor: SimpleNamespace, header: bytes):
    """The answer comes before the ninth megabyte has."""
    chunked = header.startswith(b"Transfer")
    piece = b" " * 65_536
    sent = b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece
    with connected(edge) as raw:
        raw.sendall(head("/api/vendors/models", vendor.key, header))
        try:
            for _ in range(137):
                raw.sendall(sent)
        except ConnectionError:
            return  # it was answered, and cut, meanwhile
        assert told(raw).startswith(b"HTTP/1.1 413 ")


LIES = {
    "two lengths": b"Content-Length: 2\r\nContent-Length: 20",
    "a length and chunks": b"Content-Length: 2\r\nTransfer-Encoding: chunked",
    "a length below zero": b"Content-Length: -1",
    "a length beyond all": b"Content-Length: 99999999999999999999999999",
    "chunks of another kind": b"Transfer-Encoding: chunked, gzip",
    "a chunk beyond all": b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffffffff\r\n",
}


@pytest.mark.parametrize("header", LIES.values(), ids=LIES)
def test_a_length_that_lies(edge: httpx.Client, deployment: SimpleNamespace, header: bytes):
    """What two readers could read in two ways is refused: no request hides in another one's body."""
    with connected(edge) as raw:
        raw.sendall(head("/api/signals/store", deployment.token, header) + b"{}")
        assert told(raw)[:12] in {b"HTTP/1.1 400", b"HTTP/1.1 413", b""}


def test_more_connections_than_there_are(edge: httpx.Client):
    """Those that say nothing make room for those that do."""
    with ExitStack() as stack:
        idle = [stack.enter_context(connected(edge)) for _ in range(HURRIED.most_connections)]
        assert 200 == httpx.get(edge.base_url.join("/api/health"), timeout=WAIT).status_code
        assert b"" == told(idle[0])


def test_an_answer_that_nobody_reads(edge: httpx.Client, edge_house: House):
    """The file does not stay open for ever."""
    edge_house.store.put_bytes("slow/large.bin", b"x" * _LARGE)
    url = httpx.URL(edge_house.store.presign("GET", "slow/large.bin", datetime.now(UTC) + timedelta(minutes=5)))
    with connected(edge) as raw:
        raw.sendall(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % url.raw_path)
        assert raw.recv(1)
        time.sleep(1.5)
        assert len(told(raw)) < _LARGE


def head(path: str, token: str, *headers: bytes) -> bytes:
    """A POST's line and headers."""
    line = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer {token}\r\n"
    return line.encode() + b"\r\n".join(headers) + b"\r\n\r\n"
