"""Asks a Prefect server to run a deployment and waits for it: plain HTTP, because importing Prefect costs seconds."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from mp_kit import errors
from mp_kit.errors import InternalError, InvalidInputError, NotFoundError, TimeoutExceededError, UnavailableError
from mp_kit.server.settings import STATE_FILE, default_home

__all__ = ["PrefectApi", "known_url", "set_schedule"]

_RAISED = re.compile(r"(?:\w+\.)*(\w+Error): (.*)", re.DOTALL)

_POLL_SECONDS = 0.5
_CROWDED_SECONDS = 1.0
_HTTP_SECONDS = 15.0
_SILENCE_SECONDS = 90.0
_FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
_REFUSED = {409, 422}


class PrefectApi:
    """A Prefect server's API.

    Args:
        url: Such as ``http://127.0.0.1:4200/api``.
        transport: For tests: where requests go instead of the network.
    """

    def __init__(self, url: str, *, transport: httpx.BaseTransport | None = None) -> None:
        self._client = httpx.Client(
            base_url=url, timeout=_HTTP_SECONDS, transport=transport, trust_env=False, auth=_auth()
        )

    def close(self) -> None:
        """Gives the connections back."""
        self._client.close()

    def answers(self) -> bool:
        """Whether the server is there."""
        try:
            return self._client.get("/health").is_success
        except httpx.TransportError:
            return False

    def run(
        self, deployment: str, parameters: Mapping[str, Any], *, seconds: float, say: Callable[[str], None]
    ) -> dict[str, Any]:
        """Runs a deployment and waits for its result.

        Args:
            deployment: ``flow/deployment``.
            parameters: Its parameters; no secrets, Prefect shows them.
            seconds: Longest wait.
            say: Hears about the flow run's states.

        Returns:
            What the flow run's ``result`` table says; empty where it makes none.

        Raises:
            NotFoundError: There is no such deployment.
            InvalidInputError: Prefect refuses the parameters.
            InternalError: The flow run failed; the message is the flow's.
            TimeoutExceededError: It runs on.
        """
        found = self.send("GET", f"/deployments/name/{deployment}")
        order = {"parameters": dict(parameters), "state": {"type": "SCHEDULED"}}
        deadline = time.monotonic() + seconds
        while True:
            run = self.send("POST", f"/deployments/{found['id']}/create_flow_run", order)
            say(f"flow run {run['name']} of {deployment}")
            state = self._wait(run["id"], deadline - time.monotonic(), say)
            if not _is_crowded_out(state) or time.monotonic() > deadline:
                break
            say("another run of it is under way; trying again")
            time.sleep(_CROWDED_SECONDS)
        if state["type"] != "COMPLETED":
            raise _failure(deployment, state.get("message") or state["type"], f"See flow run {run['id']} in Prefect.")
        return self.result(run["id"])

    def result(self, flow_run_id: str) -> dict[str, Any]:
        """The one row of a flow run's table artifact ``result``; empty where there is none."""
        wanted = {"flow_run_id": {"any_": [flow_run_id]}, "key": {"any_": ["result"]}}
        artifacts = self.send("POST", "/artifacts/filter", {"artifacts": wanted, "limit": 1})
        rows = json.loads(artifacts[0]["data"]) if artifacts else [{}]
        return dict(rows[0])

    def _wait(self, flow_run_id: str, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
        deadline, told = time.monotonic() + seconds, ""
        while True:
            run = self._read(f"/flow_runs/{flow_run_id}", min(deadline, time.monotonic() + _SILENCE_SECONDS))
            state = run.get("state") or {"type": "PENDING", "name": "Pending"}
            if state["name"] != told:
                told = state["name"]
                say(told)
            if state["type"] in _FINAL:
                return dict(state)
            if time.monotonic() > deadline:
                raise TimeoutExceededError(
                    f"Flow run {run['name']} is {state['name']} after {seconds:g} s; it goes on.",
                    hint="Look at it in Prefect's pages.",
                )
            time.sleep(_POLL_SECONDS)

    def _read(self, path: str, deadline: float) -> Any:
        """Reads through a busy or restarting server: the flow run goes on meanwhile."""
        while True:
            try:
                return self.send("GET", path)
            except UnavailableError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_POLL_SECONDS)

    def send(self, method: str, path: str, body: Mapping[str, Any] | list[Any] | None = None) -> Any:
        """Asks the API for one thing; its JSON answer, None where it has none.

        Raises:
            NotFoundError: There is no such thing.
            InvalidInputError: Prefect refuses the body.
            UnavailableError: It does not answer, or has a fault.
        """
        try:
            answer = self._client.request(method, path, json=body)
        except httpx.TransportError as error:
            raise UnavailableError(f"Prefect does not answer at {self._client.base_url}.") from error
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise NotFoundError(f"Prefect has no {path.removeprefix('/')}.", hint="Deploy the flows: `mp up` does.")
        if answer.status_code in _REFUSED:
            raise InvalidInputError(f"Prefect refuses the parameters: {answer.text[:500]}")
        if not answer.is_success:
            raise UnavailableError(f"Prefect answered {answer.status_code} to {path}.")
        return answer.json() if answer.content else None


def set_schedule(deployment: str, *, active: bool, url: str | None = None) -> str:
    """Pauses or resumes a deployment's schedule, where it is not so already; says what it did.

    Args:
        deployment: ``flow/deployment``.
        active: Whether its schedule makes flow runs.
        url: Prefect's API; PREFECT_API_URL by default.

    Raises:
        UnavailableError: Prefect does not answer.
    """
    where = url or os.environ.get("PREFECT_API_URL")
    if where is None:
        return "there is no schedule: no Prefect server is known"
    api = PrefectApi(where)
    try:
        found = api.send("GET", f"/deployments/name/{deployment}")
        if found.get("paused") is not active:
            return f"its schedule is {'active' if active else 'paused'}"
        api.send("POST", f"/deployments/{found['id']}/{'resume' if active else 'pause'}_deployment")
    except NotFoundError:
        return "there is no schedule: it is not deployed"
    finally:
        api.close()
    return f"its schedule was {'resumed' if active else 'paused'}"


def _auth() -> httpx.BasicAuth | None:
    """Of a server that asks for it: PREFECT_API_AUTH_STRING, as Prefect's own client reads it."""
    user, colon, password = os.environ.get("PREFECT_API_AUTH_STRING", "").partition(":")
    return httpx.BasicAuth(user, password) if colon else None


def _is_crowded_out(state: Mapping[str, Any]) -> bool:
    """Whether Prefect cancelled the run because its deployment allows no second one beside a scheduled one."""
    return state["type"] == "CANCELLED" and "concurrency limit" in (state.get("message") or "")


def known_url(home: Path | None = None) -> str | None:
    """Where Prefect's API is: PREFECT_API_URL, else what `mp up` noted in its home; None when neither says."""
    if named := os.environ.get("PREFECT_API_URL"):
        return named
    state = (home or default_home()) / STATE_FILE
    noted = json.loads(state.read_text(encoding="utf-8")) if state.exists() else {}
    return str(noted["prefect_api_url"]) if "prefect_api_url" in noted else None


def _failure(deployment: str, message: str, hint: str) -> errors.MarketplaceError:
    """The error that ended a flow run, as its own class where it is one of ours."""
    raised = _RAISED.search(message)
    found = getattr(errors, raised[1], None) if raised else None
    if raised and isinstance(found, type) and issubclass(found, errors.MarketplaceError):
        return found(raised[2], hint=hint)
    return InternalError(f"{deployment}: {message}", hint=hint)
