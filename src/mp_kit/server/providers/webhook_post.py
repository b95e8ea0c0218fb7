"""Sending one message to somebody's endpoint: one connection, one request, an end to everything.

1. The URL is checked anew and the connection goes to a checked address, with the URL's host in the Host header and in
   the certificate's check. No proxy, no redirect, no decompression.
2. All of it, from connecting to the answer's last byte that is read, ends within one deadline: a watch closes the
   socket then, so that not even a byte a second keeps a thread.
3. Of the answer only its status counts. Its body is read up to a bound and thrown away: nobody reads through us.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache

from mp_kit.errors import InvalidInputError
from mp_kit.server.providers.addresses import AddressGuard, Target
from mp_kit.version import __version__

__all__ = ["Answer", "Poster"]

_CONNECT_SECONDS = 5.0
_MOST_BYTES = 64 * 1024
_GOOD = range(200, 300)
_REDIRECTS = range(300, 400)


@cache
def _system_tls() -> ssl.SSLContext:
    return ssl.create_default_context()


@dataclass(frozen=True)
class Answer:
    """What became of one attempt.

    Args:
        status: The HTTP status, if one came.
        error: What went wrong, as a short sentence; None when the message was taken.
        retry_after: Seconds that the receiver asks to wait.
        milliseconds: How long it took.
    """

    status: int | None
    error: str | None
    retry_after: float | None
    milliseconds: int

    @property
    def is_taken(self) -> bool:
        """Whether the receiver has the message."""
        return self.error is None


@dataclass(frozen=True)
class Poster:
    """Sends messages.

    Args:
        guard: Says where a URL leads.
        seconds: An attempt's deadline.
        tls: Gives what verifies certificates; the system's authorities by default.
    """

    guard: AddressGuard = field(default_factory=AddressGuard)
    seconds: float = 15.0
    tls: Callable[[], ssl.SSLContext] = _system_tls

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Sends a message once; whatever goes wrong is in the answer."""
        began = time.monotonic()
        status, retry_after = None, None
        try:
            status, retry_after = self._post(self.guard.check(url), headers, body, began)
            error = _verdict(status)
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
        if error and status is None and took >= self.seconds:
            error = f"it did not answer within {self.seconds:g} s"
        return Answer(status, error, retry_after, int(took * 1000))

    def _post(self, target: Target, headers: Mapping[str, str], body: bytes, began: float) -> tuple[int, float | None]:
        connection = _Pinned(target, self.tls() if target.scheme == "https" else None, _CONNECT_SECONDS)
        watch = threading.Timer(max(self.seconds - (time.monotonic() - began), 0.0), connection.cut)
        watch.daemon = True
        watch.start()
        try:
            told = {"Content-Type": "application/json", "User-Agent": f"mp-kit-webhooks/{__version__}", **headers}
            connection.connect()
            connection.settle(self.seconds)
            connection.request("POST", target.path, body, {**told, "Connection": "close"})
            answer = connection.getresponse()
            return answer.status, _drain(answer)
        finally:
            watch.cancel()
            connection.close()


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


def _drain(answer: http.client.HTTPResponse) -> float | None:
    """Reads some of the body, so that an orderly receiver sees an orderly end; says how long it asks to wait."""
    wait = _retry_after(answer.headers.get("Retry-After"))
    try:
        answer.read(_MOST_BYTES)
    except (OSError, http.client.HTTPException, ValueError):
        return wait  # the status came: that is the answer
    return wait


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, in either of its forms (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    if value.isascii() and value.isdecimal():
        return float(value[:9])
    try:
        when = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max((aware - datetime.now(UTC)).total_seconds(), 0.0)


def _verdict(status: int) -> str | None:
    if status in _GOOD:
        return None
    if status in _REDIRECTS:
        return f"it answered {status}: redirects are not followed"
    return f"it answered {status}"
