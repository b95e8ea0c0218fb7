"""The four calls that a job makes to the marketplace, and how it waits when nobody answers.

1. Foreign exceptions are mapped here and nowhere else: no answer is NetworkError, an error envelope is the class that
   its code names.
2. Every call is safe to repeat: heartbeats carry absolute values, log lines are numbered, artifacts are named by
   their hash, and the outcome is the same each time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urljoin

import httpx

from mp_kit.contracts.common import Model
from mp_kit.contracts.training import (
    ArtifactRequest,
    ArtifactTarget,
    LogChunk,
    RunHeartbeat,
    RunOrders,
    RunOutcome,
)
from mp_kit.errors import BY_CODE, MarketplaceError, NetworkError, TransferError, UnavailableError
from mp_kit.trainer.environment import JobEnv
from mp_kit.version import __version__

__all__ = ["RunApi", "insist"]

T = TypeVar("T")

_SERVER_FAULT = 500
_BAD = 400
_TIMEOUT = httpx.Timeout(15.0, connect=5.0)
_UPLOAD_TIMEOUT = httpx.Timeout(60.0, connect=5.0)
_FIRST_WAIT = 0.25
_LONGEST_WAIT = 15.0


class RunApi:
    """A job's side of the marketplace's API.

    Args:
        env: The job's environment.
        transport: What carries the requests; the network by default, a function in tests.
    """

    def __init__(self, env: JobEnv, *, transport: httpx.BaseTransport | None = None) -> None:
        self._base = env.api_url
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
        return RunOrders.model_validate(self._post("heartbeat", beat))

    def logs(self, chunk: LogChunk) -> int:
        """Hands in log lines; returns the number of the line that the marketplace wants next."""
        return int(self._post("logs", chunk)["next"])

    def artifact(self, request: ArtifactRequest) -> ArtifactTarget:
        """Asks where to upload an artifact."""
        return ArtifactTarget.model_validate(self._post("artifacts", request))

    def sign(self, round_id: str, names: Sequence[str]) -> dict[str, str]:
        """Fresh signed URLs of a round's files, by name."""
        body = {"round_id": round_id, "files": list(names)}
        answer = _send(lambda: self._client.post("/api/datasets/signed-urls", json=body), "signed URLs")
        return {str(entry["name"]): str(entry["url"]) for entry in _data(answer, "signed URLs")["urls"]}

    def upload(self, target: ArtifactTarget, path: Path) -> None:
        """PUTs a file's bytes to its target.

        Raises:
            NetworkError: No answer.
            TransferError: The store refused them.
        """
        with path.open("rb") as body:
            headers = {"Content-Length": str(path.stat().st_size)}
            url = urljoin(self._base, target.url)
            answer = _send(lambda: self._plain.put(url, content=body, headers=headers), f"upload of {target.name}")
        if answer.status_code >= _BAD:
            raise TransferError(f"The store refused the artifact {target.name} with HTTP {answer.status_code}.")

    def finish(self, outcome: RunOutcome) -> None:
        """Tells the outcome."""
        self._post("finish", outcome)

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()
        self._plain.close()

    def _post(self, verb: str, body: Model) -> dict[str, Any]:
        sent = {"content": body.model_dump_json(), "headers": {"Content-Type": "application/json"}}
        answer = _send(lambda: self._client.post(f"{self._path}/{verb}", **sent), verb)  # type: ignore[arg-type]
        return _data(answer, verb)


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


def _send(request: Callable[[], httpx.Response], what: str) -> httpx.Response:
    try:
        return request()
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
