"""The contract's routes, without a socket."""

from __future__ import annotations

import json
from typing import Any

import pytest
from servers import Momentum

from mp_kit.contracts.inference import InferResponse
from mp_kit.errors import InvalidInputError
from mp_kit.serving.app import Application, Reply
from mp_kit.serving.window import Windows

JSON = {"content-type": "application/json"}


def infer(app: Application, document: Any, **headers: str) -> Reply:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return app.handle("POST", "/infer", {**JSON, **headers}, body)


def good(bars: Windows, **fields: Any) -> dict[str, Any]:
    return {"symbol": "EURUSD", "timeframe": "1h", "ohlcv": bars.rows("EURUSD", 5), **fields}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b'{"symbol": "\xff"}', 400),
        (b'{"symbol": NaN}', 400),
        (b"[" * 100_000, 400),
        (b"[]", 422),
        (b"null", 422),
        (b"{}", 422),
    ],
    ids=["empty", "broken", "not-utf8", "nan", "deep", "list", "null", "no-fields"],
)
def test_bad_body_is_refused(body: bytes, status: int, app: Application):
    """With the envelope, and as the caller's fault."""
    reply = infer(app, body)
    assert (status, False) == (reply.status, reply.document["success"])
    assert isinstance(reply.document["error"], str)


def test_other_content_type_is_refused(app: Application, bars: Windows):
    """A form is no JSON."""
    assert 415 == app.handle("POST", "/infer", {"content-type": "text/plain"}, json.dumps(good(bars)).encode()).status


def test_body_above_the_limit_is_refused(bars: Windows):
    """Before it is parsed."""
    app = Application(most_bytes=100)
    app.load(Momentum())
    assert 413 == infer(app, good(bars)).status


def test_details_name_the_place(app: Application, bars: Windows):
    """Row and column of a bad bar."""
    reply = infer(app, good(bars, ohlcv=[[0, 1, 1, 1, 1]]))
    assert ["ohlcv", 0] == reply.document["details"][0]["loc"]


def test_model_that_raises_is_no_stack_trace(bars: Windows):
    """500, the kind of error, nothing more; and it is counted."""

    class Broken(Momentum):
        def infer(self, request: Any) -> dict[str, Any]:  # noqa: ARG002 - the signature is the contract's
            msg = "secret inside"
            raise ZeroDivisionError(msg)

    app = Application()
    app.load(Broken())
    reply = infer(app, good(bars))
    assert (500, "internal") == (reply.status, reply.document["code"])
    assert "ZeroDivisionError" in reply.document["error"]
    assert "secret" not in json.dumps(reply.document)
    assert 1 == app.figures.metrics()["errors"]


@pytest.mark.parametrize(
    "answer",
    [{"decision": "MAYBE", "confidence": 0.5}, {"decision": "BUY", "confidence": 1.5}, {"decision": "BUY"}, {}],
    ids=["decision", "confidence", "missing", "nothing"],
)
def test_answer_outside_the_contract_is_kept_in(answer: dict[str, Any], bars: Windows):
    """A model's mistake never reaches a caller as an answer."""

    class Wrong(Momentum):
        def infer(self, request: Any) -> dict[str, Any]:  # noqa: ARG002 - the signature is the contract's
            return answer

    app = Application()
    app.load(Wrong())
    assert 500 == infer(app, good(bars)).status


def test_answer_is_completed(app: Application, bars: Windows):
    """Version and time are the server's to add."""
    reply = infer(app, good(bars))
    assert "m-1" == InferResponse.model_validate(reply.document).model_version


def test_version_of_the_environment_wins(bars: Windows):
    """MODEL_VERSION overrules the model's own."""
    app = Application(version="2026-07")
    app.load(Momentum())
    assert "2026-07" == infer(app, good(bars)).document["model_version"]


def test_nothing_is_ready_before_the_model():
    """/health lives, /ping says starting, /ready and /infer say so with Retry-After."""
    app = Application()
    statuses = {path: app.handle("GET", path, {}, b"").status for path in ("/health", "/ping", "/ready")}
    reply = infer(app, {})
    assert {"/health": 200, "/ping": 204, "/ready": 503} == statuses
    assert (503, "1") == (reply.status, reply.headers["Retry-After"])


def test_draining_server_is_alive_but_not_ready(app: Application, bars: Windows):
    """A load balancer looks elsewhere."""
    app.drain()
    statuses = [app.handle("GET", path, {}, b"").status for path in ("/health", "/ping", "/ready")]
    assert [200, 503, 503, 503] == [*statuses, infer(app, good(bars)).status]


def test_load_balancers_path_can_be_chosen(app: Application):
    """HEALTH_CHECK_PATH."""
    other = Application(ping_path="/alive")
    assert [204, 404] == [other.handle("GET", path, {}, b"").status for path in ("/alive", "/ping")]
    assert 200 == app.handle("GET", "/ping", {}, b"").status


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/infer", 405), ("DELETE", "/health", 405), ("GET", "/", 404), ("BREW", "/infer", 405)],
)
def test_wrong_routes_are_refused(method: str, path: str, status: int, app: Application):
    """A typo never looks like success."""
    assert status == app.handle(method, path, {}, b"").status


@pytest.mark.parametrize("task", ["", "forecast"])
def test_model_of_no_task_is_refused(task: str):
    """At the start, not at the first request."""
    model = Momentum()
    model.task = task
    with pytest.raises(InvalidInputError, match="task"):
        Application().load(model)


def test_model_without_version_is_refused():
    """Signals could not be told apart."""
    model = Momentum()
    model.version = ""
    with pytest.raises(InvalidInputError, match="version"):
        Application().load(model)


def test_answers_are_heard_with_their_dry_run(bars: Windows):
    """The header decides whether a signal is left."""
    heard: list[bool] = []
    app = Application(answered=lambda _request, _answer, dry: heard.append(dry))
    app.load(Momentum())
    infer(app, good(bars))
    infer(app, good(bars), **{"x-marketplace-dry-run": "true"})
    assert [False, True] == heard
