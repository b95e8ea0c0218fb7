"""The fake's routes: each a line, by noun; the desks do the work. The order matters where a word may be a name."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import httpx
from pydantic import TypeAdapter, ValidationError

from mp_kit import errors
from mp_kit.contracts import (
    DRY_RUN_HEADER,
    MANIFEST_KEY_HEADER,
    MANIFEST_SIGNATURE_HEADER,
    ConnectionWrite,
    DeploymentChange,
    DeploymentRequest,
    DevicePoll,
    DeviceRequest,
    DropRequest,
    ExchangeRequest,
    HeartbeatWrite,
    Instant,
    IntrospectRequest,
    KeyRequest,
    LoginRequest,
    ModelRegistration,
    RegisteredModel,
    RotateRequest,
    RoundList,
    Signal,
    SignedUrlsRequest,
    StageChange,
    TokenRequest,
    ValidationReport,
    WebhookRequest,
)
from mp_kit.testing.models import registered
from mp_kit.testing.routing import Asked, Route, Who

if TYPE_CHECKING:
    from mp_kit.testing.marketplace import FakeMarketplace

_INSTANT: TypeAdapter[datetime] = TypeAdapter(Instant)
_FOUND = 200


def routes(m: FakeMarketplace) -> list[Route]:
    """All of them."""
    nouns = (
        _public,
        _sign_in,
        _keys,
        _connections,
        _webhooks,
        _models,
        _deployments,
        _rounds,
        _runs,
        _signals,
        _consensus,
    )
    return [route for noun in nouns for route in noun(m)]


def _public(m: FakeMarketplace) -> list[Route]:
    everybody = functools.partial(Route, who=Who.EVERYBODY)
    return [
        everybody("GET", "/api/health", lambda _: m.health()),
        everybody("GET", "/api/health/live", lambda _: m.health()),
        everybody("GET", "/api/health/ready", lambda _: m.health(checks={}, versions={})),
        everybody("GET", "/api/catalog", lambda _: m.catalog()),
        everybody("GET", "/api/leaderboard", lambda a: m.scores.board(a.query("timeframe"), _limit(a))),
        Route("GET", "/api/vendors/scores", lambda a: m.scores.own(a.query("timeframe"), _limit(a))),
        everybody(
            "POST", "/api/tokens/introspect", lambda a: m.access.introspect(a.request, a.read(IntrospectRequest))
        ),
    ]


def _sign_in(m: FakeMarketplace) -> list[Route]:
    post = functools.partial(Route, "POST", who=Who.EVERYBODY)
    auth = "/api/marketplace/vendor/auth"
    return [
        *(
            Route("GET", path, lambda _: m.vendor, Who.EITHER)
            for path in ("/api/vendors/me", "/api/marketplace/vendor/me")
        ),
        post("/api/vendors/login", lambda a: m.access.login(a.read(LoginRequest))),
        post(f"{auth}/validate", lambda a: m.access.validate(a.read(LoginRequest))),
        post(f"{auth}/rotate", lambda a: m.access.rotate(a.read(RotateRequest))),
        post(f"{auth}/exchange", lambda a: m.sign_in.exchange(a.read(ExchangeRequest))),
        post("/api/vendors/device", lambda a: m.sign_in.begin(a.read(DeviceRequest))),
        post("/api/vendors/device/token", lambda a: m.sign_in.poll(a.read(DevicePoll))),
    ]


def _keys(m: FakeMarketplace) -> list[Route]:
    keys, desk = "/api/vendors/keys", m.keys
    return [
        Route("GET", keys, lambda a: desk.all(m.token_of(a))),
        Route("POST", keys, lambda a: desk.create(a.read(KeyRequest))),
        Route("DELETE", keys, lambda a: desk.revoke_all(force=a.says("force"))),
        Route("POST", f"{keys}/{{key_id}}/rotate", lambda a: desk.rotate(a["key_id"], _overlap(a))),
        Route("DELETE", f"{keys}/{{key_id}}", lambda a: desk.revoke(a["key_id"], force=a.says("force"))),
    ]


def _connections(m: FakeMarketplace) -> list[Route]:
    desk, all_of_them = m.connections, "/api/vendors/connections"
    one = f"{all_of_them}/{{name}}"
    return [
        Route("GET", all_of_them, lambda _: desk.all()),
        Route("GET", one, lambda a: desk.get(a["name"])),
        Route("PUT", one, lambda a: desk.put(a["name"], a.read(ConnectionWrite))),
        Route("DELETE", one, lambda a: desk.remove(a["name"])),
        Route("POST", f"{one}/test", lambda a: desk.test(a["name"])),
    ]


def _webhooks(m: FakeMarketplace) -> list[Route]:
    desk, hooks = m.webhooks, "/api/vendors/webhooks"
    one = f"{hooks}/{{webhook_id}}"
    sent = f"{one}/deliveries"
    return [
        Route("GET", hooks, lambda _: desk.all()),
        Route("POST", hooks, lambda a: desk.create(a.read(WebhookRequest))),
        Route("GET", one, lambda a: desk.get(a["webhook_id"])),
        Route("DELETE", one, lambda a: desk.remove(a["webhook_id"])),
        Route("POST", f"{one}/rotate", lambda a: desk.rotate(a["webhook_id"], _overlap(a))),
        Route("POST", f"{one}/enable", lambda a: desk.enable(a["webhook_id"])),
        Route("POST", f"{one}/test", lambda a: desk.test(a["webhook_id"])),
        Route("GET", sent, lambda a: desk.deliveries(a["webhook_id"], a.query("status"))),
        Route("POST", f"{sent}/{{delivery_id}}/replay", lambda a: desk.replay(a["webhook_id"], a["delivery_id"])),
    ]


def _models(m: FakeMarketplace) -> list[Route]:
    desk, models = m.models, "/api/vendors/models"
    version = f"{models}/{{model_id}}/versions/{{version}}"
    return [
        Route("GET", models, lambda _: desk.list()),
        Route("POST", models, lambda a: _register(m, a.read(ModelRegistration))),
        Route("PATCH", version, lambda a: desk.change(a["model_id"], a["version"], a.read(StageChange))),
        Route(
            "POST",
            f"{version}/validations",
            lambda a: desk.validate(a["model_id"], a["version"], a.read(ValidationReport)),
        ),
        Route("GET", f"{models}/{{model_id}}/lineage", lambda a: m.lineage.of(a["model_id"])),
    ]


def _register(m: FakeMarketplace, wanted: ModelRegistration) -> RegisteredModel:
    if wanted.deployment_id is not None:
        m.deployments.get(wanted.deployment_id)
    version = m.models.register(wanted)
    if wanted.deployment_id is not None:
        m.deployments.assign(wanted.deployment_id, version)
    return registered(version)


def _deployments(m: FakeMarketplace) -> list[Route]:
    desk, deployments = m.deployments, "/api/deployments"
    one = f"{deployments}/{{deployment_id}}"

    def at(method: str, path: str, answer: Callable[[str, Asked], Any]) -> Route:
        return Route(method, path, lambda a: answer(a["deployment_id"], a))

    beats = ("/api/vendors/heartbeats", "/api/marketplace/vendor/heartbeats")
    return [
        Route("GET", deployments, lambda _: desk.all()),
        Route("POST", deployments, lambda a: desk.create(a.read(DeploymentRequest))),
        at("GET", one, lambda name, _: desk.look(name)),
        at("GET", f"{one}/status", lambda name, _: desk.look(name)),
        at("PATCH", one, lambda name, a: desk.change(name, a.read(DeploymentChange))),
        at("GET", f"{one}/logs", lambda name, a: desk.logs(name, _limit(a, "tail"))),
        at("GET", f"{one}/polls", lambda name, _: desk.polls(name)),
        Route("GET", f"{one}/model", lambda a: _served(m, a), Who.EITHER),
        at("POST", f"{one}/infra-token", lambda name, a: desk.issue(name, a.read(TokenRequest))),
        at("DELETE", f"{one}/infra-token", lambda name, _: {"revoked": desk.revoke(name)}),
        *(Route("POST", path, lambda a: desk.beat(a.read(HeartbeatWrite), a.who), Who.EITHER) for path in beats),
    ]


def _served(m: FakeMarketplace, asked: Asked) -> Any:
    deployment_id = asked["deployment_id"]
    if asked.who.deployment_id not in {None, deployment_id}:
        raise errors.NotFoundError(f"There is no deployment {deployment_id!r}.")
    return m.deployments.served(deployment_id)


def _rounds(m: FakeMarketplace) -> list[Route]:
    everybody, rounds = functools.partial(Route, who=Who.EVERYBODY), "/api/rounds"
    return [
        Route("GET", rounds, lambda _: RoundList(rounds=[m.shelf.round()]), Who.EITHER),
        everybody("GET", f"{rounds}/keys", lambda _: {"keys": [m.shelf.signer.public.model_dump()]}),
        everybody("GET", f"{rounds}/{{round_id}}", lambda a: _round(m, a["round_id"])),
        everybody("GET", f"{rounds}/{{round_id}}/manifest", lambda a: _manifest(m, a["round_id"])),
        Route(
            "POST", "/api/datasets/signed-urls", lambda a: m.shelf.signed_urls(a.read(SignedUrlsRequest)), Who.EITHER
        ),
        everybody("GET", "/files/{digest}", lambda a: m.shelf.serve(a.request, a["digest"])),
        everybody("PUT", "/files/inbox/{deployment_id}/{name}", lambda a: _put(m, a)),
    ]


def _round(m: FakeMarketplace, round_id: str) -> Any:
    m.shelf.check(round_id)
    return m.shelf.round()


def _manifest(m: FakeMarketplace, round_id: str) -> httpx.Response:
    m.shelf.check(round_id)
    signed = m.shelf.signer.sign_manifest(m.shelf.manifest_bytes)
    headers = {MANIFEST_KEY_HEADER: signed.key_id, MANIFEST_SIGNATURE_HEADER: signed.signature}
    return httpx.Response(_FOUND, content=m.shelf.manifest_bytes, headers=headers)


def _put(m: FakeMarketplace, asked: Asked) -> httpx.Response:
    m.drops.put(asked["deployment_id"], asked["name"], asked.request.content)
    return httpx.Response(_FOUND)


def _runs(m: FakeMarketplace) -> list[Route]:
    desk, runs = m.runs, "/api/training/runs"
    one = f"{runs}/{{run_id}}"
    return [
        Route("GET", runs, lambda _: desk.looks()),
        Route("POST", runs, lambda a: m.once(a, desk.start)),
        Route("POST", "/api/training/estimate", lambda a: desk.estimate(a.json())),
        Route("GET", one, lambda a: desk.look(a["run_id"])),
        Route("POST", f"{one}/cancel", lambda a: desk.cancel(a["run_id"])),
        Route("POST", f"{one}/environment", lambda a: desk.environment(a["run_id"])),
        Route("GET", f"{one}/logs", lambda a: _logs(m, a)),
        Route("GET", f"{one}/events", lambda a: desk.events(a["run_id"])),
    ]


def _logs(m: FakeMarketplace, asked: Asked) -> Any:
    run_id, after = asked["run_id"], int(asked.query("after", "0"))
    if m.runs.streams and "text/event-stream" in asked.request.headers.get("Accept", ""):
        last = int(asked.request.headers.get("Last-Event-ID", after))
        headers = {"Content-Type": "text/event-stream; charset=utf-8"}
        return httpx.Response(_FOUND, content=m.runs.stream(run_id, last), headers=headers)
    return m.runs.logs(run_id, after)


def _signals(m: FakeMarketplace) -> list[Route]:
    store = functools.partial(Route, "POST", who=Who.DEPLOYMENT)
    return [
        store("/api/signals/store", lambda a: _store(m, a)),
        Route("GET", "/api/signals", lambda a: m.book.said(_fitting(a))[: _limit(a)]),
        Route("GET", "/api/signals/receipts", lambda a: m.book.chains(a.query("deployment_id"))),
        store("/api/signals/drops", lambda a: m.drops.announce(a.read(DropRequest), a.who)),
        Route(
            "GET",
            "/api/signals/drops",
            lambda a: m.drops.all(a.query("name"), a.who.deployment_id or a.query("deployment_id")),
            Who.EITHER,
        ),
    ]


def _store(m: FakeMarketplace, asked: Asked) -> Any:
    rows, atomic = asked.rows(arrow=True), asked.says("atomic")
    if asked.request.headers.get(DRY_RUN_HEADER, "").lower() in {"1", "true", "yes"}:
        return m.book.push(rows, asked.who, atomic=atomic, dry=True)
    return m.once(asked, lambda _: m.book.push(rows, asked.who, atomic=atomic), rows=rows)


def _fitting(asked: Asked) -> Callable[[Signal], bool]:
    named = {name: asked.query(name) for name in ("symbol", "timeframe", "deployment_id")}
    since, until = _instant(asked, "from"), _instant(asked, "to")

    def fits(signal: Signal) -> bool:
        bar = signal.event_time
        mine = all(value in {None, getattr(signal, name)} for name, value in named.items())
        return mine and (since is None or bar >= since) and (until is None or bar < until)

    return fits


def _consensus(m: FakeMarketplace) -> list[Route]:
    desk, everybody = m.consensus, functools.partial(Route, who=Who.EVERYBODY)

    def history(a: Asked) -> Any:
        named = {name: a.query(name) for name in ("symbol", "timeframe")}
        span = {"since": _instant(a, "from"), "until": _instant(a, "to")}
        return desk.history(named, a.query("method"), limit=_limit(a), **span)

    def store(a: Asked) -> Any:
        rows = a.rows(arrow=False)
        return m.once(a, lambda _: desk.store(rows, a.who, atomic=a.says("atomic")), rows=rows)

    return [
        everybody(
            "GET",
            "/api/consensus/latest",
            lambda a: desk.latest(a.query("symbol"), a.query("timeframe"), a.query("method")),
        ),
        everybody("GET", "/api/consensus", history),
        Route("POST", "/api/consensus/store", store, Who.DEPLOYMENT),
    ]


def _limit(asked: Asked, name: str = "limit") -> int:
    return int(asked.query(name, "100"))


def _overlap(asked: Asked) -> float:
    return float(asked.query("overlap_hours", "24"))


def _instant(asked: Asked, name: str) -> datetime | None:
    said = asked.query(name)
    try:
        return None if said is None else _INSTANT.validate_python(said)
    except ValidationError as error:
        raise errors.InvalidInputError(f"{name}: {error.errors()[0]['msg']}") from None
