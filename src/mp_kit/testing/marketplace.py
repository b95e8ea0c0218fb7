"""The fake marketplace's routes."""

from __future__ import annotations

import json
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
    MANIFEST_KEY_HEADER,
    MANIFEST_SIGNATURE_HEADER,
    REQUEST_ID_HEADER,
    ConnectionWrite,
    DeploymentChange,
    DeploymentRequest,
    DevicePoll,
    DeviceRequest,
    ExchangeRequest,
    HeartbeatWrite,
    KeyRequest,
    Model,
    ModelRegistration,
    RegisteredModel,
    Signal,
    SignedUrlsRequest,
    StageChange,
    TokenRequest,
    Vendor,
    VendorStatus,
    WebhookRequest,
    negotiate,
    render_failure,
)
from mp_kit.testing.connections import ConnectionDesk
from mp_kit.testing.deployments import DeploymentDesk
from mp_kit.testing.keys import KeyDesk, SignInDesk
from mp_kit.testing.rounds import Shelf, Tables, sample_tables
from mp_kit.testing.runs import RunDesk
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
        runs: The runs; ``runs.statuses`` is what looks at a run show, one after the other.
        book: The stored signals.
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
        self._now = now
        self._vendor = Vendor(id="ven_fake", name=vendor, status=VendorStatus.ACTIVE, created_at=now())
        self.shelf = Shelf(self.url, tables if tables is not None else sample_tables(), now)
        self.runs = RunDesk(self.url, self.shelf, now)
        self.book = SignalBook(self._vendor.id, now, self.shelf.signer)
        self.connections = ConnectionDesk(now)
        self.webhooks = WebhookDesk(now)
        self.keys = KeyDesk(self._vendor, self.api_key, now)
        self.sign_in = SignInDesk(self.url, self.keys, now)
        self._desk = DeploymentDesk(now)
        self._models: dict[tuple[str, str], RegisteredModel] = {}
        self._answers: dict[tuple[str, str], tuple[bytes, Any]] = {}
        self._failures: list[tuple[str, errors.MarketplaceError]] = []

    def fail(self, error: errors.MarketplaceError, times: int = 1, path: str = "/") -> None:
        """Answers the next requests whose path begins with ``path`` with this error."""
        self._failures += [(path, error)] * times

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(f"{request.method} {request.url.path}")
        headers = {
            REQUEST_ID_HEADER: request.headers.get(REQUEST_ID_HEADER, secrets.token_hex(8)),
            CONTRACTS_VERSION_HEADER: CONTRACTS_VERSION,
        }
        try:
            negotiate(request.headers.get(CONTRACTS_VERSION_HEADER))
            self._fail_if_told(request.url.path)
            response = self._route(request)
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

    def _route(self, request: httpx.Request) -> httpx.Response:
        parts = request.url.path.strip("/").split("/")
        if parts[0] == "files":
            return self.shelf.serve(request, parts[-1])
        handlers = {
            "health": self._health,
            "catalog": self._catalog,
            "leaderboard": self._catalog,
            "vendors": self._vendors,
            "marketplace": self._marketplace,
            "rounds": self._rounds,
            "datasets": self._datasets,
            "training": self._training,
            "deployments": self._deployments,
            "signals": self._signals,
        }
        handler = handlers.get(parts[1]) if len(parts) > 1 else None
        if handler is None:
            raise errors.RouteNotFoundError(f"No route {request.method} {request.url.path}.")
        return handler(request, parts[2:])

    def _health(self, _request: httpx.Request, _rest: list[str]) -> httpx.Response:
        body = {"service": "fake", "version": "0", "timestamp": self._now().isoformat(), "status": "healthy"}
        return httpx.Response(200, json={"success": True, **body})

    def _catalog(self, _request: httpx.Request, _rest: list[str]) -> httpx.Response:
        return _good([])

    def _vendors(self, request: httpx.Request, rest: list[str]) -> httpx.Response:
        if rest[:1] == ["device"]:
            return self._device(request, rest[1:])
        self._who(request, vendor=True)
        desks = {"webhooks": self._hook, "connections": self._connect, "keys": self._key, "models": self._own_models}
        if rest[0] in desks:
            return desks[rest[0]](request, rest[1:])
        if rest != ["me"]:
            raise errors.RouteNotFoundError(f"No route {request.method} {request.url.path}.")
        return _good(self._vendor)

    def _device(self, request: httpx.Request, rest: list[str]) -> httpx.Response:
        if rest == ["token"]:
            return _good(self.sign_in.poll(DevicePoll.model_validate(_body(request))))
        return _good(self.sign_in.begin(DeviceRequest.model_validate(_body(request))))

    def _own_models(self, request: httpx.Request, rest: list[str]) -> httpx.Response:
        if rest:
            return self._promote(request, rest)
        if request.method == "GET":
            return _good([{"id": model.model_id, "name": name} for (name, _), model in self._models.items()])
        wanted = ModelRegistration.model_validate(_body(request))
        ids = {"model_id": f"mod_{wanted.name}", "version_id": f"ver_{wanted.version}"}
        return _good(self._models.setdefault((wanted.name, wanted.version), RegisteredModel(**ids)))

    def _connect(self, request: httpx.Request, rest: list[str]) -> httpx.Response:
        if not rest:
            return _good(self.connections.all())
        if request.method == "PUT":
            return _good(self.connections.put(rest[0], ConnectionWrite.model_validate(_body(request))))
        verbs = {"GET": self.connections.get, "DELETE": self.connections.remove, "POST": self.connections.test}
        return _good(verbs[request.method](rest[0]))

    def _key(self, request: httpx.Request, rest: list[str]) -> httpx.Response:
        desk, force = self.keys, request.url.params.get("force") == "true"
        if rest[1:] == ["rotate"]:
            return _good(desk.rotate(rest[0], float(request.url.params.get("overlap_hours", "24"))))
        if request.method == "DELETE":
            return _good(desk.revoke(rest[0], force=force) if rest else desk.revoke_all(force=force))
        if request.method == "POST":
            return _good(desk.create(KeyRequest.model_validate(_body(request))))
        return _good(desk.all(_token(request)))

    def _hook(self, request: httpx.Request, rest: list[str]) -> httpx.Response:
        desk, method = self.webhooks, request.method
        if not rest:
            made = method == "POST"
            return _good(desk.create(WebhookRequest.model_validate(_body(request))) if made else desk.all())
        if rest[1:] == ["deliveries"]:
            return _good(desk.deliveries(rest[0], request.url.params.get("status")))
        if rest[1:2] == ["deliveries"]:
            return _good(desk.replay(rest[0], rest[2]))
        if rest[1:] == ["rotate"]:
            return _good(desk.rotate(rest[0], float(request.url.params.get("overlap_hours", "24"))))
        if rest[1:]:
            return _good({"enable": desk.enable, "test": desk.test}[rest[1]](rest[0]))
        return _good(desk.remove(rest[0]) if method == "DELETE" else desk.get(rest[0]))

    def _promote(self, request: httpx.Request, rest: list[str]) -> httpx.Response:
        change = StageChange.model_validate(_body(request))
        for key, model in self._models.items():
            if [model.model_id, model.version_id] == [rest[0], rest[2]]:
                self._models[key] = model.model_copy(update={"stage": change.stage})
                return _good(self._models[key])
        raise errors.NotFoundError("No such version.")

    def _marketplace(self, request: httpx.Request, rest: list[str]) -> httpx.Response:
        if rest == ["vendor", "auth", "exchange"]:
            return _good(self.sign_in.exchange(ExchangeRequest.model_validate(_body(request))))
        self._who(request)
        if request.method == "GET":
            return _good(self._vendor)
        return _good(self._desk.beat(HeartbeatWrite.model_validate(_body(request))))

    def _rounds(self, _request: httpx.Request, rest: list[str]) -> httpx.Response:
        if rest == ["keys"]:
            return _good({"keys": [self.shelf.signer.public.model_dump()]})
        if not rest:
            return _good({"rounds": [self.shelf.round().model_dump(mode="json")]})
        self.shelf.check(rest[0])
        if rest[1:] == ["manifest"]:
            signed = self.shelf.signer.sign_manifest(self.shelf.manifest_bytes)
            headers = {MANIFEST_KEY_HEADER: signed.key_id, MANIFEST_SIGNATURE_HEADER: signed.signature}
            return httpx.Response(200, content=self.shelf.manifest_bytes, headers=headers)
        return _good(self.shelf.round())

    def _datasets(self, request: httpx.Request, _rest: list[str]) -> httpx.Response:
        self._who(request)
        return _good(self.shelf.signed_urls(SignedUrlsRequest.model_validate(_body(request))))

    def _training(self, request: httpx.Request, rest: list[str]) -> httpx.Response:
        who = self._who(request, vendor=True)
        if rest == ["runs"]:
            return _good(self.runs.looks()) if request.method == "GET" else self._once(request, who, self.runs.start)
        if rest == ["estimate"]:
            return _good(self.runs.estimate(_body(request)))
        if rest[2:] == ["logs"]:
            return self._logs(request, rest[1])
        if rest[2:] == ["events"]:
            return _good(self.runs.events(rest[1]))
        if rest[2:] == ["cancel"]:
            return _good(self.runs.cancel(rest[1]))
        return _good(self.runs.look(rest[1]))

    def _logs(self, request: httpx.Request, run_id: str) -> httpx.Response:
        after = int(request.url.params.get("after", "0"))
        if self.runs.streams and "text/event-stream" in request.headers.get("Accept", ""):
            last = int(request.headers.get("Last-Event-ID", after))
            headers = {"Content-Type": "text/event-stream; charset=utf-8"}
            return httpx.Response(200, content=self.runs.stream(run_id, last), headers=headers)
        return _good(self.runs.logs(run_id, after))

    def _deployments(self, request: httpx.Request, rest: list[str]) -> httpx.Response:
        self._who(request, vendor=True)
        if not rest:
            made = request.method == "POST"
            return _good(
                self._desk.create(DeploymentRequest.model_validate(_body(request))) if made else self._desk.all()
            )
        known = self._desk.get(rest[0])
        if rest[1:] == ["infra-token"]:
            return _good(self._desk.issue(known, TokenRequest.model_validate(_body(request))))
        if request.method == "PATCH":
            return _good(self._desk.change(known, DeploymentChange.model_validate(_body(request))))
        return _good([] if rest[1:] == ["polls"] else known)

    def _signals(self, request: httpx.Request, rest: list[str]) -> httpx.Response:
        if request.method == "GET":
            return self._read_signals(request)
        who = self._who(request)
        if rest != ["store"] or who == self._vendor.id:
            raise errors.ForbiddenError("Signals need a deployment token.", hint="Pass token=deployment.")
        atomic = request.url.params.get("atomic") == "true"
        return self._once(request, who, lambda body: self.book.store(body, who, atomic=atomic), strict=False)

    def _read_signals(self, request: httpx.Request) -> httpx.Response:
        self._who(request, vendor=True)
        if request.url.path.endswith("/receipts"):
            wanted = request.url.params.get("deployment_id")
            chains = [chain for name, chain in sorted(self.book.receipts.items()) if wanted in {None, name}]
            return _good([receipt for chain in chains for receipt in chain])
        asked = {name: request.url.params.get(name) for name in ("symbol", "timeframe", "deployment_id")}

        def fits(signal: Signal) -> bool:
            return all(value in {None, getattr(signal, name)} for name, value in asked.items())

        return _good([signal for signal in self.book.signals.values() if fits(signal)])

    def _once(
        self, request: httpx.Request, who: str, act: Callable[[Any], Any], *, strict: bool = True
    ) -> httpx.Response:
        """Same key and body: the first answer again. Same key, other body: refused, or for signals processed."""
        key = request.headers.get(IDEMPOTENCY_KEY_HEADER)
        first = self._answers.get((who, key or ""))
        if first is not None and first[0] == request.content:
            return _good(first[1])
        if first is not None and strict:
            raise errors.IdempotencyError("This idempotency key was used with another body.")
        answer = act(_body(request))
        if first is not None:
            answer = answer.model_copy(update={"idempotency_key_reused": True})
        elif key:
            self._answers[who, key] = (request.content, answer)
        return _good(answer)

    def _who(self, request: httpx.Request, *, vendor: bool = False) -> str:
        token = _token(request)
        if self.keys.opens(token):
            return self._vendor.id
        if token not in self._desk.tokens:
            raise errors.AuthError("The token is missing, unknown or revoked.")
        if vendor:
            raise errors.ForbiddenError("A deployment token does not reach this route.")
        return self._desk.tokens[token]


def _good(data: Any) -> httpx.Response:
    def plain(value: Any) -> Any:
        return value.model_dump(mode="json", exclude_none=True) if isinstance(value, Model) else value

    found = [plain(value) for value in data] if isinstance(data, list) else plain(data)
    return httpx.Response(200, json={"success": True, "data": found})


def _token(request: httpx.Request) -> str:
    return str(request.headers.get("Authorization", "")).removeprefix("Bearer ")


def _body(request: httpx.Request) -> Any:
    try:
        return json.loads(request.content)
    except ValueError:
        raise errors.MalformedJsonError("The body is no JSON.") from None
