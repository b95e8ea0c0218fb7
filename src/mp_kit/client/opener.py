"""Opens URLs for reading: urllib3 over sockets, or any httpx transport (the fake marketplace's, in tests).

httpx costs two to three times the CPU per byte (measured in ``docs``' data-plane notes), so that bulk data goes by
urllib3. No opener raises for a status: who asked decides before a byte reaches disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol
from urllib.parse import urlsplit

import httpx
import urllib3
from urllib3.exceptions import HTTPError, TimeoutError  # noqa: A004 - urllib3's own name, used here only

from mp_kit.client.failures import translated
from mp_kit.client.http import USER_AGENT
from mp_kit.errors import NetworkError, TimeoutExceededError, TransferError

CONNECT_SECONDS = 10.0
STALL_SECONDS = 30.0


class Body(Protocol):
    """An answer whose body has not been read yet."""

    status: int
    headers: Mapping[str, str]

    def read(self, amount: int) -> bytes:
        """The next bytes, at most ``amount``, as soon as some are there; empty at the end."""
        ...


class Opener(Protocol):
    """Opens a URL with headers; leaving the context frees the connection."""

    def open(self, url: str, headers: Mapping[str, str]) -> AbstractContextManager[Body]:
        """GETs the URL."""
        ...

    def close(self) -> None:
        """Closes all connections."""
        ...


class _Urllib3Body:
    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    def read(self, amount: int) -> bytes:
        return self._response.read1(amount, decode_content=False)


class Urllib3Opener:
    """Opens URLs over pooled connections.

    Args:
        connections: Connections kept per host; as many as there are threads.
        stall_seconds: A read that brings nothing for so long is given up.
    """

    def __init__(self, connections: int = 8, stall_seconds: float = STALL_SECONDS) -> None:
        timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=stall_seconds)
        self._pool = urllib3.PoolManager(
            maxsize=connections, block=False, retries=False, timeout=timeout, headers={"User-Agent": USER_AGENT}
        )

    @contextmanager
    def open(self, url: str, headers: Mapping[str, str]) -> Iterator[Body]:
        """GETs the URL; neither redirects nor retries.

        Raises:
            NetworkError: The connection failed or broke.
            TimeoutExceededError: Nothing came for ``stall_seconds``.
        """
        asked = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
        with _translated(url):
            response = self._pool.request("GET", url, headers=asked, preload_content=False, redirect=False)
            done = False
            try:
                yield _Urllib3Body(response)
                done = response.length_remaining == 0
            finally:
                # A body that was not read to its end can't share its connection with the next answer.
                response.release_conn() if done else response.close()

    def close(self) -> None:
        """Closes all connections."""
        self._pool.clear()


@contextmanager
def _translated(url: str) -> Iterator[None]:
    host = urlsplit(url).netloc
    try:
        yield
    except TimeoutError as error:
        raise TimeoutExceededError(f"{host} sent nothing in time ({type(error).__name__}).") from error
    except HTTPError as error:
        raise NetworkError(f"The connection to {host} broke ({type(error).__name__}).") from error
    except ValueError as error:
        raise TransferError(f"{host} answered with headers that make no sense ({type(error).__name__}).") from error


class _HttpxBody:
    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        # iter_bytes, not iter_raw: a transport may hand over a response that has been read. No encoding is accepted.
        self._chunks = response.iter_bytes()
        self._left = b""

    def read(self, amount: int) -> bytes:
        chunk = self._left or next(self._chunks, b"")
        self._left = chunk[amount:]
        return chunk[:amount]


class TransportOpener:
    """Opens URLs through an httpx transport; no sockets needed.

    Args:
        transport: Such as ``FakeMarketplace().transport``.
    """

    def __init__(self, transport: httpx.BaseTransport) -> None:
        self._http = httpx.Client(transport=transport, headers={"User-Agent": USER_AGENT})

    @contextmanager
    def open(self, url: str, headers: Mapping[str, str]) -> Iterator[Body]:
        """GETs the URL."""
        asked = {"Accept-Encoding": "identity", **headers}
        with translated(f"GET {urlsplit(url).netloc}"), self._http.stream("GET", url, headers=asked) as response:
            yield _HttpxBody(response)

    def close(self) -> None:
        """Closes the client."""
        self._http.close()
