from __future__ import annotations

import inspect
from collections.abc import Callable

import httpx
import pytest

from mp_kit import errors
from mp_kit.client.failures import FOREIGN, failure_of, retry_after
from mp_kit.client.http import Api, Call, Patience, path, read
from mp_kit.contracts import CONTRACTS_VERSION, Vendor, render_failure

SECRET = "vk_key_verysecret"
Answer = Callable[[httpx.Request], httpx.Response]


def api(answer: Answer, slept: list[float] | None = None, **how: object) -> Api:
    """An Api whose network is a function."""
    sleep = (slept if slept is not None else []).append
    return Api("http://m.test/", SECRET, transport=httpx.MockTransport(answer), sleep=sleep, **how)


def good(data: object = None) -> httpx.Response:
    """An envelope."""
    return httpx.Response(200, json={"success": True, "data": data})


def bad(error: errors.MarketplaceError, **headers: str) -> httpx.Response:
    """An error's answer."""
    return httpx.Response(error.http, json=render_failure(error, "req_1"), headers=headers)


def counting(*answers: httpx.Response | Exception) -> tuple[Answer, list[httpx.Request]]:
    """Gives the answers one after the other, the last one for ever."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        found = answers[min(len(seen), len(answers)) - 1]
        if isinstance(found, Exception):
            raise found
        return httpx.Response(found.status_code, content=found.content, headers=found.headers)

    return answer, seen


def test_foreign_errors_are_all_mapped():
    """No exception is exported by httpx that we have not mapped."""
    exported = {getattr(httpx, name) for name in httpx.__all__}
    raised = {item for item in exported if inspect.isclass(item) and issubclass(item, Exception)}
    assert raised == set(FOREIGN)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (httpx.ConnectError("refused"), errors.NetworkError),
        (httpx.ReadTimeout("slow"), errors.TimeoutExceededError),
        (httpx.RemoteProtocolError("cut"), errors.NetworkError),
    ],
)
def test_send_foreign_error_becomes_ours(raised: Exception, expected: type[errors.MarketplaceError]):
    """The message names the request, never the token."""
    answer, _ = counting(raised)
    with pytest.raises(expected, match=r"GET http://m\.test/api/x failed") as caught:
        api(answer).send(Call("GET", "/api/x"))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("cls", sorted(errors.BY_CODE.values(), key=lambda cls: cls.code))
def test_send_error_code_becomes_its_class(cls: type[errors.MarketplaceError]):
    """Each code of the tree comes back as its class, with hint, details and request id."""
    sent = cls("It failed.", hint="Do this.", details=[{"loc": ["a", 0], "msg": "m"}])
    answer, _ = counting(bad(sent))
    with pytest.raises(errors.MarketplaceError) as caught:
        api(answer, patience=Patience(attempts=1)).send(Call("GET", "/api/x"))
    assert cls is type(caught.value)
    assert ("It failed.", "Do this.", [{"loc": ["a", 0], "msg": "m"}], "req_1") == (
        caught.value.message,
        caught.value.hint,
        caught.value.details,
        caught.value.request_id,
    )


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (302, errors.NetworkError),
        (401, errors.AuthError),
        (404, errors.NotFoundError),
        (418, errors.InternalError),
        (502, errors.UnavailableError),
    ],
)
def test_failure_without_a_readable_body_goes_by_status(status: int, expected: type[errors.MarketplaceError]):
    """A proxy's page is told by its status; its body is not repeated."""
    error = failure_of("GET x", status, {}, b"<html>secret page</html>")
    assert expected is type(error)
    assert "secret page" not in error.message


def test_failure_with_an_unknown_code_goes_by_status():
    """A newer marketplace may know more codes."""
    body = b'{"success": false, "error": "Novel.", "code": "novel_code"}'
    error = failure_of("GET x", 409, {}, body)
    assert (errors.ConflictError, "Novel.") == (type(error), error.message)


def test_send_headers():
    """User agent, contracts version, request id and token go with each request."""
    answer, seen = counting(good())
    api(answer).send(Call("GET", "/api/x", params={"a": 1, "b": None}))
    request = seen[0]
    assert request.headers["User-Agent"].startswith("mp-kit/")
    assert CONTRACTS_VERSION == request.headers["X-Marketplace-Contracts-Version"]
    assert f"Bearer {SECRET}" == request.headers["Authorization"]
    assert 32 == len(request.headers["X-Request-Id"])
    assert "http://m.test/api/x?a=1" == str(request.url)


def test_send_retries_get_with_one_request_id():
    """A GET is tried again after 503 and after a broken connection."""
    answer, seen = counting(bad(errors.UnavailableError("Down.")), httpx.ReadError("cut"), good("yes"))
    slept: list[float] = []
    assert "yes" == api(answer, slept).send(Call("GET", "/api/x")).data
    assert 1 == len({request.headers["X-Request-Id"] for request in seen})
    assert 0.25 <= slept[0] <= 0.5 <= slept[1] <= 1.0


@pytest.mark.parametrize(
    ("call", "sent"),
    [
        (Call("POST", "/api/x"), 1),
        (Call("PATCH", "/api/x"), 1),
        (Call("POST", "/api/x", idempotency_key="k"), 4),
        (Call("POST", "/api/x", repeatable=True), 4),
        (Call("GET", "/api/x"), 4),
    ],
)
def test_send_repeats_only_what_is_harmless(call: Call, sent: int):
    """A POST without a key is sent once, whatever happens."""
    answer, seen = counting(bad(errors.UnavailableError("Down.")))
    with pytest.raises(errors.UnavailableError):
        api(answer).send(call)
    assert sent == len(seen)


def test_send_keeps_the_idempotency_key_over_retries():
    """All attempts bear the same key."""
    answer, seen = counting(bad(errors.UnavailableError("Down.")), good())
    api(answer).send(Call("POST", "/api/x", json={}, idempotency_key="k1"))
    assert ["k1", "k1"] == [request.headers["X-Idempotency-Key"] for request in seen]


def test_send_does_not_repeat_a_refusal():
    """401 stays 401."""
    answer, seen = counting(bad(errors.AuthError("No.")))
    with pytest.raises(errors.AuthError):
        api(answer).send(Call("GET", "/api/x"))
    assert 1 == len(seen)


def test_send_honours_retry_after():
    """The server's wish is a lower bound of the wait."""
    answer, _ = counting(bad(errors.RateLimitedError("Slow."), **{"Retry-After": "7"}), good())
    slept: list[float] = []
    api(answer, slept).send(Call("GET", "/api/x"))
    assert [7.0] == slept


def test_send_gives_up_when_the_server_asks_for_too_long():
    """Nobody waits an hour inside a call; the error says how long it would be."""
    answer, seen = counting(bad(errors.RateLimitedError("Slow."), **{"Retry-After": "3600"}))
    with pytest.raises(errors.RateLimitedError) as caught:
        api(answer).send(Call("GET", "/api/x"))
    assert (1, 3600.0) == (len(seen), caught.value.retry_after)


def test_send_without_envelope_is_refused():
    """A login page with status 200 is no data."""
    answer, _ = counting(httpx.Response(200, text="<html>"))
    with pytest.raises(errors.InternalError, match="without the marketplace's envelope"):
        api(answer).send(Call("GET", "/api/x"))


def test_read_answer_against_the_contract_is_told():
    """Where it breaks, not what was in it."""
    answer, _ = counting(good({"id": "v", "name": SECRET, "status": "odd", "created_at": "2026-01-01T00:00:00Z"}))
    with pytest.raises(errors.InternalError, match="status") as caught:
        api(answer).get(Vendor, "/api/vendors/me")
    assert SECRET not in str(caught.value)


def test_pages_follow_the_cursor_to_the_limit():
    """Pages are fetched until enough are there."""
    cursors: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        cursors.append(request.url.params.get("cursor"))
        return httpx.Response(200, json={"success": True, "data": [1, 2], "next_cursor": f"c{len(cursors)}"})

    assert [1, 2, 1, 2, 1] == api(answer).pages(int, "/api/x", 5)
    assert [None, "c1", "c2"] == cursors


def test_api_repr_hides_the_token():
    """Only whether there is one."""
    assert "Api('http://m.test', token=set)" == repr(api(counting(good())[0]))


@pytest.mark.parametrize("url", ["m.test", "ftp://m.test", "http://", "http://user:pw@m.test", "file:///etc"])
def test_api_refuses_what_is_no_url(url: str):
    """The error says what a URL looks like, and repeats no password."""
    with pytest.raises(errors.InvalidInputError) as caught:
        Api(url)
    assert "pw" not in caught.value.message


@pytest.mark.parametrize("part", ["", "..", ".", " "])
def test_path_refuses_an_empty_id(part: str):
    """An empty id would name another route."""
    with pytest.raises(errors.InvalidInputError):
        path("rounds", part)


def test_path_quotes_what_a_user_gave():
    """An id can't walk to another route."""
    assert "/api/rounds/a%2F..%2Fb%3Fc" == path("rounds", "a/../b?c")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, None), ("", None), ("soon", None), ("12", 12.0), ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0)],
)
def test_retry_after_reads_numbers_and_dates(value: str | None, expected: float | None):
    """Unreadable is as good as absent."""
    assert expected == retry_after(value)


def test_read_lists():
    """A list contract is read as one."""
    assert [1, 2] == read(list[int], api(counting(good([1, 2]))[0]).send(Call("GET", "/x")), "/x")
