"""RunPod's log streams: what is read of them, how they go on, how they end."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from runpod_wires import ACCOUNT, Wire, problem

from mp_kit.errors import (
    NotFoundError,
    ProviderError,
)


def streamed(*chunks: bytes, end: Exception | None = None) -> Wire:
    """A log's stream in these chunks."""

    class Stream(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield from chunks
            if end:
                raise end

    class Open(Wire):
        def __call__(self, request: httpx.Request) -> httpx.Response:
            """Opens the stream."""
            self.requests.append(request)
            return httpx.Response(200, stream=Stream())

    return Open()


def read_log(wire: Wire, after: str = "") -> list[tuple[str, str]]:
    """Ids and texts."""
    events = wire.api.logs(ACCOUNT, "pod_1", source="", tail=10, after=after, seconds=5.0)
    return [(event.id, event.text) for event in events]


EVENT = b'id: 1\ndata: {"source":"container","line":"a","ts":"t"}\n\n'

STREAMS = {
    "one event": ([EVENT], [("1", "a")]),
    "cut anywhere": ([EVENT[:9], EVENT[9:30], EVENT[30:]], [("1", "a")]),
    "CRLF, cut between": ([EVENT.replace(b"\n", b"\r\n")[:-1], b"\n"], [("1", "a")]),
    "comments and other fields": ([b": hello\nretry: 5\nevent: x\n" + EVENT], [("1", "a")]),
    "unfinished event": ([EVENT, b'id: 2\ndata: {"line":"b"}\n'], [("1", "a")]),
    "no JSON": ([b"id: 1\ndata: plain words\n\n"], [("1", "plain words")]),
    "several data lines": ([b"id: 1\ndata: one\ndata: two\n\n"], [("1", "one\ntwo")]),
    "torn UTF-8": ([b'data: {"line":"\xc3', b'\xa9"}\n\n'], [("", "é")]),
    "no space after the colon": ([b'id:1\ndata:{"line":"a"}\n\n'], [("1", "a")]),
    "nothing": ([], []),
}


@pytest.mark.parametrize("name", STREAMS)
def test_streams(name: str):
    """Every shape that Server-Sent Events may have."""
    chunks, expected = STREAMS[name]
    assert expected == read_log(streamed(*chunks))


@pytest.mark.parametrize("end", [httpx.ReadTimeout("x"), httpx.ReadError("x"), httpx.RemoteProtocolError("x")])
def test_stream_that_ends_badly(end: Exception):
    """What came before counts."""
    assert [("1", "a")] == read_log(streamed(EVENT, end=end))


def test_stream_without_end():
    """A loud log is cut by its size."""
    assert len(read_log(streamed(*[EVENT * 100] * 1_000))) < 10_000


def test_stream_resumes():
    """The last id goes into its header, and takes the place of ``tail``."""
    wire = streamed(EVENT)
    read_log(wire, after="9")
    (request,) = wire.requests
    assert ("9", b"") == (request.headers["last-event-id"], request.url.query)


def test_stream_that_is_refused():
    """A log that is not there is an error in words."""
    with pytest.raises(NotFoundError):
        read_log(Wire(problem(404)))
    with pytest.raises(ProviderError):
        read_log(Wire(httpx.ReadTimeout("x")))
