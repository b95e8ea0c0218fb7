"""Signing in with GitHub in a real Chromium: link, sign out, sign in, unlink, and the pages on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from browsers import FINDINGS, LOOKS, browsing, keep
from github_visits import DESK, KEYS, LOGIN
from oauth_server import OAuthServer

from mp_kit.server.house import House
from mp_kit.server.processes import free_port
from mp_kit.server.wiring import build

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium."""
    with browsing() as started:
        yield started


@pytest.fixture(scope="module")
def edge_house(house: House, hub: OAuthServer) -> Iterator[House]:
    """A house with an OAuth app; GitHub is another site for the browser."""
    built = build(replace(house.settings, base_url=f"http://127.0.0.1:{free_port()}", **hub.settings()))
    yield built
    built.close()


def consent(page: Any, login: str, decision: str = "Approve") -> None:
    """On GitHub's page."""
    page.wait_for_url("**/login/oauth/authorize**")
    page.get_by_label("Signed in as").fill(login)
    page.get_by_role("button", name=decision).click()


@pytest.mark.parametrize("look", ["dark", "phone", "no-script"])  # a phone is light
def test_link_sign_in_unlink(browser: Any, edge: httpx.Client, vendor: SimpleNamespace, login: str, look: str):
    """Over the forms and links of the pages alone; nothing is against the policy."""
    how: dict[str, Any] = LOOKS.get(look, {"java_script_enabled": False})
    context = browser.new_context(base_url=str(edge.base_url), **how)
    page, complaints = context.new_page(), []
    page.on("console", lambda said: complaints.append(said.text) if "Security" in said.text else None)
    page.goto(f"{LOGIN}?next={KEYS}")
    found = [findings(page, f"github-login-{look}", look)]
    page.fill("[name=api_key]", vendor.key)
    page.locator("main").get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Link a GitHub account").click()
    consent(page, login)
    page.wait_for_url(f"**{KEYS}")
    assert f"You can sign in with the GitHub account {login} now." == page.inner_text(".said")
    found.append(findings(page, f"github-keys-{look}", look))
    page.get_by_role("button", name="Sign out").click()
    page.goto(DESK)
    page.get_by_role("link", name="Sign in with GitHub").click()
    consent(page, login)
    page.wait_for_url(f"**{DESK}")
    assert vendor.name in page.inner_text("header")
    page.goto(KEYS)
    page.get_by_text("Unlink…").click()
    page.get_by_role("button", name="Yes, unlink it").click()
    page.get_by_role("link", name="Sign in with GitHub").click()
    consent(page, login)
    page.wait_for_url("**/callback**")
    assert "This GitHub account is not linked" == page.inner_text("h1")
    found.append(findings(page, f"github-unknown-{look}", look))
    page.get_by_role("link", name="Choose another one").click()
    consent(page, login, "Deny")
    page.wait_for_url("**/callback**error=**")
    found.append(findings(page, f"github-denied-{look}", look))
    context.close()
    assert ([[]] * 4, []) == (found, complaints)


def findings(page: Any, name: str, look: str) -> list[str]:
    """A picture, and what is not accessible."""
    keep(page, name)
    return [] if look == "no-script" else list(page.evaluate(FINDINGS))
