"""The contract's routes as a function from request to reply, without a socket.

1. Every reply is JSON; an error has the marketplace's envelope, and never a stack trace.
2. ``/health`` is 200 while the process lives, ``/ready`` only while the model can answer; the load balancer's path
   (``/ping``) is 200 when ready and 204 while the model loads, which is how RunPod tells starting from broken.
3. A body is refused by its size and type before it is read as JSON; NaN and Infinity are no JSON.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NoReturn

from pydantic import BaseModel

from mp_kit.contracts.common import Task
from mp_kit.contracts.envelope import render_failure
from mp_kit.errors import (
    InternalError,
    InvalidInputError,
    MalformedJsonError,
    MarketplaceError,
    MethodNotAllowedError,
    RouteNotFoundError,
    TooLargeError,
    UnavailableError,
    UnsupportedMediaError,
)
from mp_kit.serving.figures import Figures
from mp_kit.serving.model import Model, finish, read_request

__all__ = ["MOST_BYTES", "Answered", "Application", "Reply"]

MOST_BYTES = 8 * 1024 * 1024
"""Largest body of a request: a hundred thousand bars."""

Answered = Callable[[BaseModel, BaseModel, bool], None]
"""Hears of each answer: the request, the answer, and whether it was a dry run."""

_LOG = logging.getLogger("mp_kit.serving")


@dataclass(frozen=True)
class Reply:
    """What goes back.

    Attributes:
        status: HTTP's.
        document: JSON; nothing where it is None.
        headers: Besides those of every reply.
    """

    status: int
    document: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        """The bytes to send."""
        return b"" if self.document is None else json.dumps(self.document, allow_nan=False).encode()


class Application:
    """The routes around a model.

    Args:
        admit: Hears the headers of each request to ``/infer`` first, and raises to refuse it; None for anybody.
        version: Overrules the model's own, where it is given.
        ping_path: The load balancer's path.
        answered: Hears of each answer.
        most_bytes: Largest body.
        at_once: Requests that the model works on at once; others wait.
    """

    def __init__(
        self,
        *,
        admit: Callable[[Mapping[str, str]], None] | None = None,
        version: str | None = None,
        ping_path: str = "/ping",
        answered: Answered | None = None,
        most_bytes: int = MOST_BYTES,
        at_once: int = 4,
    ) -> None:
        self.figures = Figures()
        self.most_bytes = most_bytes
        self._admit = admit
        self._version = version
        self._answered = answered
        self._model: Model | None = None
        self._draining = False
        self._seats = threading.BoundedSemaphore(at_once)
        self._routes: dict[tuple[str, str], Callable[[], Reply]] = {
            ("GET", ping_path): self._ping,
            ("GET", "/health"): self._health,
            ("GET", "/ready"): self._ready,
        }

    @property
    def is_ready(self) -> bool:
        """Whether the model can answer."""
        return self._model is not None and not self._draining

    def load(self, model: Model) -> None:
        """Takes the model; from now on the server is ready.

        Raises:
            InvalidInputError: Its task is none, or it lacks a version.
        """
        try:
            Task(model.task)
        except ValueError:
            known = ", ".join(Task)
            raise InvalidInputError(f"The model's task is {model.task!r}; it must be one of {known}.") from None
        if not (self._version or model.version):
            raise InvalidInputError("The model has no version.", hint="Give it one, or set MODEL_VERSION.")
        self._model = model

    def drain(self) -> None:
        """Stops being ready; requests on their way are still answered."""
        self._draining = True

    def handle(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Answers a request.

        Args:
            method: HTTP's.
            path: Without the query.
            headers: By lower-case name.
            body: Its bytes.
        """
        try:
            if (method, path) == ("POST", "/infer"):
                if self._admit is not None:
                    self._admit(headers)
                return self._infer(headers, body)
            route = self._routes.get((method, path))
            return route() if route is not None else self._refuse_route(path)
        except MarketplaceError as error:
            return failed(error)

    def _refuse_route(self, path: str) -> NoReturn:
        allowed = {known: verb for verb, known in [*self._routes, ("POST", "/infer")]}
        if path in allowed:
            raise MethodNotAllowedError(f"{path} takes {allowed[path]} only.")
        raise RouteNotFoundError(f"There is no {path[:100]}; there are {', '.join(sorted(allowed))}.")

    def _ping(self) -> Reply:
        if self._model is None:
            return Reply(HTTPStatus.NO_CONTENT)
        return self._ready()

    def _health(self) -> Reply:
        model = self._model
        facts: dict[str, Any] = {"status": "ok", "ready": self.is_ready}
        if model is not None:
            facts |= {"task": str(model.task), "model_version": self._version or model.version}
            facts |= {"facts": dict(getattr(model, "facts", None) or {})}
        return Reply(HTTPStatus.OK, facts | {"metrics": self.figures.metrics(mark=False)})

    def _ready(self) -> Reply:
        self._require_model()
        return Reply(HTTPStatus.OK, {"ready": True})

    def _require_model(self) -> Model:
        if self._draining:
            raise UnavailableError("The server is shutting down.", retry_after=1.0)
        if self._model is None:
            raise UnavailableError("The model is still being loaded.", retry_after=1.0)
        return self._model

    def _infer(self, headers: Mapping[str, str], body: bytes) -> Reply:
        model, start = self._require_model(), time.perf_counter()
        reply = Reply(HTTPStatus.INTERNAL_SERVER_ERROR)
        try:
            reply = self._work(model, headers, body)
        except MarketplaceError as error:
            reply = failed(error)
        except Exception as error:  # noqa: BLE001 - whatever the vendor's code raises, the caller gets an answer
            _LOG.exception("the model failed")
            reply = failed(InternalError(f"The model failed: {type(error).__name__}; the server's log says more."))
        finally:
            self.figures.count(time.perf_counter() - start, reply.status)
        return reply

    def _work(self, model: Model, headers: Mapping[str, str], body: bytes) -> Reply:
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise UnsupportedMediaError("POST /infer takes application/json.")
        if len(body) > self.most_bytes:
            raise too_large(self.most_bytes)
        task = Task(model.task)
        request = read_request(task, parsed(body))
        with self._seats:
            answer = finish(task, model.infer(request), self._version or model.version)
        if self._answered is not None:
            self._answered(request, answer, is_dry(headers))
        return Reply(HTTPStatus.OK, answer.model_dump(mode="json", exclude_none=True))


def is_dry(headers: Mapping[str, str]) -> bool:
    """Whether the request is marked as one that must leave no trace."""
    return headers.get("x-marketplace-dry-run", "").strip().lower() in {"1", "true", "yes"}


def too_large(most: int) -> TooLargeError:
    """A body above the limit."""
    return TooLargeError(f"The body is larger than {most:,} bytes.", hint="Send only the bars that the model needs.")


def parsed(body: bytes) -> dict[str, Any]:
    """A body as a JSON object.

    Raises:
        MalformedJsonError: It is no JSON.
        InvalidInputError: It is no object.
    """
    try:
        document = json.loads(body, parse_constant=_no_constant)
    except RecursionError:
        raise MalformedJsonError("The body is nested too deeply.") from None
    except ValueError as error:
        raise MalformedJsonError(f"The body is not JSON: {error}.") from None
    if not isinstance(document, dict):
        raise InvalidInputError(f"The body must be a JSON object, not {type(document).__name__}.")
    return document


def _no_constant(name: str) -> NoReturn:
    msg = f"{name} is no number of JSON's"
    raise ValueError(msg)


def failed(error: MarketplaceError) -> Reply:
    """An error as a reply."""
    wait = {} if error.retry_after is None else {"Retry-After": f"{max(error.retry_after, 1):.0f}"}
    return Reply(error.http, render_failure(error), wait)
