"""A person with a browser of their own, without JavaScript, who goes to GitHub and back."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import Any, Self
from urllib.parse import quote

import httpx
from desks import csrf_of
from oauth_server import OAuthServer

LOGIN, START = "/marketplace/login", "/marketplace/login/github"
CALLBACK = f"{START}/callback"
DESK, KEYS = "/marketplace/vendor", "/marketplace/vendor/keys"
LINK = "/marketplace/vendor/github/link"


class Person:
    """Somebody.

    Args:
        url: The marketplace's.
        github: Where they have accounts.
    """

    def __init__(self, url: str, github: OAuthServer) -> None:
        self.github = github
        self.client = httpx.Client(base_url=url, timeout=30, verify=False)  # noqa: S501 - plain http

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def get(self, path: str, **how: Any) -> httpx.Response:
        """A page; redirects are not followed."""
        return self.client.get(path, **how)

    def go(self, target: str = DESK) -> str:
        """GitHub's address for signing in."""
        answer = self.get(f"{START}?next={quote(target, safe='')}")
        assert 303 == answer.status_code, answer.text
        return answer.headers["location"]

    def back(self, target: str = DESK, **how: Any) -> str:
        """The address with which GitHub sends the browser back."""
        return self.github.consent(self.go(target), **how)

    def sign_in(self, target: str = DESK, **how: Any) -> httpx.Response:
        """All the way."""
        return self.get(self.back(target, **how))

    def sign_in_with_key(self, key: str) -> Self:
        """By the form."""
        answer = self.client.post(LOGIN, data={"csrf": csrf_of(self.get(LOGIN)), "api_key": key})
        assert 303 == answer.status_code, answer.text
        return self

    def send(self, path: str, *, page: str = KEYS) -> httpx.Response:
        """A form of a page, with its token."""
        return self.client.post(path, data={"csrf": csrf_of(self.get(page))})

    def go_link(self) -> str:
        """GitHub's address for linking."""
        answer = self.send(LINK)
        assert 200 == answer.status_code, answer.text
        return address_on(answer)

    def link(self, login: str = "ann") -> httpx.Response:
        """All the way."""
        return self.get(self.github.consent(self.go_link(), login=login))

    @property
    def is_signed_in(self) -> bool:
        """Whether the desk opens."""
        return 200 == self.get(DESK).status_code


def address_on(page: httpx.Response) -> str:
    """Where the page goes on by itself."""
    found = re.search(r'http-equiv="refresh" content="0; url=([^"]+)"', page.text)
    assert found is not None, page.text
    return html.unescape(found[1])


Persons = Callable[[], Person]
"""A factory of persons."""
