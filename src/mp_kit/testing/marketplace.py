"""The fake marketplace: desks, one for each noun, behind one transport."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
from pydantic import ValidationError

from mp_kit import errors
from mp_kit.contracts import (
    CONTRACTS_VERSION,
    CONTRACTS_VERSION_HEADER,
    IDEMPOTENCY_KEY_HEADER,
    REQUEST_ID_HEADER,
    Model,
    Vendor,
    VendorStatus,
    negotiate,
    render_failure,
)
from mp_kit.testing.access import Access, token_of
from mp_kit.testing.connections import ConnectionDesk
from mp_kit.testing.consensus import ConsensusDesk
from mp_kit.testing.deployments import DeploymentDesk
from mp_kit.testing.drops import DropDesk
from mp_kit.testing.keys import KeyDesk, SignInDesk
from mp_kit.testing.lineage import LineageDesk
from mp_kit.testing.models import ModelDesk
from mp_kit.testing.rounds import Shelf, Tables, sample_tables
from mp_kit.testing.routes import routes
from mp_kit.testing.routing import Asked, find
from mp_kit.testing.runs import RunDesk
from mp_kit.testing.scores import ScoreDesk
from mp_kit.testing.signals import SignalBook
from mp_kit.testing.webhooks import WebhookDesk


class FakeMarketplace:
    """An in-memory marketplace.

    Args:
        tables: The round's tables; :func:`sample_tables` by default.
        vendor: The vendor's name.
        now: The clock.

    Attributes:
        url: Root to connect to.
        api_key: The vendor's key.
        transport: The httpx transport that answers.
        requests: ``METHOD path`` of each request, in order.
        routes: What it answers.
        runs: The runs; ``runs.statuses`` is what looks at a run show, one after the other.
        models: The models; ``models.approve`` says the operator's word, one of the gates of prod.
        deployments: The deployments; ``deployments.states`` is what looks at a server show that the marketplace runs.
        book: The stored signals.
        drops: Parquet files of signals, stored as soon as they are put.
        consensus: Blended when it is read; ``consensus.primary`` is the method that is shown first.
        scores: ``scores.entries`` is what the boards show, and what the gate ``scores`` looks at.
        connections: The connected accounts; ``connections.verdict`` is what a test says.
        keys: The vendor's keys.
        sign_in: Codes for those who have none; ``sign_in.verdicts`` is what a waiting program hears.
        webhooks: The endpoints; ``webhooks.taken`` is whether they take what is sent.
        shelf: The round; ``shelf.files`` holds the files' bytes by sha256, for a test to spoil.
    """

    def __init__(
        self,
        tables: Tables | None = None,
        *,
        vendor: str = "ACME",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.url = "http://fake.marketplace"
        self.api_key = f"vk_fake_{secrets.token_hex(8)}"
        self.transport = httpx.MockTransport(self._answer)
        self.requests: list[str] = []
        self.vendor = Vendor(id="ven_fake", name=vendor, status=VendorStatus.ACTIVE, created_at=now())
        self.shelf = Shelf(self.url, tables if tables is not None else sample_tables(), now)
        self.runs = RunDesk(self.url, self.shelf, now)
        self.connections = ConnectionDesk(now)
        self.webhooks = WebhookDesk(now)
        self.scores = ScoreDesk()
        self.keys = KeyDesk(self.vendor, self.api_key, now)
        self.sign_in = SignInDesk(self.url, self.keys, now)
        self.models = ModelDesk(self.runs.get, now)
        self.deployments = DeploymentDesk(self.url, self.vendor.id, self.models, self.runs.files, now)
        self.book = SignalBook(now, self.shelf.signer)
        self.drops = DropDesk(self.url, self.book, now)
        self.lineage = LineageDesk(self.vendor, self.models, self.deployments, self.book, self.scores, self.runs.get)
        self.models.gates = self.lineage.gates
        self.consensus = ConsensusDesk(now, self.vendor, self.book, self.lineage.counted)
        self.access = Access(self.vendor, self.keys, self.deployments, now)
        self.routes = routes(self)
        self._now = now
        self._answers: dict[tuple[str, ...], tuple[bytes, Any]] = {}
        self._failures: list[tuple[str, errors.MarketplaceError]] = []

    def fail(self, error: errors.MarketplaceError, times: int = 1, path: str = "/") -> None:
        """Answers the next requests whose path begins with ``path`` with this error."""
        self._failures += [(path, error)] * times

    def health(self, **more: Any) -> httpx.Response:
        """The one answer without ``data``; ``more`` is what readiness says besides."""
        body = {"service": "fake", "version": "0", "timestamp": self._now().isoformat(), "status": "healthy"}
        return httpx.Response(200, json={"success": True, **body, **more})

    def catalog(self) -> httpx.Response:
        """What is not measured is null here, never absent."""
        found = [entry.model_dump(mode="json") for entry in self.lineage.catalog()]
        return httpx.Response(200, json={"success": True, "data": found, "count": len(found)})

    def token_of(self, asked: Asked) -> str:
        """The token that a request bears."""
        return token_of(asked.request)

    def once(self, asked: Asked, act: Callable[[Any], Any], rows: list[Any] | None = None) -> Any:
        """Same key and body: the first answer again. Same key, other body: refused, or for rows processed."""
        request = asked.request
        key = request.headers.get(IDEMPOTENCY_KEY_HEADER)
        place = (request.url.path, asked.who.deployment_id or asked.who.vendor_id, key or "")
        first = self._answers.get(place)
        if first is not None and first[0] == request.content:
            return first[1]
        if first is not None and rows is None:
            raise errors.IdempotencyError("This idempotency key was used with another body.")
        answer = act(asked.json() if rows is None else rows)
        if first is not None:
            answer = answer.model_copy(update={"idempotency_key_reused": True})
        elif key:
            self._answers[place] = (request.content, answer)
        return answer

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(f"{request.method} {request.url.path}")
        headers = {
            REQUEST_ID_HEADER: request.headers.get(REQUEST_ID_HEADER, secrets.token_hex(8)),
            CONTRACTS_VERSION_HEADER: CONTRACTS_VERSION,
        }
        try:
            negotiate(request.headers.get(CONTRACTS_VERSION_HEADER))
            self._fail_if_told(request.url.path)
            response = self._routed(request)
        except errors.MarketplaceError as error:
            if error.retry_after is not None:
                headers["Retry-After"] = f"{error.retry_after:.0f}"
            response = httpx.Response(error.http, json=render_failure(error, headers[REQUEST_ID_HEADER]))
        except ValidationError as error:
            details = [{"loc": [*found["loc"]], "msg": found["msg"]} for found in error.errors(include_url=False)]
            wrong = errors.InvalidInputError("The body breaks the contract.", details=details)
            response = httpx.Response(wrong.http, json=render_failure(wrong, headers[REQUEST_ID_HEADER]))
        response.headers.update(headers)
        return response

    def _fail_if_told(self, path: str) -> None:
        for index, (prefix, error) in enumerate(self._failures):
            if path.startswith(prefix):
                del self._failures[index]
                raise error

    def _routed(self, request: httpx.Request) -> httpx.Response:
        route, names = find(self.routes, request.method, request.url.path)
        answer = route.answer(Asked(request, self.access.check(request, route.who), names))
        return answer if isinstance(answer, httpx.Response) else _good(answer)


def _good(data: Any) -> httpx.Response:
    def plain(value: Any) -> Any:
        return value.model_dump(mode="json", exclude_none=True) if isinstance(value, Model) else value

    found = [plain(value) for value in data] if isinstance(data, list) else plain(data)
    counted = {"count": len(data)} if isinstance(data, list) else {}
    return httpx.Response(200, json={"success": True, "data": found, **counted})
