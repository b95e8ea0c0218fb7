"""Opens URLs for reading: urllib3 over sockets, or any httpx transport (the fake marketplace's, in tests).

httpx costs two to three times the CPU per byte (measured in ``docs``' data-plane notes), so that bulk data goes by
urllib3: it connects, pools, speaks to proxies and secures. The bytes themselves go from the socket into the caller's
buffer, by the standard library's response under urllib3's: a fresh ``bytes`` for each piece costs a third of all CPU
time in page faults. No opener raises for a status: who asked decides before a byte reaches disk.
"""

from __future__ import annotations

import builtins
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from http.client import HTTPResponse
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx
import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError, TimeoutError  # noqa: A004 - urllib3's own name, used here only

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

    def readinto(self, into: memoryview) -> int:
        """As :meth:`read`, into a buffer; how many bytes came, 0 at the end."""
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
    def __init__(self, url: str, response: urllib3.BaseHTTPResponse) -> None:
        self._url = url
        self._response = response
        self._plain = _plain(response)
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    @property
    def is_read(self) -> bool:
        """It was read to its end, so that its connection can serve another answer."""
        return self._plain.length == 0 if self._plain is not None else self._response.length_remaining == 0

    def read(self, amount: int) -> bytes:
        into = memoryview(bytearray(amount))
        return bytes(into[: self.readinto(into)])

    def readinto(self, into: memoryview) -> int:
        if self._plain is None:
            data = self._response.read1(len(into), decode_content=False)
            into[: len(data)] = data
            return len(data)
        try:
            return _receive(self._plain, into)
        except builtins.TimeoutError as error:
            raise TimeoutExceededError(f"{urlsplit(self._url).netloc} sent nothing in time.") from error
        except OSError as error:
            raise NetworkError(
                f"The connection to {urlsplit(self._url).netloc} broke ({type(error).__name__})."
            ) from error


def _plain(response: urllib3.BaseHTTPResponse) -> HTTPResponse | None:
    """The standard library's response, where its body is nothing but the next ``length`` bytes of the connection."""
    found = getattr(response, "_fp", None)
    is_plain = isinstance(found, HTTPResponse) and not found.chunked and found.length is not None
    return found if is_plain else None


def _receive(response: HTTPResponse, into: memoryview) -> int:
    """One receive of the socket: ``HTTPResponse.readinto`` would wait until the buffer is full."""
    if not response.length or response.fp is None:
        return 0
    count: int = response.fp.readinto1(into[: response.length])
    response.length -= count
    if not count or not response.length:
        response.close()
    return count


class Urllib3Opener:
    """Opens URLs over pooled connections; trust and proxies are those of the API's own client.

    Args:
        connections: Connections kept per host; as many as there are threads.
        stall_seconds: A read that brings nothing for so long is given up.
    """

    def __init__(self, connections: int = 8, stall_seconds: float = STALL_SECONDS) -> None:
        self._options: dict[str, Any] = {
            "maxsize": connections,
            "block": False,
            "retries": False,
            "timeout": urllib3.Timeout(connect=CONNECT_SECONDS, read=stall_seconds),
        }
        self._pools: dict[tuple[str, str | None], urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    @contextmanager
    def open(self, url: str, headers: Mapping[str, str]) -> Iterator[Body]:
        """GETs the URL; neither redirects nor retries.

        Raises:
            NetworkError: The connection failed or broke.
            TimeoutExceededError: Nothing came for ``stall_seconds``.
        """
        asked = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
        with _translated(url):
            response = self._pool(url).request("GET", url, headers=asked, preload_content=False, redirect=False)
            body, done = _Urllib3Body(url, response), False
            try:
                yield body
                done = body.is_read
            finally:
                # A body that was not read to its end can't share its connection with the next answer.
                response.release_conn() if done else response.close()

    def close(self) -> None:
        """Closes all connections."""
        for pool in self._pools.values():
            pool.clear()

    def _pool(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        proxy = None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
        with self._lock:
            key = (parts.scheme, proxy)
            if key not in self._pools:
                self._pools[key] = _make_pool(parts.scheme, proxy, self._options)
            return self._pools[key]


def _make_pool(scheme: str, proxy: str | None, options: Mapping[str, Any]) -> urllib3.PoolManager:
    secured: dict[str, Any] = {"ssl_context": httpx.create_ssl_context()} if scheme == "https" else {}
    if proxy is None:
        return urllib3.PoolManager(**options, **secured)
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else None
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return urllib3.ProxyManager(
        address, proxy_headers=urllib3.make_headers(proxy_basic_auth=login), **options, **secured
    )


@contextmanager
def _translated(url: str) -> Iterator[None]:
    host = urlsplit(url).netloc
    try:
        yield
    except NewConnectionError as error:  # to urllib3 this is a kind of time-out; to people nobody is there
        raise NetworkError(f"{host} can't be reached ({type(error).__name__}).") from error
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

    def readinto(self, into: memoryview) -> int:
        data = self.read(len(into))
        into[: len(data)] = data
        return len(data)


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
