"""GitHub's web flow against a server of ours that behaves as GitHub does, and as it does on a bad day."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from oauth_server import TOKEN, USER, Misdeed, OAuthServer, github
from receivers import Receiver, cut, endless, status

from mp_kit.errors import ForbiddenError, RateLimitedError, UnavailableError
from mp_kit.server.providers.github import GitHub, name_of
from mp_kit.server.providers.identity import Identity

VERIFIER, CHALLENGE = "a" * 64, "_-BU_nrgy23GXDr5th1SCfQ5hR20PQulmXM33xVGaOs"
"""The challenge is base64url(sha256(verifier)), by openssl."""


@pytest.fixture
def server() -> Iterator[OAuthServer]:
    """A GitHub."""
    with github() as made:
        yield made


@pytest.fixture
def app(server: OAuthServer) -> GitHub:
    """An OAuth app there; it waits a third of a second at most."""
    callback = "http://127.0.0.1:1/marketplace/login/github/callback"
    names = (server.client_id, server.client_secret)
    return GitHub(*names, redirect_uri=callback, url=server.url, api_url=f"{server.url}/api/v3", seconds=0.3)


def code_of(server: OAuthServer, app: GitHub, **how: Any) -> str:
    """What comes back in the browser."""
    back = server.consent(app.authorize_url("state", CHALLENGE), **how)
    return parse_qs(urlsplit(back).query)["code"][0]


def test_account_is_its_number(server: OAuthServer, app: GitHub):
    """With the host that gave it; the token asked once, and said who asks."""
    known = app.identify(code_of(server, app), VERIFIER)
    assert Identity(urlsplit(server.url).netloc, "1001", "ann") == known
    assert [TOKEN, USER] == [path for path, _, _ in server.asked]
    assert server.asked[1][1]["user-agent"].startswith("mp-kit/")


def test_address_asks_for_no_scope_and_offers_no_sign_up(app: GitHub):
    """State, challenge and redirect_uri are there; the account picker where it is wanted."""
    query = parse_qs(urlsplit(app.authorize_url("s&=", "c")).query)
    assert {"s&="} == set(query["state"])
    assert ("S256", "false") == (query["code_challenge_method"][0], query["allow_signup"][0])
    assert not {"scope", "prompt"} & query.keys()
    assert "prompt=select_account" in app.authorize_url("s", "c", choose=True)


def test_code_is_good_once_and_for_its_verifier(server: OAuthServer, app: GitHub):
    """GitHub says so with status 200."""
    code = code_of(server, app)
    app.identify(code, VERIFIER)
    for wrong, verifier in ((code, VERIFIER), (code_of(server, app), "b" * 64), ("unknown", VERIFIER)):
        with pytest.raises(ForbiddenError, match="used, or took too long"):
            app.identify(wrong, verifier)


@pytest.mark.parametrize("change", [{"client_secret": "wrong"}, {"redirect_uri": "http://127.0.0.1:2/"}])
def test_operators_mistakes_are_told_apart(server: OAuthServer, app: GitHub, change: dict[str, str], caplog: Any):
    """A person is told that it is not their fault, the log which of GitHub's errors it was; no secret is in it."""
    code = code_of(server, app)
    with pytest.raises(UnavailableError, match="own client id, secret or address"):
        replace(app, **change).identify(code, VERIFIER)
    assert "incorrect_client_credentials" in caplog.text or "redirect_uri_mismatch" in caplog.text
    assert not [word for word in (code, server.client_secret, VERIFIER) if word in caplog.text]


def drip_body(handler: BaseHTTPRequestHandler) -> None:
    """Good headers, then a byte at a time."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
    for _ in range(10_000):
        handler.wfile.write(b" ")
        time.sleep(0.05)


slow = Receiver()
BAD: dict[str, Misdeed] = {
    "500": status(500),
    "404": status(404),
    "cut": cut,
    "endless": endless,
    "redirect": status(302, Location="http://127.0.0.1:1/"),
    "garbage": status(200, b"<html>"),
    "list": status(200, b"[]"),
    "empty": status(200, b"{}"),
    "deep": status(200, b"[" * 100_000),
    "compressed": status(200, b"{}", Content_Encoding="gzip"),
    "hangs": slow.hang,
    "drips headers": slow.drip,
    "drips body": drip_body,
    "odd error": status(200, b'{"error": {"a": 1}}'),
}


@pytest.mark.parametrize("path", [TOKEN, USER])
@pytest.mark.parametrize("bad", BAD)
def test_bad_days_end_in_time(server: OAuthServer, app: GitHub, path: str, bad: str):
    """Each is an error of ours, within the deadline of a request."""
    server.misdeeds[path] = BAD[bad]
    code, began = code_of(server, app), time.monotonic()
    with pytest.raises(UnavailableError, match="GitHub"):
        app.identify(code, VERIFIER)
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("number", ["1001", True, 0, -1, 1.5, None, 2**63, [1]])
def test_numbers_that_are_none(server: OAuthServer, app: GitHub, number: Any):
    """Nobody is whoever a string or a truth is."""
    server.accounts["ann"] = number
    with pytest.raises(UnavailableError, match="not as it should"):
        app.identify(code_of(server, app), VERIFIER)


@pytest.mark.parametrize("token", ["", "two words", "line\r\nbreak", "x" * 600, "ü"])
def test_tokens_that_are_none(server: OAuthServer, app: GitHub, token: str):
    """They reach no header."""
    server.misdeeds[TOKEN] = status(200, f'{{"access_token": "{token}"}}'.encode())
    with pytest.raises(UnavailableError):
        app.identify(code_of(server, app), VERIFIER)
    assert [TOKEN] == [path for path, _, _ in server.asked]


def test_few_are_asked_about_at_once(server: OAuthServer, app: GitHub):
    """A place is given back after a failure, too."""
    server.misdeeds[TOKEN] = status(500)
    for _ in range(6):
        with pytest.raises(UnavailableError):
            app.identify("x", VERIFIER)
    held = [app._places.acquire(blocking=False) for _ in range(4)]
    assert [True] * 4 == held
    with pytest.raises(RateLimitedError):
        app.identify("x", VERIFIER)


def test_secret_is_not_shown(app: GitHub):
    """Not by its repr."""
    assert app.client_secret not in repr(app)


def test_name_is_the_host():
    """With an unusual port, without a path."""
    assert "github.com" == name_of("https://GitHub.com")
    assert "git.example:8443" == name_of("https://git.example:8443/x")
