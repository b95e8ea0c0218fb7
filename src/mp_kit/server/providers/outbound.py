"""One request to somebody else's server: one connection, one request, an end to everything.

1. The URL is checked anew and the connection goes to a checked address, with the URL's host in the Host header and in
   the certificate's check. No proxy, no redirect, no decompression.
2. All of it, from connecting to the answer's last byte that is read, ends within one deadline: a watch closes the
   socket then, so that not even a byte a second keeps a thread.
3. Of the answer's body no more is read than was allowed; whoever asked says whether it is kept.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

from mp_kit.errors import InvalidInputError
from mp_kit.server.providers.addresses import AddressGuard, Target
from mp_kit.version import __version__

__all__ = ["Exchange", "Outbound", "system_tls", "verdict"]

_CONNECT_SECONDS = 5.0
_GOOD = range(200, 300)
_REDIRECTS = range(300, 400)


@cache
def system_tls() -> ssl.SSLContext:
    """Verifies certificates by the system's authorities."""
    return ssl.create_default_context()


@dataclass(frozen=True)
class Exchange:
    """What became of one request.

    Args:
        status: The HTTP status, if one came.
        headers: Of the answer, by lower-case name.
        body: At most so many bytes as were allowed, and one more where there was more.
        error: What went wrong on the way, as a short sentence; None when the answer came whole.
        milliseconds: How long it took.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)
    error: str | None = None
    milliseconds: int = 0


@dataclass(frozen=True)
class Outbound:
    """Sends requests.

    Args:
        name: What sends, for the User-Agent.
        seconds: A request's deadline.
        most_bytes: Of the answer's body.
        tls: Gives what verifies certificates.
    """

    name: str
    seconds: float
    most_bytes: int = 64 * 1024
    tls: Callable[[], ssl.SSLContext] = system_tls

    def post(self, guard: AddressGuard, url: str, headers: Mapping[str, str], body: bytes) -> Exchange:
        """Sends JSON once; whatever goes wrong is in what comes back.

        Args:
            guard: Says where the URL leads.
            url: Where to.
            headers: Beside those of every request.
            body: Its bytes.
        """
        began, came = time.monotonic(), _Came()
        error: str | None = None
        try:
            self._exchange(came, guard.check(url), headers, body, began)
        except InvalidInputError as refused:
            error = refused.message
        except ssl.SSLCertVerificationError as failed:
            error = f"the certificate does not verify: {failed.verify_message}"
        except ssl.SSLError:
            error = "the TLS handshake failed"
        except TimeoutError:
            error = "it did not answer in time"
        except (OSError, http.client.HTTPException, ValueError) as failed:  # ValueError: TLS closed under its reader
            error = f"the connection failed ({type(failed).__name__})"
        took = time.monotonic() - began
        if error and took >= self.seconds:
            error = f"it did not answer within {self.seconds:g} s"
        return Exchange(came.status, came.headers, came.body, error, int(took * 1000))

    def _exchange(self, came: _Came, target: Target, headers: Mapping[str, str], body: bytes, began: float) -> None:
        connection = _Pinned(target, self.tls() if target.scheme == "https" else None, _CONNECT_SECONDS)
        watch = threading.Timer(max(self.seconds - (time.monotonic() - began), 0.0), connection.cut)
        watch.daemon = True
        watch.start()
        try:
            told = {"Content-Type": "application/json", "User-Agent": f"{self.name}/{__version__}", **headers}
            connection.connect()
            connection.settle(self.seconds)
            connection.request("POST", target.path, body, {**told, "Connection": "close"})
            answer = connection.getresponse()
            came.status = answer.status
            came.headers = {name.lower(): value for name, value in answer.headers.items()}
            came.body = answer.read(self.most_bytes + 1)
            connection.require_whole(answer, len(came.body) > self.most_bytes)
        finally:
            watch.cancel()
            connection.close()


@dataclass
class _Came:
    """What has come so far: what goes wrong later takes nothing of it away."""

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class _Pinned(http.client.HTTPConnection):
    """A connection to a checked address in the name of the URL's host."""

    def __init__(self, target: Target, tls: ssl.SSLContext | None, seconds: float) -> None:
        super().__init__(target.host, target.port, timeout=seconds)
        self.default_port = 443 if target.scheme == "https" else 80  # the Host header leaves the usual port out
        self._target = target
        self._tls = tls
        self._cut = threading.Event()

    def connect(self) -> None:
        """Tries one checked address after the other; the handshake is under the same watch as all else."""
        self._adopt(self._reach())
        if self._tls is not None:
            secured = self._tls.wrap_socket(self.sock, server_hostname=self._target.host, do_handshake_on_connect=False)
            self._adopt(secured)
            secured.do_handshake()

    def settle(self, seconds: float) -> None:
        """From now on each read and write may take this long; the watch bounds them together."""
        self.sock.settimeout(seconds)

    def cut(self) -> None:
        """Ends whatever is under way, from another thread."""
        self._cut.set()
        held = self.sock
        if held is not None:
            _shut(held)

    def require_whole(self, answer: http.client.HTTPResponse, too_long: bool) -> None:
        """Refuses an answer that ended before it was whole: reading a part says nothing of that."""
        if self._cut.is_set():
            raise TimeoutError
        if not too_long and answer.length:
            raise ConnectionResetError

    def _reach(self) -> socket.socket:
        failed: OSError = OSError("no address")
        for address in self._target.addresses:
            if self._cut.is_set():
                raise TimeoutError
            try:
                return socket.create_connection((address, self._target.port), timeout=self.timeout)
            except OSError as error:
                failed = error
        raise failed

    def _adopt(self, held: socket.socket) -> None:
        self.sock = held
        if self._cut.is_set():  # the watch came while there was no socket to cut
            raise TimeoutError


def _shut(held: socket.socket) -> None:
    try:
        # Not SSLSocket's own, which takes the TLS object from under the thread that reads.
        socket.socket.shutdown(held, socket.SHUT_RDWR)
    except OSError:
        return  # it is closed already


def verdict(status: int) -> str | None:
    """What is wrong with a status; nothing with 2xx."""
    if status in _GOOD:
        return None
    if status in _REDIRECTS:
        return f"it answered {status}: redirects are not followed"
    return f"it answered {status}"
