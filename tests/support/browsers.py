"""A real Chromium for tests of pages, and what an honest look at a page's accessibility finds.

Debian's browser, driven by Playwright; where there is none, tests skip with the reason.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
SCREENSHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"
LOOKS = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 900}},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 800}},
}
FINDINGS = r"""
() => {
  const found = [];
  const say = (rule, element) => found.push(`${rule}: ${element.outerHTML.slice(0, 120)}`);
  const shown = (element) => element.getClientRects().length > 0 && getComputedStyle(element).visibility !== "hidden"
    && !element.closest(".hidden, .skip, [hidden]");
  const all = (selector) => [...document.querySelectorAll(selector)];
  const named = (element) => (element.innerText || element.getAttribute("aria-label") || element.title || "").trim();
  if (!document.documentElement.lang) say("no language", document.documentElement);
  if (!document.title.trim()) say("no title", document.head);
  if (all("main").length !== 1) say("not one main", document.body);
  let level = 0;
  for (const heading of all("h1, h2, h3, h4").filter(shown)) {
    const now = Number(heading.tagName[1]);
    if (now > level + 1) say("heading skips a level", heading);
    if (!heading.innerText.trim()) say("empty heading", heading);
    level = now;
  }
  if (all("h1").filter(shown).length !== 1) say("not one h1", document.body);
  for (const field of all("input:not([type=hidden]), select, textarea"))
    if (![...(field.labels || [])].some((label) => label.innerText.trim()) && !field.getAttribute("aria-label"))
      say("field without label", field);
  for (const element of all("a[href], button").filter(shown)) if (!named(element)) say("no name", element);
  for (const image of all("img")) if (!image.hasAttribute("alt")) say("no alt", image);
  for (const drawing of all("svg"))
    if (!drawing.hasAttribute("aria-hidden") && !drawing.getAttribute("aria-label")) say("no words", drawing);
  for (const table of all("table"))
    if (!(table.caption || table.closest(".prose")) ||
        [...table.querySelectorAll("thead th")].some((cell) => !cell.scope)) say("table", table);
  for (const box of all(".scroll"))
    if (box.scrollWidth > box.clientWidth && box.tabIndex !== 0) say("no key scrolls", box);
  const ids = all("[id]").map((element) => element.id);
  for (const element of all("[id]"))
    if (ids.indexOf(element.id) !== ids.lastIndexOf(element.id)) say("id twice", element);
  for (const element of all("[aria-describedby]"))
    if (!document.getElementById(element.getAttribute("aria-describedby"))) say("described by nothing", element);
  const light = (rgb) => {
    const part = rgb.map((c) => { const s = c / 255; return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
  };
  const colour = (text) => text.match(/[\d.]+/g).map(Number);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const c = colour(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0.99) return c;
    }
    return [255, 255, 255];
  };
  const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (words.nextNode()) {
    const element = words.currentNode.parentElement;
    if (!words.currentNode.data.trim() || !shown(element) || element.closest("option, title")) continue;
    const style = getComputedStyle(element);
    const ink = light(colour(element.closest("svg") ? style.fill : style.color));
    const paper = light(behind(element));
    const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) say(`contrast ${ratio.toFixed(2)}`, element);
  }
  if (document.documentElement.scrollWidth > document.documentElement.clientWidth + 1)
    say("wider than the window", document.body);
  return found;
}
"""
"""Labels, names, order of headings, captions, words for drawings, contrast by computed colours, width."""

NARROW = """
() => [...document.querySelectorAll("figure.card > svg.chart")].filter((drawing) =>
  drawing.parentElement.clientWidth - drawing.getBoundingClientRect().width > 40).length
"""
"""How many charts are much narrower than their cards."""


@contextlib.contextmanager
def browsing() -> Iterator[object]:
    """A browser for the length of a block."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make venv")
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("there is no Chromium: apt-get install chromium (make test does it where it is root)")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def keep(page: object, name: str) -> None:
    """A picture of the whole page under ``build/screenshots``."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)  # type: ignore[attr-defined] # a Playwright page
