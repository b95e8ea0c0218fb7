"""The device page in a real Chromium: typed, shown, approved; without JavaScript too, light, dark, and on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from browsers import FINDINGS, LOOKS, browsing, keep

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium."""
    with browsing() as started:
        yield started


@pytest.mark.parametrize("look", [*LOOKS, "no-script"])
def test_a_person_approves_a_program(browser: Any, edge: httpx.Client, vendor: SimpleNamespace, look: str):
    """From the address that the program shows, by way of the login, to the sentence that says who is signed in."""
    device = edge.post("/api/vendors/device", json={"client": "notebook on a laptop"}).json()["data"]
    how: dict[str, Any] = LOOKS.get(look, {"java_script_enabled": False})
    context = browser.new_context(base_url=str(edge.base_url), **how)
    page, complaints = context.new_page(), []
    page.on("console", lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None)
    page.goto(device["verification_uri"])
    page.fill("[name=api_key]", vendor.key)
    page.click("main button")
    found = [_findings(page, f"device-{look}", look)]
    page.fill("[name=code]", device["user_code"].lower())
    page.click("main button")
    found.append(_findings(page, f"device-confirm-{look}", look))
    assert "notebook on a laptop" in page.inner_text("main")
    page.click("button[value=approve]")
    page.wait_for_load_state()
    said = page.inner_text(".said")
    context.close()
    assert f"notebook on a laptop is signed in as {vendor.name}." == said
    assert ([[], []], []) == (found, complaints)


def _findings(page: Any, name: str, look: str) -> list[str]:
    keep(page, name)
    return [] if look == "no-script" else list(page.evaluate(FINDINGS))
