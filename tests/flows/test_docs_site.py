"""The site of all docs: built strictly, loading nothing from elsewhere, and seen."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsers import browsing, keep

ROOT = Path(__file__).parents[2]
REDIRECTS = re.compile(r"<(?:script|img|iframe|link)[^>]*?(?:src|href)=\"?(https?://[^\" >]+)")

pytestmark = [pytest.mark.hardening, pytest.mark.filterwarnings("default")]  # MkDocs' libraries warn about one another


@pytest.fixture(scope="module")
def scripts() -> Iterator[Any]:
    """scripts/docs_site.py, as a module."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import docs_site  # type: ignore[import-not-found] # a script

        yield docs_site
    finally:
        sys.path.remove(str(ROOT / "scripts"))


@pytest.fixture(scope="module")
def site(scripts: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site with one notebook's page; nothing is wrong with any link or anchor."""
    folder = tmp_path_factory.mktemp("site")
    page = folder / "notebooks" / "vendor" / "01_quickstart.html"
    page.parent.mkdir(parents=True)
    page.write_text("<!doctype html><title>ran</title>")
    assert "" == scripts.build(folder / "site", folder / "notebooks")
    return folder / "site"


def test_every_page_is_there(site: Path):
    """Each of the docs, the decisions, the changes, the tutorials with what was run."""
    wanted = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    there = {path.relative_to(site) for path in site.rglob("*.html")}
    assert (
        wanted | {Path("changelog.html"), Path("tutorials.html"), Path("notebooks/vendor/01_quickstart.html")} <= there
    )
    assert 'href="notebooks/vendor/01_quickstart.html"' in (site / "tutorials.html").read_text()
    assert 'href="notebooks/vendor/01_quickstart.html"' in (site / "notebooks.html").read_text()
    assert 'href="tutorials.html"' in (site / "notebooks.html").read_text()


def test_reference_is_made_of_docstrings(site: Path):
    """The public names have their anchors, with what their docstrings say."""
    text = (site / "api.html").read_text()
    for anchor in ("client.marketplace.connect", "client.training.Training.start", "errors.BudgetError"):
        assert f'id="mp_kit.{anchor}"' in text, anchor


def test_nothing_comes_from_elsewhere(site: Path):
    """No font, script, style or picture of another host."""
    pages = site.rglob("*.html")
    found = {url for page in pages for url in REDIRECTS.findall(page.read_text()) if "canonical" not in url}
    assert set() == found


@pytest.mark.parametrize("link", ["data.md#no-such-heading", "no-such-page.md"])
def test_link_that_leads_nowhere_fails_the_build(link: str, scripts: Any, tmp_path: Path):
    """A page, and an anchor of one that is there; without the reference, which takes longest and has no part in it."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    for name in ("api.md", "contracts.md"):
        (tmp_path / "docs" / name).write_text("# Left out\n")
    with (tmp_path / "docs" / "tour.md").open("a") as page:
        page.write(f"\n[gone]({link})\n")
    said = scripts.build(tmp_path / "site", tmp_path / "no-notebooks", tmp_path / "docs")
    assert "Aborted with 1 warnings in strict mode!" == said


def test_site_is_seen(site: Path):
    """In a browser: no request leaves the folder, nothing is wider than the window, the picture is kept."""
    with browsing() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})  # type: ignore[attr-defined] # Playwright's
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        for name in ("index", "quickstart", "api", "deploy"):
            page.goto(f"file://{site}/{name}.html")
            wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth + 1"
            assert not page.evaluate(wide), name
            keep(page, f"site-{name}")
        assert [] == [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]
