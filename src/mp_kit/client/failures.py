"""Turns what others raise or answer into our own errors, in one place.

1. An exception of httpx becomes the class that :data:`FOREIGN` names for it; a test fails when httpx grows another.
2. An error answer becomes the class of its ``code``; without a readable code, the class of its status.
3. No message carries a token, a header or a query string.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
from pydantic import ValidationError

from mp_kit import errors
from mp_kit.contracts.envelope import Failure
from mp_kit.contracts.headers import REQUEST_ID_HEADER

FOREIGN: dict[type[Exception], type[errors.MarketplaceError]] = {
    httpx.CloseError: errors.NetworkError,
    httpx.ConnectError: errors.NetworkError,
    httpx.ConnectTimeout: errors.TimeoutExceededError,
    httpx.CookieConflict: errors.NetworkError,
    httpx.DecodingError: errors.NetworkError,
    httpx.HTTPError: errors.NetworkError,
    httpx.HTTPStatusError: errors.NetworkError,
    httpx.InvalidURL: errors.InvalidInputError,
    httpx.LocalProtocolError: errors.NetworkError,
    httpx.NetworkError: errors.NetworkError,
    httpx.PoolTimeout: errors.TimeoutExceededError,
    httpx.ProtocolError: errors.NetworkError,
    httpx.ProxyError: errors.NetworkError,
    httpx.ReadError: errors.NetworkError,
    httpx.ReadTimeout: errors.TimeoutExceededError,
    httpx.RemoteProtocolError: errors.NetworkError,
    httpx.RequestError: errors.NetworkError,
    httpx.RequestNotRead: errors.NetworkError,
    httpx.ResponseNotRead: errors.NetworkError,
    httpx.StreamClosed: errors.NetworkError,
    httpx.StreamConsumed: errors.NetworkError,
    httpx.StreamError: errors.NetworkError,
    httpx.TimeoutException: errors.TimeoutExceededError,
    httpx.TooManyRedirects: errors.NetworkError,
    httpx.TransportError: errors.NetworkError,
    httpx.UnsupportedProtocol: errors.InvalidInputError,
    httpx.WriteError: errors.NetworkError,
    httpx.WriteTimeout: errors.TimeoutExceededError,
}
"""Which of our errors each exception of httpx becomes."""

BY_STATUS: dict[int, type[errors.MarketplaceError]] = {
    400: errors.InvalidInputError,
    401: errors.AuthError,
    402: errors.BudgetError,
    403: errors.ForbiddenError,
    404: errors.NotFoundError,
    405: errors.MethodNotAllowedError,
    409: errors.ConflictError,
    413: errors.TooLargeError,
    415: errors.UnsupportedMediaError,
    422: errors.InvalidInputError,
    429: errors.RateLimitedError,
    501: errors.NotBuiltYetError,
    502: errors.UnavailableError,
    503: errors.UnavailableError,
    504: errors.TimeoutExceededError,
}
"""What a bare status means when the body says nothing readable (a proxy's page, say)."""


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raises our error in place of one of httpx.

    Args:
        what: The request in words (``GET https://host/api/rounds``), for the message.

    Raises:
        NetworkError: No answer came.
        TimeoutExceededError: No answer came in time.
        InvalidInputError: The URL is none.
    """
    try:
        yield
    except tuple(FOREIGN) as error:
        kind = next(FOREIGN[cls] for cls in type(error).__mro__ if cls in FOREIGN)
        raise kind(f"{what} failed: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    text = str(error).strip().rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def failure_of(what: str, status: int, headers: Mapping[str, str], body: bytes) -> errors.MarketplaceError:
    """Builds the error that an answer of status 3xx, 4xx or 5xx means."""
    facts = {
        "retry_after": retry_after(headers.get("Retry-After")),
        "request_id": headers.get(REQUEST_ID_HEADER),
    }
    try:
        failure = Failure.model_validate_json(body)
    except ValidationError:
        return _by_status(what, status, facts)
    kind = errors.BY_CODE.get(failure.code) or BY_STATUS.get(status, errors.InternalError)
    details = [detail.model_dump() for detail in failure.details or ()]
    facts["request_id"] = failure.request_id or facts["request_id"]
    return kind(failure.error, hint=failure.hint, details=details, **facts)  # type: ignore[arg-type]  # by name


def _by_status(what: str, status: int, facts: Mapping[str, object]) -> errors.MarketplaceError:
    if status < errors.MalformedJsonError.http:
        return errors.NetworkError(
            f"{what} answered with status {status} and no data.",
            hint="Is the URL the marketplace's own, without a proxy or a login page before it?",
        )
    kind = BY_STATUS.get(status, errors.InternalError)
    return kind(f"{what} was refused with status {status} and no readable reason.", **facts)  # type: ignore[arg-type]  # by name


def retry_after(value: str | None) -> float | None:
    """Seconds that a ``Retry-After`` header asks for: a number or an HTTP date; ``None`` if neither."""
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None
