"""A small client of RunPod's REST v2: the calls that a training needs, typed, one account per call.

1. A request names its sender: the network edge before RunPod refuses clients without a User-Agent.
2. A POST that creates is sent once; nothing in here repeats it. Reads, and what is harmless to repeat, are repeated
   a few times, after the seconds that RunPod asks for, bounded.
3. Every request has a time limit for each of connect, write, read and pool.
4. Only what the OpenAPI of August 2026 knows is sent: unknown query parameters are ignored there in silence, unknown
   body keys are refused. A page's cursor is followed where a later version gives one.
5. A key is in the Authorization header and nowhere else: not in a repr, a message, a URL or a log.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx

from mp_kit.errors import CredentialError, ProviderError, UnavailableError
from mp_kit.server.providers.base import PacedError
from mp_kit.server.providers.runpod_failures import CONNECT, Answer, failure_of, sent
from mp_kit.server.providers.runpod_logs import Snapshot
from mp_kit.server.providers.runpod_pace import Pace
from mp_kit.server.providers.runpod_wire import CpuKind, GpuKind, LogEvent, Pod, instant_text
from mp_kit.version import __version__

__all__ = ["USER_AGENT", "Account", "RunPodApi"]

USER_AGENT = f"mp-kit/{__version__} (marketplace)"
_SECONDS = {"connect": 5.0, "read": 10.0, "write": 10.0, "pool": 10.0}
_CREATE_SECONDS = 30.0
_LOG_SILENCE_SECONDS = 2.0
_WAITS = (0.5, 1.0)
_LONGEST_WAIT = 10.0
_MAX_PAGES = 100
_TOO_MANY = 429
_NOT_FOUND = 404


@dataclass(frozen=True)
class Account:
    """A vendor's RunPod account.

    Attributes:
        vendor_id: Whose.
        key: The API key.

    Raises:
        CredentialError: The key cannot be one: it is empty, or has characters that no header carries.
    """

    vendor_id: str
    key: str = field(repr=False)

    def __post_init__(self) -> None:
        if not self.key or not self.key.isascii() or not self.key.isprintable() or " " in self.key:
            raise CredentialError("The RunPod API key on file is no API key.", hint=CONNECT)


class RunPodApi:
    """Calls RunPod.

    Args:
        base_url: Root of the version, such as ``https://api.runpod.io/v2``.
        transport: An httpx transport in place of the network.
        clock: The time.
        sleep: Waits.
    """

    def __init__(
        self,
        base_url: str,
        *,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        timeout = httpx.Timeout(**_SECONDS)
        self._client = httpx.Client(transport=transport, timeout=timeout, headers={"User-Agent": USER_AGENT})
        self._pace = Pace(clock)
        self._sleep = sleep

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def pods(self, account: Account) -> list[Pod]:
        """Every pod of the account that is no cluster's.

        Raises:
            ProviderError: No answer, or none that is a list of pods.
        """
        found: list[Pod] = []
        cursors: list[str] = []
        while len(cursors) < _MAX_PAGES:
            page = self._read(account, "/pods", {"cursor": cursors[-1]} if cursors else {})
            found += [pod for pod in map(Pod.read, _list(page, "pods")) if pod]
            cursor = _next_cursor(page)
            if cursor is None:
                return found
            if cursor in cursors:
                break
            cursors.append(cursor)
        raise ProviderError("RunPod's list of pods has no end: its pages repeat.")

    def pod(self, account: Account, pod_id: str) -> Pod | None:
        """One pod; None if RunPod answers 404, which proves little soon after it was made.

        Raises:
            ProviderError: No answer, or none that is a pod.
        """
        answer = self._repeat(account, "GET", _pod_path(pod_id))
        if answer.status == _NOT_FOUND and answer.is_problem:
            return None
        pod = Pod.read(_good(answer).document)
        if pod is None:
            raise ProviderError("RunPod's answer is no pod.")
        return pod

    def create(self, account: Account, body: Mapping[str, Any], secrets: Sequence[str] = ()) -> Pod | Answer:
        """Orders a pod, once.

        Args:
            account: On which account.
            body: As the OpenAPI has it.
            secrets: Values of the body that must not be quoted.

        Returns:
            The pod, or RunPod's refusal: then nothing was made.

        Raises:
            ProviderError: The request never left.
            UnavailableError: It is not known whether a pod was made.
        """
        self._wait_turn(account)
        timeout = httpx.Timeout(**_SECONDS | {"read": _CREATE_SECONDS})
        answer = self._send(account, "POST", "/pods", json=body, secrets=secrets, timeout=timeout)
        pod = Pod.read(answer.document) if answer.is_success else None
        if pod is None and answer.may_have_worked:
            raise UnavailableError(f"RunPod answered HTTP {answer.status} to the order of a pod: {answer.told or '-'}")
        return pod or answer

    def delete(self, account: Account, pod_id: str) -> Answer:
        """Asks for a pod's end; the answer may be any. Harmless to repeat."""
        return self._repeat(account, "DELETE", _pod_path(pod_id), in_turn=False)

    def act(self, account: Account, pod_id: str, action: str) -> Answer:
        """Asks for ``stop`` or ``terminate``; the answer may be any. Harmless to repeat."""
        path = f"{_pod_path(pod_id)}/action"
        return self._repeat(account, "POST", path, json={"action": action}, in_turn=False)

    def gpus(self, account: Account, *, count: int, cloud: str) -> list[GpuKind]:
        """The catalogue for pods with so many GPUs in a cloud: prices, stock, places.

        Raises:
            ProviderError: No answer, or none that is a catalogue.
        """
        params = {"include": "AVAILABILITY", "product": "POD", "count": str(count), "cloud": cloud}
        page = self._read(account, "/catalog/gpus", params)
        return [kind for kind in map(GpuKind.read, _list(page, "gpus")) if kind]

    def cpus(self, account: Account, *, count: int) -> list[CpuKind]:
        """The catalogue of CPU pods: prices per vCPU, and stock for pods with so many of them.

        Raises:
            ProviderError: No answer, or none that is a catalogue.
        """
        params = {"include": "AVAILABILITY", "product": "POD", "vcpuCount": str(count)}
        page = self._read(account, "/catalog/cpus", params)
        return [kind for kind in map(CpuKind.read, _list(page, "cpus")) if kind]

    def bill(self, account: Account, since: datetime, until: datetime, bucket: str) -> list[Mapping[str, Any]]:
        """What the account's pods cost: a record per pod and bucket.

        Raises:
            ProviderError: No answer, or none that is a bill.
        """
        params = {"startTime": instant_text(since), "endTime": instant_text(until), "bucketSize": bucket}
        page = self._read(account, "/billing/pods", params)
        return [record for record in _list(page, "records") if isinstance(record, Mapping)]

    def logs(
        self, account: Account, pod_id: str, *, source: str, tail: int, after: str, seconds: float
    ) -> list[LogEvent]:
        """What a pod's log says now: reads its event stream until it falls silent.

        Args:
            account: Whose.
            pod_id: Which pod.
            source: ``container``, ``system``, or empty for both.
            tail: Lines of the past, unless ``after`` is given.
            after: Id of the last event that is known; empty for none.
            seconds: Longest time to read.

        Raises:
            NotFoundError: RunPod knows no such pod, or no log of it any more.
            ProviderError: No answer.
        """
        where = f"{_pod_path(pod_id)}/logs"
        return self._stream_logs(account, where, source=source, tail=tail, after=after, seconds=seconds)

    def _stream_logs(
        self, account: Account, path: str, *, source: str, tail: int, after: str, seconds: float
    ) -> list[LogEvent]:
        params = {"source": source} if source else {}
        headers = {"Accept": "text/event-stream", "Authorization": f"Bearer {account.key}"}
        headers |= {"Last-Event-ID": after} if after else {}
        timeout = httpx.Timeout(**_SECONDS | {"read": min(seconds, _LOG_SILENCE_SECONDS)})
        url = f"{self.base_url}{path}"
        query = params if after else params | {"tail": str(tail)}
        snapshot = Snapshot(seconds)
        try:
            with (
                sent("reading a pod's log"),
                self._client.stream("GET", url, params=query, headers=headers, timeout=timeout) as response,
            ):
                if not response.is_success:
                    response.read()
                    raise failure_of(Answer.read(response, [account.key]))
                snapshot.take(response.iter_bytes())
        except UnavailableError as error:  # of an open stream: silence, which is how most of them end
            if not snapshot.was_open:
                raise ProviderError(error.message) from error
        return snapshot.events

    def _read(self, account: Account, path: str, params: Mapping[str, str]) -> Mapping[str, Any]:
        document = _good(self._repeat(account, "GET", path, params=params)).document
        if not isinstance(document, Mapping):
            raise ProviderError(f"RunPod's answer to {path} is no JSON object.")
        return document

    def _repeat(self, account: Account, method: str, path: str, *, in_turn: bool = True, **parts: Any) -> Answer:
        """Sends what is harmless to repeat, a few times if need be."""
        for wait in (*_WAITS, None):
            if in_turn:
                self._wait_turn(account)
            try:
                answer = self._send(account, method, path, **parts)
            except UnavailableError as error:
                if wait is None:
                    raise ProviderError(error.message) from error
                self._sleep(wait)
                continue
            pause = max(wait or 0.0, answer.retry_after or 0.0)
            if wait is None or pause > _LONGEST_WAIT or not _is_passing(answer):
                break
            self._sleep(pause)
        return answer

    def _wait_turn(self, account: Account) -> None:
        seconds = self._pace.seconds(account.vendor_id)
        if seconds > _LONGEST_WAIT:
            raise PacedError("The RunPod account has used up its requests for now.", retry_after=seconds)
        if seconds:
            self._sleep(seconds)

    def _send(self, account: Account, method: str, path: str, *, secrets: Sequence[str] = (), **parts: Any) -> Answer:
        headers = {"Authorization": f"Bearer {account.key}"}
        with sent(f"{method} {path.split('/')[1]}"):
            response = self._client.request(method, f"{self.base_url}{path}", headers=headers, **parts)
        self._pace.note(account.vendor_id, response.headers.get("ratelimit"))
        return Answer.read(response, [account.key, *secrets])


def _is_passing(answer: Answer) -> bool:
    return answer.status == _TOO_MANY or answer.status >= 500  # noqa: PLR2004 - HTTP


def _good(answer: Answer) -> Answer:
    if not answer.is_success:
        raise failure_of(answer)
    return answer


def _list(page: Mapping[str, Any], key: str) -> list[Any]:
    """A list that must be there: an answer without it is no empty list."""
    found = page.get(key)
    if not isinstance(found, list):
        raise ProviderError(f"RunPod's answer has no list of {key}.")
    return found


def _next_cursor(page: Mapping[str, Any]) -> str | None:
    pagination = page.get("pagination")
    if not isinstance(pagination, Mapping) or not pagination.get("hasNextPage"):
        return None
    return str(pagination.get("nextCursor") or "") or None


def _pod_path(pod_id: str) -> str:
    return f"/pods/{quote(pod_id, safe='')}"
