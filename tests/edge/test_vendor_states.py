"""A vendor that is not active may do nothing: every route of the OpenAPI document, by every kind of token."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from mp_kit.contracts import VendorStatus
from mp_kit.server.house import House
from mp_kit.server.services import vendors

WITH_TOKEN = 30
"""So many operations take a token at least: a document that says less does not test anything."""


@pytest.fixture
def bearers(
    edge_house: House, vendor: SimpleNamespace, deployment: SimpleNamespace
) -> Callable[[str], dict[str, dict[str, str]]]:
    """Puts the vendor into a state, and gives every kind of token of it."""

    def change(status: str) -> dict[str, dict[str, str]]:
        with edge_house.db.begin() as tx:
            vendors.set_status(tx, vendor.id, VendorStatus(status), actor="test")
            session = vendors.open_session(tx, edge_house.tokens, vendor.id).token  # of the new epoch
        edge_house.tokens.forget()
        run = edge_house.tokens.run_token("run_none", vendor.id, datetime.now(UTC) + timedelta(hours=1))
        found = {"key": vendor.key, "deployment": deployment.token, "session": session, "run": run}
        return {kind: {"Authorization": f"Bearer {token}"} for kind, token in found.items()}

    return change


def guarded(edge: httpx.Client) -> Iterator[tuple[str, str]]:
    """Method and path, filled in, of each operation that takes a token."""
    paths: dict[str, dict[str, Any]] = edge.get("/openapi.json").json()["paths"]
    for path, operations in sorted(paths.items()):
        for method, operation in operations.items():
            if isinstance(operation, dict) and operation.get("security"):
                yield method, re.sub(r"\{[^}]+\}", "none", path)


@pytest.mark.parametrize("status", ["pending", "suspended"])
def test_no_route_takes_a_token_of_a_vendor_that_is_not_active(
    edge: httpx.Client, bearers: Callable[[str], dict[str, dict[str, str]]], status: str
):
    """403 `forbidden` everywhere, whatever the route would have said of the token's kind."""
    routes = list(guarded(edge))
    assert len(routes) >= WITH_TOKEN
    headers = bearers(status)
    said = {
        (method, path, kind): _answer(edge, method, path, header)
        for method, path in routes
        for kind, header in headers.items()
    }
    assert {} == {asked: told for asked, told in said.items() if told != (403, "forbidden")}


def test_the_same_tokens_work_once_it_is_active(
    edge: httpx.Client, bearers: Callable[[str], dict[str, dict[str, str]]]
):
    """So that it was the state that refused them; a session of before has ended."""
    old = bearers("suspended")["session"]
    headers = bearers("active")
    for kind in ("key", "deployment", "session"):
        assert 200 == edge.get("/api/vendors/me", headers=headers[kind]).status_code
    assert 404 == edge.post("/api/training/runs/run_none/heartbeat", json={}, headers=headers["run"]).status_code
    assert 401 == edge.get("/api/vendors/me", headers=old).status_code


@pytest.mark.parametrize("status", ["pending", "suspended"])
@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/vendors/login", "api_key"),
        ("/api/marketplace/vendor/auth/validate", "api_key"),
        ("/api/marketplace/vendor/auth/rotate", "current_api_key"),
    ],
)
def test_keys_in_bodies_open_nothing(
    edge: httpx.Client,
    vendor: SimpleNamespace,
    bearers: Callable[[str], dict[str, dict[str, str]]],
    status: str,
    path: str,
    field: str,
):
    """403 with the state."""
    bearers(status)
    answer = edge.post(path, json={field: vendor.key})
    assert (403, True) == (answer.status_code, status in answer.json()["error"])


@pytest.mark.parametrize("status", ["pending", "suspended"])
def test_introspection_says_not_active(
    edge: httpx.Client, bearers: Callable[[str], dict[str, dict[str, str]]], status: str
):
    """Of each kind."""
    for header in bearers(status).values():
        token = header["Authorization"].removeprefix("Bearer ")
        assert {"active": False} == edge.post("/api/tokens/introspect", json={"token": token}).json()["data"]


@pytest.mark.parametrize("status", ["pending", "suspended"])
@pytest.mark.parametrize("path", ["/marketplace/device", "/marketplace/logout/everywhere"])
def test_pages_of_a_session_are_closed(
    edge: httpx.Client, bearers: Callable[[str], dict[str, dict[str, str]]], status: str, path: str
):
    """The console neither shows nor does anything for its session."""
    session = bearers(status)["session"]["Authorization"].removeprefix("Bearer ")
    with httpx.Client(base_url=edge.base_url, cookies={"mp_session": session}) as browser:
        assert browser.get(path).status_code in {303, 403, 405}
        assert browser.post(path, data={"csrf": "0" * 64}).status_code in {303, 403}


@pytest.mark.parametrize("path", ["/api/vendors", "/api/vendors/register", "/api/vendors/signup"])
def test_nobody_signs_up_alone(edge: httpx.Client, path: str):
    """There is no such route: an operator makes vendors."""
    assert edge.post(path, json={"name": "me"}).status_code in {404, 405}


def _answer(edge: httpx.Client, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
    body: dict[str, Any] = {} if method in {"get", "delete"} else {"json": {}}
    answer = edge.request(method, path, headers=headers, **body)
    return answer.status_code, answer.json().get("code", "")
