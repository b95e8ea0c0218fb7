"""Calls of RunPod's REST v2 about serverless endpoints, by the rules of the client for pods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from mp_kit.errors import MarketplaceError, ProviderError, UnavailableError
from mp_kit.server.providers.runpod_api import Account, RunPodApi
from mp_kit.server.providers.runpod_failures import failure_of
from mp_kit.server.providers.runpod_wire import LogEvent

__all__ = ["EndpointApi"]

_NOT_FOUND = 404
_STATES = ("running", "idle", "initializing", "throttled", "unhealthy", "total")


class EndpointApi(RunPodApi):
    """Calls about endpoints."""

    def endpoints(self, account: Account) -> list[Mapping[str, Any]]:
        """Every endpoint of the account.

        Raises:
            ProviderError: No answer, or none that is a list.
        """
        found = self._read(account, "/serverless", {}).get("endpoints")
        if not isinstance(found, list):
            raise ProviderError("RunPod's answer has no list of endpoints.")
        return [one for one in found if isinstance(one, Mapping) and one.get("id")]

    def endpoint(self, account: Account, endpoint_id: str) -> Mapping[str, Any] | None:
        """One endpoint; None if RunPod answers 404, which proves little soon after it was made."""
        answer = self._repeat(account, "GET", _path(endpoint_id))
        if answer.status == _NOT_FOUND and answer.is_problem:
            return None
        if not answer.is_success or not isinstance(answer.document, Mapping):
            raise ProviderError(f"RunPod does not tell of endpoint {endpoint_id}: HTTP {answer.status}.")
        return answer.document

    def create_endpoint(self, account: Account, body: Mapping[str, Any], secrets: Sequence[str]) -> Mapping[str, Any]:
        """Orders an endpoint, once.

        Raises:
            ProviderError: The request never left, or RunPod has no place.
            UnavailableError: It is not known whether an endpoint was made.
            MarketplaceError: RunPod refuses; nothing was made.
        """
        self._wait_turn(account)
        answer = self._send(account, "POST", "/serverless", json=body, secrets=secrets)
        if answer.is_success and isinstance(answer.document, Mapping) and answer.document.get("id"):
            return answer.document
        if answer.may_have_worked:
            raise UnavailableError(f"RunPod answered HTTP {answer.status} to the order of an endpoint.")
        raise failure_of(answer)

    def change(self, account: Account, endpoint_id: str, values: Mapping[str, Any]) -> None:
        """Changes an endpoint; harmless to repeat.

        Raises:
            ProviderError: RunPod does not do it, or does not answer.
        """
        answer = self._repeat(account, "PATCH", _path(endpoint_id), json=values)
        if not answer.is_success:
            raise _as_provider(failure_of(answer))

    def remove(self, account: Account, endpoint_id: str) -> None:
        """Deletes an endpoint; one that is not there is no error.

        Raises:
            ProviderError: RunPod does not do it, or does not answer.
        """
        answer = self._repeat(account, "DELETE", _path(endpoint_id), in_turn=False)
        if not answer.is_success and answer.status != _NOT_FOUND:
            raise _as_provider(failure_of(answer))

    def workers(self, account: Account, endpoint_id: str) -> dict[str, int]:
        """How many workers are in which state, and ``total``."""
        summary = self._read(account, f"{_path(endpoint_id)}/workers", {}).get("summary")
        told = summary if isinstance(summary, Mapping) else {}
        return {state: int(told.get(state) or 0) for state in _STATES}

    def first_worker(self, account: Account, endpoint_id: str) -> str | None:
        """Id of a worker, one that runs if there is any."""
        told = self._read(account, f"{_path(endpoint_id)}/workers", {}).get("workers") or []
        known = [one for one in told if isinstance(one, Mapping) and one.get("id")]
        known.sort(key=lambda one: str(one.get("status")) not in {"RUNNING", "IDLE"})
        return str(known[0]["id"]) if known else None

    def worker_logs(self, account: Account, endpoint_id: str, worker_id: str, *, tail: int) -> list[LogEvent]:
        """The last lines of a worker.

        Raises:
            NotFoundError: It is gone.
            ProviderError: No answer.
        """
        where = f"{_path(endpoint_id)}/workers/{quote(worker_id, safe='')}/logs"
        return self._stream_logs(account, where, source="container", tail=tail, after="", seconds=3.0)

    def pools(self, account: Account) -> dict[str, str]:
        """The pool of each GPU type that endpoints may have."""
        told = self._read(account, "/catalog/gpus", {}).get("gpus")
        kinds = [one for one in told if isinstance(one, Mapping)] if isinstance(told, list) else []
        return {str(one["id"]): str(one["pool"]) for one in kinds if one.get("id") and one.get("pool")}


def _as_provider(error: MarketplaceError) -> MarketplaceError:
    return error if isinstance(error, ProviderError) else ProviderError(str(error))


def _path(endpoint_id: str) -> str:
    return f"/serverless/{quote(endpoint_id, safe='')}"
