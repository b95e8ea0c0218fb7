"""Every error of mp-kit, in one tree.

::

    MarketplaceError
    ├── InvalidInputError           422 invalid_input            what the caller sent or typed is wrong
    │   ├── MalformedJsonError      400 malformed_json
    │   ├── ContractsVersionError   422 contracts_version_unsupported
    │   ├── BarsError               422 bars_invalid             OHLCV data that cannot be trusted
    │   ├── UnsupportedMediaError   415 unsupported_media_type
    │   └── TooLargeError           413 too_large
    ├── AuthError                   401 unauthorized             no, unknown, expired or revoked token
    │   └── TokenExpiredError       401 token_expired
    ├── ForbiddenError              403 forbidden                known, but not allowed
    │   └── AttributionError        403 attribution_mismatch     a claim in a body contradicts the token
    ├── NotFoundError               404 not_found                absent, or another vendor's: never told apart
    │   ├── NoCurrentRoundError     404 no_current_round
    │   └── RouteNotFoundError      404 route_not_found
    ├── MethodNotAllowedError       405 method_not_allowed
    ├── ConflictError               409 conflict                 the state of the thing forbids it
    │   ├── IdempotencyError        409 idempotency_key_reused   same key, another body
    │   └── CredentialError         409 credential               an account elsewhere is missing or refuses its key
    ├── BudgetError                 402 budget_exceeded          the money or the hours would not suffice
    ├── RateLimitedError            429 rate_limited
    ├── NotBuiltYetError            501 not_built_yet            a route of the contract that is not there yet
    ├── UnavailableError            503 unavailable              a dependency is down; trying again may help
    │   ├── DatabaseDownError       503 database_unavailable
    │   └── ProviderError           503 provider_unavailable     the compute provider refused or vanished
    ├── IntegrityError              502 integrity                bytes, signature or checksum do not match
    ├── TransferError               502 transfer                 a download or upload broke off
    ├── NetworkError                503 network                  no answer from the marketplace
    ├── TimeoutExceededError        504 timeout                  it did not end in the time allowed
    ├── MissingExtraError           500 missing_extra            an optional package is not installed
    ├── SetupError                  500 setup                    this machine or its settings cannot run it
    └── InternalError               500 internal                 our fault

The classes hold no logic beyond their five facts: ``code`` (stable, snake_case: clients branch on it), ``http``
(the status the edge answers), ``hint`` (the next step), ``retryable`` (sending it again unchanged may succeed)
and ``details`` (a list of ``{loc, msg}``). How notebooks draw them is :mod:`mp_kit.error_card`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mp_kit import error_card

__all__ = [
    "BY_CODE",
    "AttributionError",
    "AuthError",
    "BarsError",
    "BudgetError",
    "ConflictError",
    "ContractsVersionError",
    "CredentialError",
    "DatabaseDownError",
    "ForbiddenError",
    "IdempotencyError",
    "IntegrityError",
    "InternalError",
    "InvalidInputError",
    "MalformedJsonError",
    "MarketplaceError",
    "MethodNotAllowedError",
    "MissingExtraError",
    "NetworkError",
    "NoCurrentRoundError",
    "NotBuiltYetError",
    "NotFoundError",
    "ProviderError",
    "RateLimitedError",
    "RouteNotFoundError",
    "SetupError",
    "TimeoutExceededError",
    "TokenExpiredError",
    "TooLargeError",
    "TransferError",
    "UnavailableError",
    "UnsupportedMediaError",
]

full_tracebacks = False
"""Set it (``mp_kit.errors.full_tracebacks = True``) to see whole tracebacks in notebooks in place of short cards."""


class MarketplaceError(Exception):
    """Base of everything that mp-kit raises on purpose.

    Args:
        message: One sentence for a person: what, where.
        hint: The next step, if there is one; the class's own hint by default.
        details: Findings one by one, each ``{"loc": [...], "msg": "..."}``.
        retry_after: Seconds after which trying again makes sense.
        request_id: The edge's id of the request, to quote to the operator.
    """

    code: ClassVar[str] = "error"
    http: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    hint: str = ""

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        details: Sequence[Mapping[str, Any]] = (),
        retry_after: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = self.hint if hint is None else hint
        if self.hint:
            self.add_note(f"What to do: {self.hint}")
        self.details = [dict(detail) for detail in details]
        self.retry_after = retry_after
        self.request_id = request_id

    def _render_traceback_(self) -> list[str]:
        """What IPython prints: a card, and the whole traceback for ``%tb`` or with :data:`full_tracebacks`."""
        return error_card.render(self, full=full_tracebacks)

    def _repr_html_(self) -> str:
        """What a notebook shows where the error is a cell's value."""
        return error_card.html_card(self)


class InvalidInputError(MarketplaceError):
    """What the caller sent or typed does not fit the contract."""

    code = "invalid_input"
    http = 422


class MalformedJsonError(InvalidInputError):
    """The body is not JSON at all."""

    code = "malformed_json"
    http = 400


class ContractsVersionError(InvalidInputError):
    """The client speaks a version of the contracts that this marketplace does not."""

    code = "contracts_version_unsupported"


class BarsError(InvalidInputError):
    """OHLCV bars that cannot be trusted: the message names symbol, row and rule."""

    code = "bars_invalid"


class UnsupportedMediaError(InvalidInputError):
    """The body's content type is none that the route takes."""

    code = "unsupported_media_type"
    http = 415


class TooLargeError(InvalidInputError):
    """The body is larger than the route takes."""

    code = "too_large"
    http = 413


class AuthError(MarketplaceError):
    """No token, or one that is unknown, expired or revoked."""

    code = "unauthorized"
    http = 401
    hint = "Sign in again: m.sign_in() in a notebook, `mp login --device` in a shell."


class TokenExpiredError(AuthError):
    """The token was good once."""

    code = "token_expired"


class ForbiddenError(MarketplaceError):
    """The caller is known, but this is not allowed to it."""

    code = "forbidden"
    http = 403


class AttributionError(ForbiddenError):
    """A vendor or deployment named in a body is not the token's."""

    code = "attribution_mismatch"
    hint = "Leave vendor_id and deployment_id out: the token decides them."


class NotFoundError(MarketplaceError):
    """Absent, or somebody else's: the answer never tells which."""

    code = "not_found"
    http = 404


class NoCurrentRoundError(NotFoundError):
    """The operator has not published a round yet."""

    code = "no_current_round"
    hint = "Ask the operator to publish one: `mp admin round publish --source …`."


class RouteNotFoundError(NotFoundError):
    """No such route."""

    code = "route_not_found"


class MethodNotAllowedError(MarketplaceError):
    """The route exists, for other methods."""

    code = "method_not_allowed"
    http = 405


class ConflictError(MarketplaceError):
    """The thing's present state forbids it."""

    code = "conflict"
    http = 409


class IdempotencyError(ConflictError):
    """The idempotency key was used before, with another body."""

    code = "idempotency_key_reused"
    hint = "Use a new key for a new request, or send the first body again."


class CredentialError(ConflictError):
    """A vendor's account elsewhere (RunPod, Hugging Face, W&B) is not connected, or refuses its key."""

    code = "credential"
    hint = "Connect the account: `mp connections set NAME`."


class BudgetError(MarketplaceError):
    """The budget would not hold."""

    code = "budget_exceeded"
    http = 402


class RateLimitedError(MarketplaceError):
    """Too many requests; ``retry_after`` says when to come back."""

    code = "rate_limited"
    http = 429
    retryable = True


class NotBuiltYetError(MarketplaceError):
    """The contract names this route; this release does not have it yet."""

    code = "not_built_yet"
    http = 501


class UnavailableError(MarketplaceError):
    """Something that the marketplace depends on is down."""

    code = "unavailable"
    http = 503
    retryable = True


class DatabaseDownError(UnavailableError):
    """Postgres does not answer."""

    code = "database_unavailable"


class ProviderError(UnavailableError):
    """The compute provider refused, failed or vanished."""

    code = "provider_unavailable"


class IntegrityError(MarketplaceError):
    """Bytes, checksum or signature do not match what was promised; nothing of it was kept."""

    code = "integrity"
    http = 502


class TransferError(MarketplaceError):
    """A transfer broke off; nothing unfinished was kept as finished."""

    code = "transfer"
    http = 502
    retryable = True


class NetworkError(MarketplaceError):
    """The marketplace could not be reached."""

    code = "network"
    http = 503
    retryable = True
    hint = "Check the URL and that the marketplace runs: `mp doctor`."


class TimeoutExceededError(MarketplaceError):
    """It did not end in the time allowed."""

    code = "timeout"
    http = 504
    retryable = True


class MissingExtraError(MarketplaceError):
    """An optional package is not installed; the hint is the line that installs it."""

    code = "missing_extra"

    @classmethod
    def for_extra(cls, extra: str, what: str) -> MissingExtraError:
        """Builds the error with its exact install line."""
        return cls(f"{what} needs packages that are not installed.", hint=f"pip install 'mp-kit[{extra}]'")


class SetupError(MarketplaceError):
    """This machine, its folders or its settings cannot run what was asked."""

    code = "setup"


class InternalError(MarketplaceError):
    """Our own fault; the request id finds the log line."""

    code = "internal"
    hint = "Quote the request id to the operator."


def _tree(root: type[MarketplaceError]) -> list[type[MarketplaceError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in _tree(child))]


BY_CODE: dict[str, type[MarketplaceError]] = {cls.code: cls for cls in _tree(MarketplaceError)}
"""The class for each code, so that a client raises what the edge meant."""
