"""GitHub's web flow for OAuth apps on loopback: real HTTP, a consent page for a browser, and faults on demand.

It behaves as GitHub does: a refused code is status 200 with ``error``; ``/user`` wants a User-Agent and a bearer; a
code is good once and for the client, the redirect_uri and the PKCE challenge that it was made for.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

Misdeed = Callable[[BaseHTTPRequestHandler], None]
AUTHORIZE, TOKEN, USER = "/login/oauth/authorize", "/login/oauth/access_token", "/api/v3/user"
BROWSER = httpx.Client(verify=False)  # noqa: S501 - it speaks plain http, and authorities take long to load
CONSENT = """<!doctype html><html lang="en"><title>Authorize</title><h1>Authorize mp-kit</h1>
<form method="post" action="{action}"><label>Signed in as <input name="login" value="ann"></label>
<button name="decision" value="approve">Approve</button><button name="decision" value="deny">Deny</button></form>"""


@dataclass
class OAuthServer:
    """One GitHub with one OAuth app.

    Attributes:
        url: Where it listens, by a name of its own: for a browser it is another site than 127.0.0.1.
        client_id: The app's.
        client_secret: The app's.
        callback: The app's registered address: ``redirect_uri`` must begin with it.
        accounts: Numbers by login.
        misdeeds: By path, what answers in place of the server.
        asked: Path, headers (lower-case) and form of each request but the browser's.
        released: Set at the end: what hangs lets go.
    """

    url: str = ""
    client_id: str = "Iv1.0123456789abcdef"
    client_secret: str = "0123456789abcdef0123456789abcdef01234567"
    callback: str = "http://127.0.0.1"
    accounts: dict[str, Any] = field(default_factory=lambda: {"ann": 1001, "bob": 1002})
    misdeeds: dict[str, Misdeed] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str], dict[str, str]]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    _codes: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)
    _tokens: dict[str, str] = field(default_factory=dict)

    def settings(self) -> dict[str, str]:
        """What a marketplace is told."""
        named = {"github_client_id": self.client_id, "github_client_secret": self.client_secret}
        return named | {"github_url": self.url, "github_api_url": f"{self.url}/api/v3"}

    def consent(self, location: str, *, login: str = "ann", decision: str = "approve") -> str:
        """A person's decision on the page at ``location``: where their browser is sent back to."""
        page = BROWSER.get(location)
        assert 200 == page.status_code, page.text
        action = html.unescape(re.search(r'action="([^"]+)"', page.text)[1])  # type: ignore[index] # the page is ours
        answer = BROWSER.post(f"{self.url}{action}", data={"login": login, "decision": decision})
        return answer.headers["location"]

    def decide(self, query: dict[str, str], form: dict[str, str]) -> str:
        """Where the browser goes after the consent page."""
        back = {"state": query["state"]}
        if form["decision"] != "approve":
            back |= {"error": "access_denied", "error_description": "The user has denied your application access."}
        else:
            back["code"] = secrets.token_hex(10)
            self._codes[back["code"]] = (form["login"], query)
        return f"{query['redirect_uri']}?{urlencode(back)}"

    def exchange(self, form: dict[str, str]) -> dict[str, str]:
        """A token for a code, or an error; both with status 200."""
        if (form.get("client_id"), form.get("client_secret")) != (self.client_id, self.client_secret):
            return {"error": "incorrect_client_credentials", "error_description": "The client_id and/or client_secret"}
        login, query = self._codes.pop(form.get("code", ""), ("", {}))
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if not login or challenge != query.get("code_challenge"):
            return {"error": "bad_verification_code", "error_description": "The code passed is incorrect or expired."}
        if form.get("redirect_uri") != query["redirect_uri"]:
            return {"error": "redirect_uri_mismatch"}
        token = f"gho_{secrets.token_hex(18)}"
        self._tokens[token] = login
        return {"access_token": token, "scope": "", "token_type": "bearer"}

    def user(self, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """Whose token it is."""
        if not headers.get("user-agent"):
            return 403, {"message": "Request forbidden by administrative rules."}
        scheme, _, token = headers.get("authorization", "").partition(" ")
        login = self._tokens.get(token) if scheme == "Bearer" else None
        if login is None:
            return 401, {"message": "Bad credentials"}
        return 200, {"login": login, "id": self.accounts[login], "type": "User", "name": None}


class _Handler(BaseHTTPRequestHandler):
    github: OAuthServer

    def do_GET(self) -> None:
        path, query = self._read()
        if path == AUTHORIZE:
            self._authorize(query)
        elif path == USER:
            self._answer(path, {}, self.github.user)
        else:
            self._send(404, b"{}")

    def do_POST(self) -> None:
        path, query = self._read()
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        form = {name: values[-1] for name, values in parse_qs(body.decode()).items()}
        if path == AUTHORIZE:
            self._send(302, b"", Location=self.github.decide(query, form))
        elif path == TOKEN:
            self._answer(path, form, lambda _: (200, self.github.exchange(form)))
        else:
            self._send(404, b"{}")

    def _authorize(self, query: dict[str, str]) -> None:
        known = query.get("client_id") == self.github.client_id
        if not known or not query.get("redirect_uri", "").startswith(self.github.callback):
            self._send(404, b"There is no such app, or it does not name this redirect_uri.")
        elif query.get("code_challenge_method") != "S256" or not query.get("state") or "scope" in query:
            self._send(400, b"An app of ours would ask otherwise.")
        else:
            page = CONSENT.format(action=html.escape(self.path))
            self._send(200, page.encode(), Content_Type="text/html; charset=utf-8")

    def _answer(
        self, path: str, form: dict[str, str], so: Callable[[dict[str, str]], tuple[int, dict[str, Any]]]
    ) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.github.asked.append((path, headers, form))
        misdeed = self.github.misdeeds.get(path)
        if misdeed is not None:
            misdeed(self)
            return
        status, document = so(headers)
        as_json = headers.get("accept") == "application/json" or path == USER
        body = json.dumps(document) if as_json else urlencode(document)  # as GitHub does where nobody asks for JSON
        self._send(status, body.encode())

    def _read(self) -> tuple[str, dict[str, str]]:
        parts = urlsplit(self.path)
        return parts.path, {name: values[-1] for name, values in parse_qs(parts.query).items()}

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Somebody who hangs up is what is tested."""


@contextmanager
def github() -> Iterator[OAuthServer]:
    """A GitHub for the length of a block."""
    made = OAuthServer()
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"github": made}))
    made.url = f"http://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    made.released.set()
    server.shutdown()
    server.server_close()
    thread.join(timeout=10)
