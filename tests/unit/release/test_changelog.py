"""What keeps a changelog from going out: a table of broken ones."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from release import changelog

from mp_kit.version import __version__

ROOT = Path(__file__).parents[3]
TODAY = date(2026, 12, 24)

HEAD = "# Changelog\n\nWords.\n\n"
EMPTY = "## Unreleased\n\n"
COMING = "## Unreleased\n\n### Added\n\n- Something.\n\n"
OLD = "## 0.1.0 - 2026-12-01\n\n### Added\n\n- The first.\n  In two lines.\n\n"
NEW = "## 0.2.0 - 2026-12-24\n\n### Fixed\n\n- A thing.\n\n"
GOOD = {
    "nothing released yet": (HEAD + COMING, "0.1.0", None),
    "the next one is coming": (HEAD + COMING + OLD, "0.2.0", None),
    "just dated": (HEAD + EMPTY + NEW + OLD, "0.2.0", None),
    "work goes on after it": (HEAD + COMING + NEW + OLD, "0.2.0", None),
    "it goes out": (HEAD + EMPTY + NEW + OLD, "0.2.0", "v0.2.0"),
    "the first goes out": (HEAD + EMPTY + OLD, "0.1.0", "v0.1.0"),
}
BAD = {
    "empty": ("", "0.1.0", None, "the first section is not `## Unreleased`"),
    "no Unreleased": (HEAD + OLD, "0.1.0", None, "the first section is not `## Unreleased`"),
    "Unreleased below": (HEAD + OLD + COMING, "0.1.0", None, "the first section is not `## Unreleased`"),
    "nothing to release": (HEAD + EMPTY + OLD, "0.2.0", None, "Unreleased has no entries: nothing to release"),
    "no date": (HEAD + COMING + "## 0.1.0\n\n- x\n", "0.2.0", None, "line 11: `## 0.1.0` is not of the form"),
    "no day": (HEAD + COMING + OLD.replace("12-01", "12-32"), "0.2.0", None, "line 11: "),
    "another calendar": (HEAD + COMING + OLD.replace("2026-12-01", "1.12.2026"), "0.2.0", None, "line 11: "),
    "a date to come": (HEAD + EMPTY + NEW.replace("24", "25") + OLD, "0.2.0", None, "0.2.0 is dated 2026-12-25, which"),
    "no version": (HEAD + COMING + OLD.replace("0.1.0", "one"), "0.2.0", None, "'one' is no MAJOR.MINOR.PATCH"),
    "without entries": (HEAD + EMPTY + "## 0.1.0 - 2026-12-01\n\nWords.\n", "0.1.0", None, "0.1.0 - 2026-12-01 has no"),
    "the wrong way round": (HEAD + COMING + OLD + NEW, "0.3.0", None, "0.2.0 stands below 0.1.0, which is not newer"),
    "twice": (HEAD + COMING + OLD + OLD, "0.2.0", None, "0.1.0 stands below 0.1.0"),
    "an odd heading": (HEAD + COMING + OLD.replace("Added", "Stuff"), "0.2.0", None, "Stuff"),
    "version went back": (HEAD + COMING + NEW + OLD, "0.1.0", None, "the newest section is 0.2.0"),
    "another tag": (HEAD + EMPTY + NEW + OLD, "0.2.0", "v0.2.1", "the tag is v0.2.1, and the package's version says"),
    "a tag without v": (HEAD + EMPTY + NEW + OLD, "0.2.0", "0.2.0", "the tag is 0.2.0"),
    "tagged and not dated": (HEAD + COMING + OLD, "0.2.0", "v0.2.0", "no section `## 0.2.0 - YYYY-MM-DD`"),
}


@pytest.mark.parametrize(("text", "version", "tag"), GOOD.values(), ids=GOOD)
def test_good_changelogs_go_out(text: str, version: str, tag: str | None):
    """Before and after the day of a release."""
    assert [] == changelog.problems(text, version, TODAY, tag=tag)


@pytest.mark.parametrize(("text", "version", "tag", "said"), BAD.values(), ids=BAD)
def test_bad_changelogs_are_told(text: str, version: str, tag: str | None, said: str):
    """By what is wrong, and where that is a line, by the line."""
    found = changelog.problems(text, version, TODAY, tag=tag)
    assert any(said in problem for problem in found), found


def test_sections_are_counted():
    """A second line of an entry is no entry."""
    found = changelog.sections(HEAD + COMING + NEW + OLD)
    assert [("Unreleased", 1), ("0.2.0", 1), ("0.1.0", 1)] == [(one.version, one.entries) for one in found]
    assert ("Fixed",) == found[1].kinds


def test_our_changelog_can_go_out():
    """It fails: ``python scripts/release_check.py --only changelog`` tells."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert [] == changelog.problems(text, __version__, date.max)
