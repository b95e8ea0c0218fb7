"""Every error as the envelope says it: one place that maps our errors, the framework's, and the unexpected."""

from __future__ import annotations

import logging
from math import ceil
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from pydantic import ValidationError

from mp_kit.contracts import render_failure
from mp_kit.errors import (
    AuthError,
    ForbiddenError,
    InternalError,
    InvalidInputError,
    MalformedJsonError,
    MarketplaceError,
    MethodNotAllowedError,
    RouteNotFoundError,
    TooLargeError,
    UnsupportedMediaError,
)

log = logging.getLogger(__name__)

_BY_STATUS: dict[int, tuple[type[MarketplaceError], str]] = {
    400: (MalformedJsonError, "The body is not valid JSON."),
    401: (AuthError, "No valid token."),
    403: (ForbiddenError, "This is not allowed."),
    404: (RouteNotFoundError, "There is no such route."),
    405: (MethodNotAllowedError, "The route does not take this method."),
    413: (TooLargeError, "The body is larger than this route takes."),
    415: (UnsupportedMediaError, "The route does not take this content type."),
    422: (InvalidInputError, "The request does not fit the contract."),
}


_BROKEN_OFF = "client disconnected prematurely"
"""What the framework calls an internal error, and no fault of ours: each of them would fill the log."""


def translate(error: Exception) -> MarketplaceError:
    """The error of our tree that says what happened; an unexpected one becomes InternalError and tells nothing."""
    if isinstance(error, MarketplaceError):
        return error
    if isinstance(error, ValidationException):
        return _schema_violation(error)
    if isinstance(error, ValidationError):
        findings = [{"loc": list(item["loc"]), "msg": item["msg"]} for item in error.errors(include_url=False)]
        return InvalidInputError("The request does not fit the contract.", details=findings)
    if isinstance(error, HTTPException):
        return _framework_error(error)
    if isinstance(error, RecursionError):
        return MalformedJsonError("The body is nested too deeply.")
    return InternalError("Something went wrong on our side.")


def _framework_error(error: HTTPException) -> MarketplaceError:
    if error.detail == _BROKEN_OFF:
        return MalformedJsonError("The request's body broke off before its end.")
    cls, sentence = _BY_STATUS.get(error.status_code, (InternalError, "Something went wrong on our side."))
    detail = f" {error.detail}." if cls is MalformedJsonError and error.detail else ""
    return cls(sentence + detail)


def answer(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """The response that says the error; unexpected ones are logged with the request's id."""
    request_id = request.scope["state"].get("request_id")
    told = translate(error)
    if isinstance(told, InternalError):
        log.error("unexpected error in request %s", request_id, exc_info=error)
    return Response(
        render_failure(told, request_id),
        status_code=told.http,
        media_type="application/json",
        headers=_headers(told) | _allowed(error),
    )


def _headers(told: MarketplaceError) -> dict[str, str]:
    headers = {}
    if told.retry_after is not None or told.http in {429, 503}:
        headers["Retry-After"] = str(max(1, ceil(told.retry_after or 1)))
    if told.http == AuthError.http:
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def _allowed(error: Exception) -> dict[str, str]:
    """The methods that a route has, as RFC 9110 wants them beside a 405."""
    told = getattr(error, "headers", None) or {}
    return {"Allow": told["allow"]} if "allow" in told else {}


def _schema_violation(error: ValidationException) -> InvalidInputError:
    findings = []
    for item in error.extra if isinstance(error.extra, list) else []:
        place = [part for part in str(item.get("key", "")).split(".") if part]
        source = getattr(item.get("source"), "value", item.get("source"))
        where = [source] if source in {"query", "path", "header"} else []
        message = item["message"]
        if place == ["data"] and source == "body":
            place, message = [], "the body is missing"
        findings.append({"loc": where + [int(p) if p.isdigit() else p for p in place], "msg": message})
    first = findings[0] if findings else None
    told = f": {'.'.join(map(str, first['loc'])) or 'body'}: {first['msg']}" if first else ""
    return InvalidInputError(f"The request does not fit the contract{told}.", details=findings)
