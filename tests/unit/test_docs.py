"""The documents say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mp_kit import errors

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path):
    """Every relative link of a page points to a file that is there."""
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [] == [target for target in targets if not (page.parent / target).exists()]


def test_error_tree_is_drawn_whole():
    """The drawing in errors.py names every class with its status and code."""
    drawn = dict(re.findall(r"(\w+Error)\s+(\d{3} \w+)", errors.__doc__ or ""))
    wanted = {cls.__name__: f"{cls.http} {cls.code}" for cls in errors.BY_CODE.values() if cls.code != "error"}
    assert wanted == drawn


def test_error_codes_are_unique():
    """A client can branch on a code."""
    assert len(errors.BY_CODE) == len(errors.__all__) - 1


def test_decisions_are_numbered_without_gaps():
    """A page is found by its number."""
    numbers = [int(page.name[:4]) for page in sorted((ROOT / "docs/decisions").glob("*.md"))]
    assert list(range(1, len(numbers) + 1)) == numbers
