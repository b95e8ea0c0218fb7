"""The operator's way to Prefect, against a Prefect made of one function."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from mp_kit.errors import BarsError, InternalError, InvalidInputError, NotFoundError, UnavailableError
from mp_kit.server.prefect_api import PrefectApi, known_url

RESULT = {"round_id": "r1", "created": True}


def answering(state: dict[str, Any], status: int = 201) -> Callable[[httpx.Request], httpx.Response]:
    """A Prefect with one deployment whose run ends in a state."""

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api")
        if path == "/deployments/name/f/f":
            return httpx.Response(200, json={"id": "d1"})
        if path == "/deployments/d1/create_flow_run":
            return httpx.Response(status, json={"id": "r", "name": "red-fox", "detail": "no"})
        if path == "/flow_runs/r":
            return httpx.Response(200, json={"id": "r", "name": "red-fox", "state": state})
        if path == "/artifacts/filter":
            return httpx.Response(200, json=[{"data": json.dumps([RESULT])}])
        return httpx.Response(404, json={})

    return answer


def api(answer: Callable[[httpx.Request], httpx.Response]) -> PrefectApi:
    return PrefectApi("http://prefect.test/api", transport=httpx.MockTransport(answer))


def run(state: dict[str, Any], status: int = 201) -> dict[str, Any]:
    return api(answering(state, status)).run("f/f", {}, seconds=5, say=lambda _: None)


def test_run_failed_raises_the_flows_own_error():
    """What the flow raised comes back as the same class."""
    message = "Flow run encountered an exception: mp_kit.errors.BarsError: EURUSD: 3 bars are too few."
    with pytest.raises(BarsError, match="EURUSD: 3 bars"):
        run({"type": "FAILED", "name": "Failed", "message": message})


def test_run_crashed_is_internal():
    """A crash without an error of ours is an internal one that names the deployment."""
    with pytest.raises(InternalError, match="f/f: gone"):
        run({"type": "CRASHED", "name": "Crashed", "message": "gone"})


def test_run_refused_parameters():
    """Prefect's 422 is bad input."""
    with pytest.raises(InvalidInputError):
        run({}, status=422)


def test_run_unknown_deployment():
    """A missing deployment says so."""
    with pytest.raises(NotFoundError):
        api(answering({})).run("g/g", {}, seconds=5, say=lambda _: None)


def test_run_without_server():
    """A server that is gone is unavailable."""

    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    assert not api(refuse).answers()
    with pytest.raises(UnavailableError):
        api(refuse).run("f/f", {}, seconds=5, say=lambda _: None)


def test_run_completed_gives_the_result_table():
    """The one row of the artifact `result` is the result."""
    assert run({"type": "COMPLETED", "name": "Completed"}) == RESULT


def test_known_url_of_an_empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Without a marketplace there is no Prefect."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert known_url(tmp_path) is None


def test_run_crowded_out_by_a_scheduled_one_is_tried_again():
    """A run that Prefect cancels because another one is under way is ordered again, not reported as failed."""
    crowded = {"type": "CANCELLED", "name": "Cancelled", "message": "Deployment concurrency limit reached."}
    done = {"type": "COMPLETED", "name": "Completed"}
    states = iter([crowded, done])
    ordered: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("create_flow_run"):
            ordered.append(request.url.path)
        return answering(next(states) if request.url.path.endswith("/flow_runs/r") else done)(request)

    assert RESULT == api(answer).run("f/f", {}, seconds=30, say=lambda _: None)
    assert 2 == len(ordered)


def test_run_cancelled_by_a_person_is_not_tried_again():
    """Only being crowded out is."""
    with pytest.raises(InternalError, match="stop it"):
        run({"type": "CANCELLED", "name": "Cancelled", "message": "stop it"})
