"""The one way to the marketplace's API.

1. Retried are only requests that are harmless to repeat: GETs, those that carry an idempotency key, and those whose
   caller says that they are idempotent by identity.
2. Waits are jittered, grow, honour ``Retry-After`` and are bounded in number and in sum.
3. A token is never part of a repr, a message or a URL.
"""

from __future__ import annotations

import copy
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import httpx
from pydantic import BaseModel, SecretStr, TypeAdapter, ValidationError

from mp_kit.client.failures import failure_of, translated
from mp_kit.contracts.headers import (
    CONTRACTS_VERSION_HEADER,
    DRY_RUN_HEADER,
    IDEMPOTENCY_KEY_HEADER,
    REQUEST_ID_HEADER,
)
from mp_kit.contracts.idempotency import check_idempotency_key
from mp_kit.contracts.versions import CONTRACTS_VERSION
from mp_kit.errors import InternalError, InvalidInputError, MarketplaceError
from mp_kit.version import __version__

T = TypeVar("T")
USER_AGENT = f"mp-kit/{__version__} (python)"
FIRST_REFUSAL = 300
PAGE = 200
HASTY_SECONDS = 2.0


@dataclass(frozen=True)
class Patience:
    """How long to go on trying.

    Args:
        attempts: Times a request is sent at most.
        first_wait: Upper bound of the first wait, in seconds; it doubles each time.
        longest_wait: Upper bound of each wait, in seconds.
        total_wait: Upper bound of all waits together, in seconds.
    """

    attempts: int = 4
    first_wait: float = 0.5
    longest_wait: float = 20.0
    total_wait: float = 60.0

    def wait(self, attempt: int, asked: float | None) -> float:
        """Seconds to wait after the attempt of this number (from 1); a server's wish is a lower bound."""
        drawn = random.uniform(0.5, 1.0) * min(self.longest_wait, self.first_wait * 2.0 ** (attempt - 1))  # noqa: S311 - jitter needs no secrecy
        return max(drawn, asked or 0.0)


@dataclass(frozen=True)
class Reply:
    """A good answer.

    Args:
        data: What the envelope carried.
        next_cursor: Where the next page begins, if there is one.
        headers: The answer's headers.
        body: The answer's exact bytes.
    """

    data: Any
    next_cursor: str | None
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class Call:
    """A request before it is sent.

    Args:
        method: GET, POST …
        path: Path under the base URL; parts that came from a user are quoted by :func:`path`.
        params: Query; ``None`` values are left out.
        json: Body.
        content: Body as exact bytes of JSON, in place of ``json``.
        idempotency_key: Makes repeating harmless.
        repeatable: Repeating is harmless by the resource's identity.
        token: Takes the place of the client's own token; ``None`` means the own one.
        raw: The answer is no envelope; only its bytes matter.
        dry_run: The marketplace does all of it and takes it back.
    """

    method: str
    path: str
    params: Mapping[str, Any] | None = None
    json: Any = None
    content: bytes | None = field(default=None, repr=False)
    idempotency_key: str | None = None
    repeatable: bool = False
    token: SecretStr | None = field(default=None, repr=False)
    raw: bool = False
    dry_run: bool = False

    @property
    def is_repeatable(self) -> bool:
        """Sending it twice does what sending it once does."""
        return self.method in {"GET", "HEAD"} or self.idempotency_key is not None or self.repeatable


class Api:
    """Sends requests to one marketplace and reads its envelope.

    Args:
        base_url: Root of the marketplace, such as ``http://127.0.0.1:3010``.
        token: ``vk_`` or ``sit_`` token, or none for public routes.
        transport: An httpx transport in place of the network.
        timeout: Seconds for each of connect, read, write.
        patience: How long to go on trying.
        sleep: Waits; tests pass their own.
        clock: What time it is where a request has to say so.

    Raises:
        InvalidInputError: The URL is no http(s) URL, or carries a user name or password.
    """

    def __init__(
        self,
        base_url: str,
        token: str | SecretStr | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        timeout: float = 30.0,
        patience: Patience | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.base_url = _checked(base_url)
        self.now = clock
        self._token = secret(token)
        self._patience = patience or Patience()
        self._sleep = sleep
        self._timeout: Any = httpx.USE_CLIENT_DEFAULT
        headers = {"User-Agent": USER_AGENT, CONTRACTS_VERSION_HEADER: CONTRACTS_VERSION, "Accept": "application/json"}
        self._http = httpx.Client(base_url=self.base_url, transport=transport, timeout=timeout, headers=headers)

    def __repr__(self) -> str:
        return f"Api({self.base_url!r}, token={'set' if self._token else 'none'})"

    @property
    def has_token(self) -> bool:
        """A token is there; whether it is good only the marketplace knows."""
        return self._token is not None

    @property
    def token(self) -> SecretStr | None:
        """The client's own token."""
        return self._token

    def use(self, token: SecretStr) -> None:
        """From now on requests bear this token."""
        self._token = token

    def hasty(self, seconds: float = HASTY_SECONDS) -> Api:
        """The same for a question that may stay without an answer: asked once, with so long to connect and to read."""
        other = copy.copy(self)
        other._patience, other._timeout = Patience(attempts=1), seconds  # noqa: SLF001 - our own class
        return other

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def send(self, call: Call) -> Reply:
        """Sends a request, again where that is harmless and may help.

        Raises:
            MarketplaceError: The class of :data:`mp_kit.errors.BY_CODE` for the answer's code, or NetworkError or
                TimeoutExceededError when none came.
        """
        request_id, waited, attempt = uuid.uuid4().hex, 0.0, 0
        while True:
            attempt += 1
            try:
                return self._once(call, request_id)
            except MarketplaceError as error:
                wait = self._patience.wait(attempt, error.retry_after)
                spent = attempt >= self._patience.attempts or waited + wait > self._patience.total_wait
                if spent or not (error.retryable and call.is_repeatable):
                    raise
                waited += wait
                self._sleep(wait)

    def get(self, model: type[T], where: str, **params: Any) -> T:
        """GETs a resource and reads it as ``model`` (a contract, or ``list[contract]``)."""
        return read(model, self.send(Call("GET", where, params=params)), where)

    @contextmanager
    def stream(
        self, where: str, *, params: Mapping[str, Any], headers: Mapping[str, str], read_timeout: float
    ) -> Iterator[httpx.Response]:
        """GETs something that has no end of its own, once; the body is read by the caller, inside the block.

        Args:
            where: Path under the base URL.
            params: Query.
            headers: Besides the usual ones.
            read_timeout: Seconds without a byte after which the connection counts as dead.

        Raises:
            MarketplaceError: As of :meth:`send`; also while the body is read.
        """
        what = f"GET {self.base_url}{where}"
        usual = self._http.timeout
        timeout = httpx.Timeout(connect=usual.connect, write=usual.write, pool=usual.pool, read=read_timeout)
        sent = {**self._headers(Call("GET", where), uuid.uuid4().hex), **headers}
        with (
            translated(what),
            self._http.stream("GET", where, params=dict(params), headers=sent, timeout=timeout) as response,
        ):
            if response.status_code >= FIRST_REFUSAL:
                raise failure_of(what, response.status_code, response.headers, response.read())
            yield response

    def pages(self, model: type[T], where: str, limit: int, **params: Any) -> list[T]:
        """GETs a list page by page, at most ``limit`` entries."""
        found: list[T] = []
        cursor: str | None = None
        while len(found) < limit:
            asked = {**params, "limit": min(PAGE, limit - len(found)), "cursor": cursor}
            reply = self.send(Call("GET", where, params=asked))
            found += read(list[model], reply, where)  # type: ignore[valid-type]  # a type made at run time
            cursor = reply.next_cursor
            if cursor is None:
                break
        return found[:limit]

    def _once(self, call: Call, request_id: str) -> Reply:
        what = f"{call.method} {self.base_url}{call.path}"
        params = {key: value for key, value in (call.params or {}).items() if value is not None}
        with translated(what):
            response = self._http.request(
                call.method,
                call.path,
                params=params,
                json=call.json,
                content=call.content,
                headers=self._headers(call, request_id),
                timeout=self._timeout,
            )
        if response.status_code >= FIRST_REFUSAL:
            raise failure_of(what, response.status_code, response.headers, response.content)
        if call.raw:
            return Reply(None, None, response.headers, response.content)
        return _open(what, response)

    def _headers(self, call: Call, request_id: str) -> dict[str, str]:
        headers = {REQUEST_ID_HEADER: request_id}
        if call.content is not None:
            headers["Content-Type"] = "application/json"
        token = call.token or self._token
        if token is not None:
            headers["Authorization"] = f"Bearer {token.get_secret_value()}"
        if key := check_idempotency_key(call.idempotency_key):
            headers[IDEMPOTENCY_KEY_HEADER] = key
        if call.dry_run:
            headers[DRY_RUN_HEADER] = "true"
        return headers


def path(*parts: str) -> str:
    """Joins path segments; each is quoted, so that an id can't walk to another route.

    Raises:
        InvalidInputError: A segment is empty or made of dots.
    """
    for part in parts:
        if not part.strip(". "):
            raise InvalidInputError(f"An id is missing: got {part!r}.", hint="Pass the id that the list shows.")
    return "/api/" + "/".join(quote(part, safe="") for part in parts)


def secret(token: str | SecretStr | None) -> SecretStr | None:
    """Wraps a token so that no repr shows it; an empty one is none."""
    if isinstance(token, SecretStr):
        return token
    return SecretStr(token.strip()) if token and token.strip() else None


def read(model: type[T], reply: Reply, where: str) -> T:
    """Reads an answer's data as a contract.

    Raises:
        InternalError: The answer does not fit the contract.
    """
    try:
        if isinstance(model, type) and issubclass(model, BaseModel):
            return model.model_validate(reply.data)
        return TypeAdapter(model).validate_python(reply.data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InternalError(
            f"The answer of {where} does not fit contracts {CONTRACTS_VERSION}: {place}: {first['msg']}.",
            request_id=reply.headers.get(REQUEST_ID_HEADER),
        ) from None


def _open(what: str, response: httpx.Response) -> Reply:
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict) or body.get("success") is not True:
        raise InternalError(
            f"{what} answered 200 without the marketplace's envelope.",
            hint="Is the URL the marketplace's own, without a proxy or a login page before it?",
        )
    return Reply(body.get("data", body), body.get("next_cursor"), response.headers, response.content)


def _checked(base_url: str) -> str:
    parts = urlsplit(base_url.strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InvalidInputError(
            f"{parts.hostname or base_url[:60]!r} is no URL of a marketplace.",
            hint="Pass scheme and host, such as http://127.0.0.1:3010.",
        )
    if parts.username or parts.password:
        raise InvalidInputError("The marketplace's URL carries a user name or password.", hint="Pass the key as token.")
    return base_url.strip().rstrip("/")
