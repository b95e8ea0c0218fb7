"""The whole contract in one line of a test, without a socket."""

from __future__ import annotations

import httpx

from mp_kit.contracts.validation import ValidationReport
from mp_kit.serving.app import Application
from mp_kit.serving.caller import Caller
from mp_kit.serving.model import Model
from mp_kit.serving.validate import Validator
from mp_kit.serving.window import Windows

__all__ = ["check_model", "transport_of"]

_URL = "http://in.process"
_PATIENT_MS = 60_000.0  # a test that fails on a slow machine tells nothing about the model


def check_model(model: Model, windows: Windows, *, max_p95_ms: float = _PATIENT_MS) -> ValidationReport:
    """Validates a model as `mp validate` does, inside this process.

    Args:
        model: The model.
        windows: Bars to ask it with.
        max_p95_ms: Longest 95th percentile of an answer.
    """
    app = Application()
    app.load(model)
    caller = Caller(_URL, transport=transport_of(app))
    try:
        return Validator(caller, _URL, windows, max_p95_ms=max_p95_ms).run()
    finally:
        caller.close()


def transport_of(app: Application) -> httpx.MockTransport:
    """An httpx transport that asks the application."""

    def answer(request: httpx.Request) -> httpx.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        reply = app.handle(request.method, request.url.path, headers, request.read())
        kind = {"Content-Type": "application/json"} if reply.body else {}
        return httpx.Response(reply.status, content=reply.body, headers={**reply.headers, **kind})

    return httpx.MockTransport(answer)
