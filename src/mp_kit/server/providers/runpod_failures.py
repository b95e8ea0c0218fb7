"""RunPod's refusals and httpx's failures in our words, mapped here and nowhere else.

1. Only two things are told apart of a request that got no answer: it surely did nothing, or it may have.
2. What RunPod says is quoted, shortened, and never with the key or a value of the pod's environment in it.
3. A 403 that is no ``application/problem+json`` comes from the network edge before RunPod, not from RunPod.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from mp_kit.errors import (
    BudgetError,
    ConflictError,
    CredentialError,
    ForbiddenError,
    InvalidInputError,
    MarketplaceError,
    NotFoundError,
    ProviderError,
    SetupError,
    TooLargeError,
    UnavailableError,
)
from mp_kit.masking import storable
from mp_kit.server.providers.base import PacedError
from mp_kit.server.providers.runpod_wire import decode, money
from mp_kit.server.redaction import redact

__all__ = ["CONNECT", "Answer", "failure_of", "scrub", "sent"]

CONNECT = "Connect the account again: `mp connections set runpod`."
_QUOTED_CHARS = 500
_SHORTEST_SECRET = 6
_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
)
_CAPACITY = re.compile(
    r"no longer any instances|no (?:\w+ )?(?:instances|machines|hosts|capacity|resources)\b|out of (?:stock|capacity)"
    r"|(?:insufficient|not enough|no available) (?:capacity|resources|gpus?|machines)|(?:currently|is) unavailable",
    re.IGNORECASE,
)
_TOLD: dict[int, tuple[type[MarketplaceError], str, str | None]] = {
    400: (InvalidInputError, "RunPod refuses the request: {}", None),
    401: (CredentialError, "RunPod does not accept the vendor's API key.", CONNECT),
    402: (BudgetError, "The RunPod account has no balance left: {}", "Top up the account at RunPod."),
    403: (ForbiddenError, "RunPod does not allow this to the vendor's API key: {}", None),
    404: (NotFoundError, "RunPod does not know it: {}", None),
    409: (ConflictError, "RunPod refuses it in the pod's present state: {}", None),
    413: (TooLargeError, "RunPod finds the request too large: {}", None),
    422: (InvalidInputError, "RunPod finds the request malformed: {}", None),
}
_RETIRED = "This version of RunPod's API is retired (410)."


@dataclass(frozen=True)
class Answer:
    """What came back for a request.

    Attributes:
        status: HTTP status.
        document: The body, if it was JSON.
        retry_after: Seconds that RunPod asks to wait.
        is_problem: The body is an RFC 9457 problem.
        told: RunPod's own sentence, without secrets.
    """

    status: int
    document: Any = field(repr=False)
    retry_after: float | None = None
    is_problem: bool = False
    told: str = ""

    @classmethod
    def read(cls, response: httpx.Response, secrets: Collection[str]) -> Answer:
        """Takes the parts of a response that matter."""
        document = decode(response.content) if response.content else None
        problem = document if isinstance(document, Mapping) else {}
        wait = money(response.headers.get("retry-after"))
        return cls(
            status=response.status_code,
            document=document,
            retry_after=max(float(wait), 0.0) if wait is not None else None,
            is_problem="problem+json" in response.headers.get("content-type", "") or "detail" in problem,
            told=scrub(_sentence(problem), secrets),
        )

    @property
    def is_success(self) -> bool:
        """RunPod did it."""
        return 200 <= self.status < 300  # noqa: PLR2004 - HTTP's own bounds

    @property
    def may_have_worked(self) -> bool:
        """Neither a yes nor a clear no."""
        return self.status >= 500 or (self.is_success and not isinstance(self.document, Mapping))  # noqa: PLR2004 - HTTP

    @property
    def lacks_capacity(self) -> bool:
        """A 400 that says that there is no machine of this kind now: only its text tells."""
        return self.status == 400 and bool(_CAPACITY.search(self.told))  # noqa: PLR2004 - HTTP


def _sentence(problem: Mapping[str, Any]) -> str:
    told = problem.get("detail") or problem.get("title") or problem.get("message") or problem.get("error") or ""
    more = [str(item) for item in problem.get("errors") or ()]
    return "; ".join([str(told), *more])


def scrub(text: str, secrets: Collection[str]) -> str:
    """Shortens a text from outside, and takes out of it secrets and what cannot be stored."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
    text = " ".join(redact(storable(text)).split())
    return text if len(text) <= _QUOTED_CHARS else f"{text[:_QUOTED_CHARS]}…"


def failure_of(answer: Answer) -> MarketplaceError:
    """The error that an answer means.

    Returns:
        CredentialError (401), BudgetError (402), ForbiddenError (403), NotFoundError (404), ConflictError (409),
        SetupError (410), TooLargeError (413), InvalidInputError (400, 422), PacedError (429), else ProviderError.
    """
    said = answer.told or f"HTTP {answer.status} without a reason"
    if answer.status == 410:  # noqa: PLR2004 - HTTP
        return SetupError(_RETIRED, hint="Set MP_RUNPOD_URL to a version that RunPod serves, or update mp-kit.")
    if answer.status in _TOLD and (answer.is_problem or answer.status != 403):  # noqa: PLR2004 - HTTP
        kind, text, hint = _TOLD[answer.status]
        return kind(text.format(said), hint=hint)
    if answer.status == 429:  # noqa: PLR2004 - HTTP
        return PacedError("RunPod allows no more requests for now.", retry_after=answer.retry_after)
    return ProviderError(f"RunPod failed with HTTP {answer.status}: {said}", retry_after=answer.retry_after)


@contextmanager
def sent(what: str) -> Iterator[None]:
    """Turns a failure of httpx into ours.

    Raises:
        ProviderError: The request never left.
        UnavailableError: It may have left, and may have been obeyed.
    """
    try:
        yield
    except _NEVER_SENT as error:
        raise ProviderError(f"RunPod cannot be reached ({type(error).__name__}): {what}.") from error
    except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL) as error:
        raise UnavailableError(f"RunPod gave no answer ({type(error).__name__}): {what}.") from error
