"""Who somebody is on GitHub: its web flow for OAuth apps, on github.com or on a GitHub Enterprise server.

1. A person is the account's number. A login can be renamed, and be taken by somebody else then: it is shown, never
   compared.
2. The access token asks ``GET /user`` once and is dropped. No scope is asked for: it opens nothing but what is public.
3. Requests go to the two configured addresses and follow no redirect. An answer has a largest size, and all of a
   request one deadline: a watch closes its socket then, so that not even a byte a second keeps a thread.
4. Nothing that GitHub sends is repeated to people, except the login.
"""

from __future__ import annotations

import json
import logging
import re
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx

from mp_kit.errors import ForbiddenError, RateLimitedError, UnavailableError
from mp_kit.server.providers.identity import Identity
from mp_kit.server.providers.patience import within
from mp_kit.version import __version__

__all__ = ["CALLBACK", "GitHub", "name_of"]

CALLBACK = "/marketplace/login/github/callback"
"""Where people come back to, below the marketplace's base URL; the OAuth app must name it."""

log = logging.getLogger(__name__)
_AGENT = f"mp-kit/{__version__}"  # GitHub's API answers 403 to requests that do not say who they are
_CONNECT_SECONDS, _WHOLE_SECONDS = 5.0, 10.0
_MOST_BYTES = 256 * 1024
_AT_ONCE = 4
_OK = 200
_LONGEST_LOGIN = 64
_LARGEST_ID = 2**63 - 1
_TOKEN = re.compile(r"^[A-Za-z0-9_.\-]{1,512}$")
_WORD = re.compile(r"^[a-z_]{1,64}$")
_SPENT = frozenset({"bad_verification_code", "invalid_grant"})


@cache
def _system_tls() -> ssl.SSLContext:
    """The machine's own authorities, as for webhooks: an Enterprise server is often certified by its company's."""
    return ssl.create_default_context()


def name_of(url: str) -> str:
    """The name of a GitHub as a provider: its host, with the port where it has an unusual one."""
    return urlsplit(url).netloc.lower()


@dataclass(frozen=True)
class GitHub:
    """GitHub, as one of its OAuth apps sees it.

    Args:
        client_id: The app's.
        client_secret: The app's.
        redirect_uri: Where people come back to; the app must name it.
        url: Where people are sent.
        api_url: Where ``/user`` is asked.
        seconds: The longest that one request may take, from connecting to its last byte.
    """

    client_id: str
    client_secret: str = field(repr=False)
    redirect_uri: str
    url: str
    api_url: str
    seconds: float = _WHOLE_SECONDS
    _places: threading.BoundedSemaphore = field(
        default_factory=lambda: threading.BoundedSemaphore(_AT_ONCE), repr=False, compare=False
    )

    @property
    def name(self) -> str:
        """Its host."""
        return name_of(self.url)

    def authorize_url(self, state: str, challenge: str, *, choose: bool = False) -> str:
        """GitHub's page that asks for consent; without a scope, and without an offer to sign up."""
        query = {"client_id": self.client_id, "redirect_uri": self.redirect_uri, "state": state}
        query |= {"code_challenge": challenge, "code_challenge_method": "S256", "allow_signup": "false"}
        query |= {"prompt": "select_account"} if choose else {}
        return f"{self.url}/login/oauth/authorize?{urlencode(query)}"

    def identify(self, code: str, verifier: str) -> Identity:
        """Trades the code for a token, the token for the account, and drops the token.

        Raises:
            ForbiddenError: GitHub does not take the code.
            UnavailableError: GitHub does not answer, or not as it should.
            RateLimitedError: A slow GitHub must not hold all of the edge's threads.
        """
        if not self._places.acquire(blocking=False):
            raise RateLimitedError("Others are signing in right now.", retry_after=2)
        try:
            return self._account(self._token(code, verifier))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            log.warning("%s did not answer: %s", self.name, type(error).__name__)
            raise UnavailableError("GitHub does not answer.", retry_after=30) from error
        finally:
            self._places.release()

    def _token(self, code: str, verifier: str) -> str:
        """An access token; errors come with status 200 here."""
        sent = {"client_id": self.client_id, "client_secret": self.client_secret, "code": code}
        sent |= {"redirect_uri": self.redirect_uri, "code_verifier": verifier}
        answer = self._ask("POST", f"{self.url}/login/oauth/access_token", data=sent)
        told = answer.get("error")
        if isinstance(told, str) and told in _SPENT:
            raise ForbiddenError("GitHub does not take this sign-in any more: it was used, or took too long.")
        if told is not None:
            word = told if isinstance(told, str) and _WORD.match(told) else "an error without a name"
            log.error("%s refuses this marketplace's OAuth app: %s", self.name, word)
            raise UnavailableError("GitHub refuses this marketplace's own client id, secret or address.")
        token = answer.get("access_token")
        if not isinstance(token, str) or not _TOKEN.match(token):
            raise self._odd("no access token")
        return token

    def _account(self, token: str) -> Identity:
        answer = self._ask("GET", f"{self.api_url}/user", headers={"Authorization": f"Bearer {token}"})
        number, login = answer.get("id"), answer.get("login")
        if type(number) is not int or not 0 < number <= _LARGEST_ID:  # true is an int, too
            raise self._odd("no account")
        shown = "".join(letter for letter in login if letter.isprintable()) if isinstance(login, str) else ""
        return Identity(self.name, str(number), shown[:_LONGEST_LOGIN])

    def _ask(self, method: str, url: str, **how: Any) -> Mapping[str, Any]:
        """The JSON object that is answered; UnavailableError where there is none."""
        headers = {
            "User-Agent": _AGENT,
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            **how.pop("headers", {}),
        }
        timeout = httpx.Timeout(self.seconds, connect=_CONNECT_SECONDS)
        with (
            within(self.seconds) as trace,
            httpx.Client(timeout=timeout, follow_redirects=False, verify=_system_tls()) as client,
            client.stream(method, url, headers=headers, extensions={"trace": trace}, **how) as response,
        ):
            if response.status_code != _OK:
                raise self._odd(f"status {response.status_code}")
            body = b""
            for chunk in response.iter_raw():
                body += chunk
                if len(body) > _MOST_BYTES:
                    raise self._odd("an answer without end")
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise self._odd("no JSON object")
        return answer

    def _odd(self, what: str) -> UnavailableError:
        log.warning("%s answered with %s", self.name, what)
        return UnavailableError("GitHub answers, but not as it should.", retry_after=30)
