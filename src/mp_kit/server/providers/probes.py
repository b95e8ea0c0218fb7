"""Asking a service elsewhere whether it takes a key, and RunPod what a key shows.

1. The key travels in the Authorization header of one request to the configured address, and follows no redirect.
2. Only an answer that says so makes a key ``ok`` or ``refused``; whatever else happens is ``unreachable``.
3. Nothing that a service sends is repeated, except the account's name.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import SecretStr

from mp_kit.contracts import ConnectionName, ConnectionStatus
from mp_kit.errors import RateLimitedError, UnavailableError
from mp_kit.version import __version__

__all__ = ["Probes", "Verdict"]

_AGENT = f"mp-kit/{__version__}"  # RunPod's front refuses requests that do not say who they are
_TIMEOUT = httpx.Timeout(10.0, connect=5.0)
_WHOLE_SECONDS = 15.0
_MOST_BYTES = 256 * 1024
_AT_ONCE = 2
_LONGEST_NAME = 64
_MOST_THINGS = 10
_LATER = "Try again later."
_OK = 200
_NOT_FOUND = 404
_REFUSING = frozenset({401, 403})


@dataclass(frozen=True)
class Verdict:
    """What a service said of a key.

    Attributes:
        status: One of ok, refused, unreachable.
        detail: A sentence for a person.
    """

    status: ConnectionStatus
    detail: str


@dataclass(frozen=True)
class Probes:
    """Asks the three services.

    Args:
        runpod_url: Root of RunPod's REST API, version 2.
        huggingface_url: Root of the Hugging Face Hub.
        wandb_url: Root of the Weights & Biases API.
    """

    runpod_url: str
    huggingface_url: str
    wandb_url: str
    _places: threading.BoundedSemaphore = field(
        default_factory=lambda: threading.BoundedSemaphore(_AT_ONCE), repr=False, compare=False
    )

    def ask(self, name: ConnectionName, value: SecretStr) -> Verdict:
        """Asks a service whether it takes a key; for some seconds at most.

        Args:
            name: The service.
            value: The key.

        Raises:
            RateLimitedError: Others are being asked already: a slow service must not hold all of the edge's threads.
        """
        with self._place():
            return _judged(name, lambda: self._request(name, value.get_secret_value()))

    def shows(self, value: SecretStr, things: Sequence[str]) -> bool | None:
        """Whether RunPod shows a key any of some things, by their paths; None where it takes the key for none of them.

        Args:
            value: The key.
            things: Such as ``pods/ID``; the first few are asked about.

        Raises:
            RateLimitedError: Others are being asked already.
            UnavailableError: RunPod does not answer.
        """
        with self._place():
            end, seen = time.monotonic() + _WHOLE_SECONDS, set()
            for thing in things[:_MOST_THINGS]:
                seen.add(self._look(value.get_secret_value(), thing))
                if _OK in seen:
                    return True
                if time.monotonic() > end:
                    raise UnavailableError("RunPod does not answer in time.", hint=_LATER)
        return None if seen <= _REFUSING else False

    def _look(self, key: str, thing: str) -> int:
        url = f"{self.runpod_url.rstrip('/')}/{quote(thing)}"
        try:
            status = _status("GET", url, headers={"Authorization": f"Bearer {key}"})
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UnavailableError(f"RunPod did not answer ({type(error).__name__}).", hint=_LATER) from error
        if status not in {_OK, _NOT_FOUND, *_REFUSING}:
            raise UnavailableError(f"RunPod answered with status {status}.", hint=_LATER)
        return status

    @contextmanager
    def _place(self) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise RateLimitedError("Other connections are being tested right now.", retry_after=2)
        try:
            yield
        finally:
            self._places.release()

    def _request(self, name: ConnectionName, key: str) -> tuple[int, Any]:
        bearer = {"Authorization": f"Bearer {key}"}
        if name is ConnectionName.RUNPOD:
            return _status("GET", f"{self.runpod_url}/pods", headers=bearer), {}
        if name is ConnectionName.HUGGINGFACE:
            return _document("GET", f"{self.huggingface_url}/api/whoami-v2", headers=bearer)
        query = {"query": "query Viewer { viewer { username } }"}
        return _document("POST", f"{self.wandb_url}/graphql", auth=("api", key), json=query)


def _judged(name: ConnectionName, request: Callable[[], tuple[int, Any]]) -> Verdict:
    try:
        status, document = request()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Verdict(ConnectionStatus.UNREACHABLE, f"{name.service} did not answer ({type(error).__name__}).")
    account = _account(name, document)
    if status in _REFUSING or (status == _OK and account is None):
        return Verdict(ConnectionStatus.REFUSED, f"{name.service} refuses the key (status {status}).")
    if status != _OK:
        return Verdict(ConnectionStatus.UNREACHABLE, f"{name.service} answered with status {status}.")
    return Verdict(ConnectionStatus.OK, f"{name.service} takes the key{f' of {account}' if account else ''}.")


def _account(name: ConnectionName, document: Any) -> str | None:
    """Whose key it is; an empty name where the service does not say, None where it says: nobody's."""
    if name is ConnectionName.RUNPOD:
        return ""
    found = document if isinstance(document, dict) else {}
    if name is ConnectionName.WANDB:
        data = found.get("data")
        viewer = data.get("viewer") if isinstance(data, dict) else None
        found = viewer if isinstance(viewer, dict) else {}
    named = found.get("username" if name is ConnectionName.WANDB else "name")
    return "".join(c for c in named if c.isprintable())[:_LONGEST_NAME] if isinstance(named, str) and named else None


@contextmanager
def _sent(method: str, url: str, **how: Any) -> Iterator[httpx.Response]:
    headers = {"User-Agent": _AGENT, "Accept": "application/json", **how.pop("headers", {})}
    with (
        httpx.Client(timeout=_TIMEOUT, follow_redirects=False) as client,
        client.stream(method, url, headers=headers, **how) as response,
    ):
        yield response


def _status(method: str, url: str, **how: Any) -> int:
    with _sent(method, url, **how) as response:
        return response.status_code


def _document(method: str, url: str, **how: Any) -> tuple[int, Any]:
    """Status and JSON; an answer that is too long, too slow or no JSON counts as none."""
    end = time.monotonic() + _WHOLE_SECONDS
    with _sent(method, url, **how) as response:
        if response.status_code != _OK:
            return response.status_code, None
        body = b""
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > _MOST_BYTES or time.monotonic() > end:
                raise httpx.DecodingError("the answer does not end")
    try:
        return _OK, json.loads(body)
    except ValueError as error:
        raise httpx.DecodingError("the answer is no JSON") from error
