"""The four calls that a job makes to the marketplace, and how it waits when nobody answers.

1. Foreign exceptions are mapped here and nowhere else: no answer is NetworkError, an error envelope is the class that
   its code names.
2. Every call is safe to repeat: heartbeats carry absolute values, log lines are numbered, artifacts are named by
   their hash, and the outcome is the same each time.
3. Every call has an end, also with a peer that sends a byte now and then: see :mod:`mp_kit.trainer.bounded`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urljoin

import httpx

from mp_kit.contracts.common import Model
from mp_kit.contracts.training import (
    ArtifactAnnouncement,
    ArtifactTarget,
    LogChunk,
    PartTarget,
    RunHeartbeat,
    RunOrders,
    RunOutcome,
)
from mp_kit.errors import BY_CODE, MarketplaceError, NetworkError, TransferError, UnavailableError
from mp_kit.trainer.bounded import bounded
from mp_kit.trainer.environment import JobEnv
from mp_kit.version import __version__

__all__ = ["RunApi", "insist"]

T = TypeVar("T")

_SERVER_FAULT = 500
_BAD = 400
_TIMEOUT = httpx.Timeout(15.0, connect=5.0)
_UPLOAD_TIMEOUT = httpx.Timeout(60.0, connect=5.0)
CALL_SECONDS = 30.0
_SLOWEST_BYTES = 50_000.0  # of an upload, a second
_PIECE = 1 << 20
_FIRST_WAIT = 0.25
_LONGEST_WAIT = 15.0


class RunApi:
    """A job's side of the marketplace's API.

    Args:
        env: The job's environment.
        transport: What carries the requests; the network by default, a function in tests.
        seconds: How long a call may take from its beginning to its end; an upload has more, by its size.
    """

    def __init__(
        self, env: JobEnv, *, transport: httpx.BaseTransport | None = None, seconds: float = CALL_SECONDS
    ) -> None:
        self._seconds = seconds
        self._base = env.api_url
        self._machine = {"machine_ref": env.machine_ref}
        self._path = f"/api/training/runs/{quote(env.run_id, safe='')}"
        self._client = httpx.Client(
            base_url=env.api_url,
            headers={"Authorization": f"Bearer {env.token}", "User-Agent": f"mp-kit-trainer/{__version__}"},
            timeout=_TIMEOUT,
            transport=transport,
        )
        # Presigned URLs bear their own proof: an Authorization header beside it makes object stores refuse.
        self._plain = httpx.Client(timeout=_UPLOAD_TIMEOUT, transport=transport)

    def heartbeat(self, beat: RunHeartbeat) -> RunOrders:
        """Tells the progress and learns whether to go on."""
        return RunOrders.model_validate(self._post("heartbeat", beat.model_copy(update=self._machine)))

    def logs(self, chunk: LogChunk) -> int:
        """Hands in log lines; returns the number of the line that the marketplace wants next."""
        return int(self._post("logs", chunk)["next"])

    def artifact(self, request: ArtifactAnnouncement) -> ArtifactTarget:
        """Asks where to upload an artifact."""
        return ArtifactTarget.model_validate(self._post("artifacts", request))

    def sign(self, round_id: str, names: Sequence[str]) -> dict[str, str]:
        """Fresh signed URLs of a round's files, by name."""
        body = {"round_id": round_id, "files": list(names)}
        answer = _send(lambda: self._client.post("/api/datasets/signed-urls", json=body), "signed URLs", self._seconds)
        return {str(entry["name"]): str(entry["url"]) for entry in _data(answer, "signed URLs")["urls"]}

    def upload(self, target: ArtifactTarget, path: Path) -> None:
        """PUTs a file's bytes to its target.

        Raises:
            NetworkError: No answer.
            TransferError: The store refused them.
        """
        self._put(target.url, path, 0, path.stat().st_size, target.name)

    def upload_part(self, part: PartTarget, path: Path) -> None:
        """PUTs one part of a file; an error as of :meth:`upload`."""
        self._put(part.url, path, part.offset, part.size_bytes, f"{path.name}, part {part.number}")

    def finish(self, outcome: RunOutcome) -> None:
        """Tells the outcome."""
        self._post("finish", outcome.model_copy(update=self._machine))

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()
        self._plain.close()

    def _post(self, verb: str, body: Model) -> dict[str, Any]:
        sent = {"content": body.model_dump_json(), "headers": {"Content-Type": "application/json"}}
        url = f"{self._path}/{verb}"
        answer = _send(lambda: self._client.post(url, **sent), verb, self._seconds)  # type: ignore[arg-type]
        return _data(answer, verb)

    def _put(self, url: str, path: Path, offset: int, size: int, what: str) -> None:
        url, seconds = urljoin(self._base, url), self._seconds + size / _SLOWEST_BYTES
        headers = {"Content-Length": str(size)}
        answer = _send(
            lambda: self._plain.put(url, content=_slice(path, offset, size), headers=headers),
            f"upload of {what}",
            seconds,
        )
        if answer.status_code >= _BAD:
            raise TransferError(f"The store refused the artifact {what} with HTTP {answer.status_code}.")


def insist(call: Callable[[], T], *, until: float, pause: Callable[[float], None] = time.sleep) -> T:
    """Repeats a call while its errors are worth it.

    Args:
        call: What to do; safe to repeat.
        until: ``time.monotonic()`` after which the last error is raised.
        pause: How to wait; seconds in, nothing out.

    Returns:
        The call's value.

    Raises:
        MarketplaceError: Not retryable, or the time is over.
    """
    wait = _FIRST_WAIT
    while True:
        try:
            return call()
        except MarketplaceError as error:
            if not error.retryable or time.monotonic() + wait > until:
                raise
            pause(max(wait, error.retry_after or 0.0))
            wait = min(wait * 2, _LONGEST_WAIT)


def _slice(path: Path, offset: int, size: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(offset)
        while size > 0 and (piece := file.read(min(size, _PIECE))):
            size -= len(piece)
            yield piece


def _send(request: Callable[[], httpx.Response], what: str, seconds: float) -> httpx.Response:
    try:
        return bounded(request, seconds, what)
    except httpx.HTTPError as error:
        raise NetworkError(f"No answer from the marketplace ({what}): {type(error).__name__}.") from None


def _data(answer: httpx.Response, verb: str) -> dict[str, Any]:
    try:
        envelope = answer.json()
    except ValueError:
        envelope = {}
    envelope = envelope if isinstance(envelope, dict) else {}
    if answer.status_code < _BAD and isinstance(envelope.get("data"), dict):
        return dict(envelope["data"])
    raise _error(answer, envelope, verb)


def _error(answer: httpx.Response, envelope: dict[str, Any], verb: str) -> MarketplaceError:
    known = BY_CODE.get(str(envelope.get("code", "")))
    fallback = UnavailableError if answer.status_code >= _SERVER_FAULT or not envelope else MarketplaceError
    after = answer.headers.get("Retry-After", "")
    return (known or fallback)(
        f"The marketplace answered {verb} with HTTP {answer.status_code}: {envelope.get('error', 'no reason given')}",
        retry_after=min(float(after), 60.0) if after.isdigit() else None,
    )
