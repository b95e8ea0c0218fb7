"""The public pages in a real Chromium: with and without JavaScript, light, dark, and as wide as a phone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Self

import pytest
from browsers import FINDINGS, LOOKS, NARROW, browsing, keep
from edges import serving

from bench import pages_world
from mp_kit.server.house import House
from mp_kit.server.processes import free_port
from mp_kit.server.services import audit, vendors
from mp_kit.server.wiring import build

pytestmark = pytest.mark.slow
PAGES = {
    "catalogue": "/marketplace",
    "catalogue-nothing": "/marketplace?q=nothing+like+this",
    "model": "/marketplace/models/mod_3",
    "model-unscored": "/marketplace/models/mod_7",
    "leaderboard": "/marketplace/leaderboard",
    "consensus": "/consensus",
    "docs": "/marketplace/docs",
    "docs-wire": "/marketplace/docs/wire",
    "login": "/marketplace/login",
    "absent": "/marketplace/no/such",
}
WIDTHS = (390, 600, 768, 1024, 1280, 1920)
FILTERS = """
() => {
  const form = document.querySelector(".filters");
  const places = (what) => [...form.querySelectorAll(what)].map((element) => element.getBoundingClientRect());
  const boxes = places("input:not([type=hidden]), select, button");
  const labels = places("label");
  const button = boxes.pop();
  return {
    heights: [...new Set([...boxes, button].map((box) => Math.round(box.height)))].length,
    beside: boxes.some((box) => Math.abs(box.top - button.top) < 1),
    gaps: [...new Set(labels.map((label, n) => Math.round(boxes[n].top - label.top)))].length,
    rows: new Set([...boxes, button].map((box) => Math.round(box.top))).size,
  };
}
"""
"""How many heights there are, whether the button stands beside a field, how far labels are from their fields."""
CUT = "() => [...document.querySelectorAll('.scroll')].filter((box) => box.scrollWidth > box.clientWidth).length"
BROKEN = "() => [...document.querySelectorAll('.audit a')].filter((link) => link.getClientRects().length > 1).length"
EMPTY = {"catalogue": "/marketplace", "leaderboard": "/marketplace/leaderboard", "consensus": "/consensus"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium."""
    with browsing() as started:
        yield started


@pytest.fixture(scope="module")
def full(browser: Any, house: House, migrated_url: Callable[[], str]) -> Iterator[SimpleNamespace]:
    """A marketplace with models, and a vendor's key; not made where there is no browser."""
    settings = replace(house.settings, base_url=f"http://127.0.0.1:{free_port()}", database_url=migrated_url())
    built = build(settings)
    key = pages_world.fill(built, models=60, each=200)
    with serving(built):
        yield SimpleNamespace(url=settings.base_url, key=key, house=built, browser=browser)
    built.close()


@pytest.fixture(scope="module")
def empty(browser: Any, house: House, migrated_url: Callable[[], str]) -> Iterator[SimpleNamespace]:
    """A marketplace in which nothing ever happened."""
    settings = replace(house.settings, base_url=f"http://127.0.0.1:{free_port()}", database_url=migrated_url())
    built = build(settings)
    with serving(built):
        yield SimpleNamespace(url=settings.base_url, browser=browser)
    built.close()


class Seen:
    """A page of a browser of its own; notes what the browser complains about and whom it asks.

    Args:
        world: Which marketplace.
        look: How the browser shows it.
    """

    def __init__(self, world: SimpleNamespace, **look: Any) -> None:
        self.context = world.browser.new_context(base_url=world.url, **look)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        self.page.on("console", lambda said: self.complaints.append(said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda asked: self.hosts.add(asked.url.split("/")[2]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def sign_in(self, key: str) -> None:
        """By way of the form."""
        self.page.goto("/marketplace/login")
        self.page.get_by_label("API key").fill(key)
        self.page.locator("main").get_by_role("button", name="Sign in").click()


@pytest.mark.parametrize("look", list(LOOKS))
@pytest.mark.parametrize("name", list(PAGES))
def test_pages_are_accessible(full: SimpleNamespace, name: str, look: str):
    """No finding, nothing against the policy, no other host, in light, dark and on a phone."""
    with Seen(full, **LOOKS[look]) as seen:
        seen.page.goto(PAGES[name])
        keep(seen.page, f"{name}-{look}")
        assert [] == seen.page.evaluate(FINDINGS)
        assert {full.url.split("/")[2]} == seen.hosts
        assert not [said for said in seen.complaints if "Security" in said or "Error" in said]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["catalogue", "leaderboard", "consensus"])
def test_filters_stand_in_rows(full: SimpleNamespace, name: str, width: int):
    """All of one height, labels at one distance, and the button never alone; in one row where there is room."""
    with Seen(full, viewport={"width": width, "height": 900}) as seen:
        seen.page.goto(PAGES[name])
        found = seen.page.evaluate(FILTERS)
        assert {"heights": 1, "beside": True, "gaps": 1} == {key: found[key] for key in ("heights", "beside", "gaps")}
        assert width < 1280 or found["rows"] == 1


@pytest.mark.parametrize("width", [1280, 1920])
@pytest.mark.parametrize("name", ["catalogue", "consensus", "leaderboard", "model"])
def test_nothing_is_cut_off_on_a_desk(full: SimpleNamespace, name: str, width: int):
    """No table is wider than its box, and no chart much narrower than its card."""
    with Seen(full, viewport={"width": width, "height": 900}) as seen:
        seen.page.goto(PAGES[name])
        assert (0, 0) == (seen.page.evaluate(CUT), seen.page.evaluate(NARROW))


def test_audit_page_breaks_no_id(full: SimpleNamespace):
    """Whole ids on a desk, with their vendors' names; the filters are as elsewhere."""
    ids = {"key_id": "k" * 20, "reason": "a key that leaked in a log of a build, and was found there by its prefix"}
    with full.house.db.begin() as tx:
        audit.record(tx, "vendor:ven_0123456789abcdef", "key.create", "vky_0123456789abcdef", **ids)
        audit.record(tx, "vendor:ven_1", "vendor.suspend", "ven_0123456789abcdef", **ids)
    with Seen(full, **LOOKS["light"]) as seen:
        seen.sign_in(full.house.settings.service_key)
        seen.page.goto("/marketplace/operator/audit")
        keep(seen.page, "audit-light")
        assert [] == seen.page.evaluate(FINDINGS)
        assert (0, 0) == (seen.page.evaluate(BROKEN), seen.page.evaluate(CUT))
        assert seen.page.locator(".audit .under", has_text="Vendor 1").first.is_visible()
        found = seen.page.evaluate(FILTERS)
        assert (1, True, 1) == (found["heights"], found["beside"], found["rows"])


@pytest.mark.parametrize("name", list(EMPTY))
def test_empty_pages_are_accessible(empty: SimpleNamespace, name: str):
    """And say what to do next."""
    with Seen(empty, **LOOKS["phone"]) as seen:
        seen.page.goto(EMPTY[name])
        keep(seen.page, f"{name}-empty-phone")
        assert [] == seen.page.evaluate(FINDINGS)
        assert seen.page.locator(".empty code").first.is_visible()


@pytest.mark.parametrize("with_script", [True, False], ids=["script", "no-script"])
def test_signing_in_and_out(full: SimpleNamespace, with_script: bool):
    """A wrong key is said beside the form, a good one leads on, signing out shows that it did."""
    with Seen(full, java_script_enabled=with_script) as seen:
        seen.sign_in("vk_wrong")
        assert "not known" in seen.page.get_by_role("alert").inner_text()
        keep(seen.page, f"login-refused-{'script' if with_script else 'plain'}")
        seen.sign_in(full.key)
        assert "Vendor 1" in seen.page.locator("header").inner_text()
        assert "mp_session" not in ("" if not with_script else seen.page.evaluate("document.cookie"))
        seen.page.goto("/marketplace")
        seen.page.get_by_role("button", name="Sign out").click()
        assert "signed out" in seen.page.get_by_role("status").inner_text()
        assert seen.page.get_by_role("link", name="Sign in").is_visible()


def test_ended_session_returns_to_the_page(full: SimpleNamespace):
    """A form of an ended session leads to the login and from there back."""
    with Seen(full) as seen:
        seen.sign_in(full.key)
        seen.page.goto("/marketplace?symbol=EURUSD")
        with full.house.db.begin() as tx:
            vendors.end_sessions(tx, "ven_1", actor="test")
        seen.page.get_by_role("button", name="Sign out").click()
        assert "Your session has ended" in seen.page.get_by_role("status").inner_text()
        seen.page.get_by_label("API key").fill(full.key)
        seen.page.locator("main").get_by_role("button", name="Sign in").click()
        assert seen.page.url.endswith("/marketplace?symbol=EURUSD")


def test_catalogue_filters_by_itself(full: SimpleNamespace):
    """A choice is enough where there is JavaScript."""
    with Seen(full, **LOOKS["light"]) as seen:
        seen.page.goto("/marketplace")
        seen.page.get_by_label("Symbol").select_option("EURUSD")
        seen.page.wait_for_url(re.compile("symbol=EURUSD"))
        assert 7 == seen.page.locator("tbody tr").count()
        assert "EURUSD" == seen.page.get_by_label("Symbol").input_value()


def test_catalogue_filters_without_script(full: SimpleNamespace):
    """By the button, and on to a model and its page of docs."""
    with Seen(full, java_script_enabled=False, **LOOKS["phone"]) as seen:
        seen.page.goto("/marketplace")
        seen.page.get_by_label("Words").fill("days 33 vendor 34")
        seen.page.get_by_role("button", name="Filter").click()
        assert 1 == seen.page.locator("tbody tr").count()
        seen.page.get_by_role("link", name="model 33").click()
        assert "model 33" == seen.page.locator("h1").inner_text()
        assert seen.page.locator("svg.chart").count() >= 2


def test_consensus_page(full: SimpleNamespace):
    """Vendors' badges, shares, and a chart with words; another symbol is one click away."""
    with Seen(full, **LOOKS["light"]) as seen:
        seen.page.goto("/consensus")
        seen.page.get_by_role("link", name="GBPUSD").click()
        assert "GBPUSD 1h" == seen.page.locator("#one").inner_text()
        assert seen.page.get_by_role("img", name=re.compile("Score of GBPUSD")).is_visible()
        assert seen.page.locator(".badge.info", has_text="Vendor").count() > 5
        seen.page.get_by_label("Method").select_option("equal")
        seen.page.wait_for_url(re.compile("method=equal"))


def test_keyboard_alone_reaches_everything(full: SimpleNamespace):
    """The first stop skips to the content; every stop is seen."""
    with Seen(full, **LOOKS["light"]) as seen:
        seen.page.goto("/marketplace")
        seen.page.keyboard.press("Tab")
        assert "Skip to the content" == seen.page.evaluate("document.activeElement.innerText")
        seen.page.keyboard.press("Enter")
        stops = []
        for _ in range(10):
            seen.page.keyboard.press("Tab")
            stops.append(seen.page.evaluate("document.activeElement.id || document.activeElement.innerText"))
            outline = seen.page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
            assert "3px" == outline, stops[-1]
        assert ["f-q", "f-task", "f-stage"] == stops[:3]
