"""The client of RunPod's REST v2: what it sends, what it makes of answers, and what it never does."""

from __future__ import annotations

from decimal import Decimal

import httpx
import pytest
from runpod_wires import ACCOUNT, KEY, NOW, POD, Wire, pods, problem

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
from mp_kit.server.providers.base import PacedError
from mp_kit.server.providers.runpod_api import USER_AGENT, Account
from mp_kit.server.providers.runpod_failures import Answer, failure_of, scrub, sent
from mp_kit.server.providers.runpod_wire import GpuKind, Pod, instant, money

NO_LISTS = {
    "no JSON": httpx.Response(200, content=b"<html>"),
    "nothing": httpx.Response(200),
    "a bare list": httpx.Response(200, json=[]),
    "no pods": httpx.Response(200, json={}),
    "null": httpx.Response(200, json={"pods": None}),
    "redirect": httpx.Response(302, headers={"location": "https://elsewhere"}),
}


@pytest.mark.parametrize("name", NO_LISTS)
def test_no_list_is_no_empty_list(name: str):
    """Whatever is no list of pods is trouble: an empty account would end every run."""
    with pytest.raises(ProviderError):
        Wire(NO_LISTS[name]).api.pods(ACCOUNT)


def test_list_leaves_out_what_is_no_pod():
    """One strange entry does not hide the others."""
    wire = Wire(pods(7, {}, {"id": "x"}, {"id": "pod_2", "name": "n"}, POD))
    assert ["pod_2", "pod_1"] == [pod.id for pod in wire.api.pods(ACCOUNT)]


def test_list_follows_cursors():
    """Pages of a later version are followed; without one no cursor is sent."""
    first = pods(POD, pagination={"hasNextPage": True, "nextCursor": "c1"})
    wire = Wire(first, pods({"id": "pod_2", "name": "n"}, pagination={"hasNextPage": False, "nextCursor": "c1"}))
    assert ["pod_1", "pod_2"] == [pod.id for pod in wire.api.pods(ACCOUNT)]
    assert ["", "cursor=c1"] == [request.url.query.decode() for request in wire.requests]


def test_list_without_end_is_trouble():
    """A cursor that repeats ends the reading, and is no list."""
    wire = Wire(pods(POD, pagination={"hasNextPage": True, "nextCursor": "c1"}))
    with pytest.raises(ProviderError, match="no end"):
        wire.api.pods(ACCOUNT)
    assert 2 == len(wire.requests)


def test_every_request_names_its_sender():
    """User-Agent and key in the header; the key is nowhere else."""
    wire = Wire(pods())
    wire.api.pods(ACCOUNT)
    (request,) = wire.requests
    assert USER_AGENT == request.headers["user-agent"]
    assert f"Bearer {KEY}" == request.headers["authorization"]
    assert KEY not in str(request.url)
    assert KEY not in repr(ACCOUNT)
    assert {"connect", "read", "write", "pool"} == set(request.extensions["timeout"])
    assert all(request.extensions["timeout"].values())


NO_KEYS = ["", "two words", "new\nline", "schlüssel", " "]


@pytest.mark.parametrize("key", NO_KEYS)
def test_account_with_no_key(key: str):
    """What no header can carry is refused before httpx quotes it."""
    with pytest.raises(CredentialError) as caught:
        Account("vnd_a", key)
    assert not key.strip() or key not in str(caught.value)


STATUSES = [
    (400, InvalidInputError),
    (401, CredentialError),
    (402, BudgetError),
    (403, ForbiddenError),
    (404, NotFoundError),
    (409, ConflictError),
    (410, SetupError),
    (413, TooLargeError),
    (418, ProviderError),
    (422, InvalidInputError),
    (429, PacedError),
    (500, ProviderError),
    (503, ProviderError),
]


@pytest.mark.parametrize(("status", "error"), STATUSES)
def test_failures_by_status(status: int, error: type[MarketplaceError]):
    """Each status means one error, with RunPod's own words where they help."""
    answer = Answer.read(problem(status, "because of that"), [])
    assert error is type(failure_of(answer))
    assert status in {401, 410, 429} or "because of that" in str(failure_of(answer))


def test_retired_version_is_named():
    """410 tells the operator what to do."""
    assert "MP_RUNPOD_URL" in failure_of(Answer.read(problem(410), [])).hint


def test_refusal_by_the_network_edge():
    """A 403 without a problem document is not RunPod's: it may pass."""
    answer = Answer.read(httpx.Response(403, content=b"error code: 1010"), [])
    assert ProviderError is type(failure_of(answer))


def test_errors_of_a_malformed_request_are_quoted():
    """The list that comes with a 422."""
    body = {
        "title": "x",
        "status": 422,
        "detail": "invalid",
        "errors": ["$: additional properties 'bogus' not allowed"],
    }
    assert "'bogus'" in str(failure_of(Answer.read(httpx.Response(422, json=body), [])))


@pytest.mark.parametrize("secret", [KEY, "value-of-env", "hf_abcdefghijklmnopqrstuvwx"])
def test_secrets_are_not_quoted(secret: str):
    """Neither the key, nor a value of the environment, nor what looks like a token."""
    answer = Answer.read(problem(422, f"env: {secret!r} is not allowed " + "x" * 2_000), [KEY, "value-of-env"])
    assert secret not in str(failure_of(answer))
    assert len(str(failure_of(answer))) < 700


def test_scrub_keeps_short_values():
    """A value such as ``1`` is no secret; taking it out would leave no sentence."""
    assert "1 of 10" == scrub("1 of  10", ["1"])


def transport_errors() -> list[type[httpx.HTTPError]]:
    """Every error of httpx's transports."""
    found, queue = [], [httpx.TransportError]
    while queue:
        kind = queue.pop()
        found.append(kind)
        queue += kind.__subclasses__()
    return sorted(found, key=lambda kind: kind.__name__)


NEVER_SENT = {"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol", "LocalProtocolError"}


@pytest.mark.parametrize("kind", transport_errors())
def test_no_transport_error_is_unmapped(kind: type[httpx.HTTPError]):
    """What surely never left may be ordered again; everything else may have been obeyed."""
    with pytest.raises(UnavailableError) as caught, sent("x"):
        raise kind("x")
    assert (kind.__name__ in NEVER_SENT) == isinstance(caught.value, ProviderError)


@pytest.mark.parametrize("kind", [httpx.InvalidURL, httpx.StreamClosed, httpx.TooManyRedirects, httpx.DecodingError])
def test_other_errors_of_httpx(kind: type[Exception]):
    """They are mapped too."""
    with pytest.raises(UnavailableError), sent("x"):
        raise kind() if kind is httpx.StreamClosed else kind("x")


MAYBE_MADE = {
    "500": problem(500),
    "502 of a proxy": httpx.Response(502, content=b"<html>"),
    "201 without a body": httpx.Response(201),
    "201 that is cut": httpx.Response(201, content=b'{"id": "pod_'),
    "timeout": httpx.ReadTimeout("x"),
    "reset": httpx.ReadError("x"),
    "cut": httpx.RemoteProtocolError("x"),
}


@pytest.mark.parametrize("name", MAYBE_MADE)
def test_create_is_never_repeated(name: str):
    """An order is sent once; where a pod may have been made, that is said."""
    wire = Wire(MAYBE_MADE[name], httpx.Response(201, json=POD))
    with pytest.raises(UnavailableError) as caught:
        wire.api.create(ACCOUNT, {"name": "n"})
    assert not isinstance(caught.value, ProviderError)
    assert 1 == len(wire.requests)


def test_create_that_never_left():
    """Nothing was made: a ProviderError."""
    with pytest.raises(ProviderError):
        Wire(httpx.ConnectError("x")).api.create(ACCOUNT, {"name": "n"})


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 413, 422, 429])
def test_create_that_was_refused(status: int):
    """A clear no is an answer, to be looked at."""
    wire = Wire(problem(status), httpx.Response(201, json=POD))
    result = wire.api.create(ACCOUNT, {"name": "n"})
    assert isinstance(result, Answer)
    assert (status, 1) == (result.status, len(wire.requests))


CAPACITY = [
    "There are no longer any instances available with the requested specifications. Please refresh and try again.",
    "no instances currently available",
    "No capacity in this data center",
    "insufficient capacity",
]


@pytest.mark.parametrize("detail", CAPACITY)
def test_lack_of_capacity(detail: str):
    """Only the text of a 400 tells it."""
    assert Answer.read(problem(400, detail), []).lacks_capacity
    assert not Answer.read(problem(422, detail), []).lacks_capacity


@pytest.mark.parametrize("detail", ["exactly one of gpu or cpu must be set", "unknown GPU type", ""])
def test_broken_rule_is_no_lack_of_capacity(detail: str):
    """The other meaning of a 400."""
    assert not Answer.read(problem(400, detail), []).lacks_capacity


def test_reads_are_repeated():
    """What fails in passing is read again, a few times."""
    wire = Wire(httpx.ReadTimeout("x"), problem(503), pods(POD))
    assert ["pod_1"] == [pod.id for pod in wire.api.pods(ACCOUNT)]
    assert [0.5, 1.0] == wire.waits


def test_reads_end():
    """Three times at most."""
    wire = Wire(httpx.ReadTimeout("x"))
    with pytest.raises(ProviderError):
        wire.api.pods(ACCOUNT)
    assert 3 == len(wire.requests)


def test_retry_after_is_waited_for():
    """The seconds that RunPod asks for; not, if they are many."""
    wire = Wire(problem(429, **{"retry-after": "7"}), pods())
    assert [] == wire.api.pods(ACCOUNT)
    assert [7.0] == wire.waits
    wire = Wire(problem(429, **{"retry-after": "60"}))
    with pytest.raises(ProviderError) as caught:
        wire.api.pods(ACCOUNT)
    assert (60.0, 1) == (caught.value.retry_after, len(wire.requests))


def limited(text: str) -> httpx.Response:
    """A good answer with a RateLimit header."""
    return httpx.Response(200, json={"pods": []}, headers={"RateLimit": text})


def test_used_up_window_is_waited_for():
    """With nothing left in a window the next request waits for its end."""
    wire = Wire(limited('"minute";r=0;t=6, "hour";r=2800;t=1812'), limited('"minute";r=59;t=60'))
    api = wire.api
    for _ in range(3):
        api.pods(ACCOUNT)
    assert [6.0] == wire.waits


def test_long_used_up_window_is_told():
    """Unless that is long: then nothing is sent, except what ends a pod."""
    wire = Wire(limited('"minute";r=10;t=6, "hour";r=0;t=1812'))
    api = wire.api
    api.pods(ACCOUNT)
    with pytest.raises(ProviderError) as caught:
        api.pods(ACCOUNT)
    assert (1812.0, 1) == (caught.value.retry_after, len(wire.requests))
    api.delete(ACCOUNT, "pod_1")
    api.pods(Account("vnd_b", "another-key"))
    assert 3 == len(wire.requests)


@pytest.mark.parametrize("header", ["", "nonsense", '"minute"', '"minute";r=x;t=y', '"minute";t=5', "a=1;b=2;r=0"])
def test_strange_rate_limit_headers(header: str):
    """They are not obeyed, and break nothing."""
    wire = Wire(limited(header))
    api = wire.api
    api.pods(ACCOUNT)
    api.pods(ACCOUNT)
    assert [] == wire.waits


def test_pod_that_is_not_there():
    """404 is None; a 404 of something else than RunPod is trouble."""
    assert Wire(problem(404)).api.pod(ACCOUNT, "pod_1") is None
    with pytest.raises(MarketplaceError):
        Wire(httpx.Response(404, content=b"<html>no such route")).api.pod(ACCOUNT, "pod_1")


def test_ids_are_quoted():
    """An id from outside cannot leave its place in the path."""
    wire = Wire(problem(404))
    wire.api.pod(ACCOUNT, "../serverless?x=1")
    assert "/v2/pods/..%2Fserverless%3Fx%3D1" == wire.requests[0].url.raw_path.decode()


def test_pod_reads_what_it_needs():
    """Unknown keys are ignored, missing ones are None; the environment is not read."""
    pod = Pod.read(POD | {"createdAt": "2026-06-01T00:00:00.123456789Z", "later": {"x": 1}, "gpu": {"id": "NVIDIA L4"}})
    assert pod is not None
    assert (Decimal("0.43"), "NVIDIA L4") == (pod.cost, pod.gpu)
    assert NOW.replace(microsecond=123456) == pod.created_at
    assert "seen-by-everybody" not in repr(pod)
    bare = Pod.read({"id": "x", "name": "n", "status": "HIBERNATING", "cost": "0.5", "gpu": None})
    assert bare is not None
    assert ("HIBERNATING", Decimal("0.5"), None) == (bare.status, bare.cost, bare.created_at)


@pytest.mark.parametrize("value", [None, True, "x", "nan", "inf", [], {}])
def test_money_of_what_is_none(value: object):
    """An amount is a finite number or nothing."""
    assert money(value) is None


@pytest.mark.parametrize("value", [None, "", "yesterday", 7, {}])
def test_instant_of_what_is_none(value: object):
    """An instant that cannot be read is None."""
    assert instant(value) is None


def test_instant_without_zone_is_utc():
    """RunPod's times are UTC."""
    assert NOW == instant("2026-06-01T00:00:00")


@pytest.mark.parametrize("document", [None, 7, {}, {"id": ""}])
def test_no_gpu(document: object):
    """An entry without an id is none."""
    assert GpuKind.read(document) is None


def test_gpu_of_one_cloud():
    """A cloud that does not have it, or has no price for it, is missing."""
    kind = GpuKind.read({"id": "g", "secure": True, "community": False, "price": {"secure": 1, "community": 2}})
    assert kind is not None
    assert {"SECURE": Decimal(1)} == kind.prices
