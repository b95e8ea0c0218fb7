"""Whether ``CHANGELOG.md`` can go out with a version: its headings, dates and entries.

The file has ``## Unreleased``, then ``## X.Y.Z - YYYY-MM-DD``, the newest first, each with entries under ``### Added``
and the like. A version that is not dated yet needs entries under Unreleased; one that is, needs its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

from .versions import parse

KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
UNRELEASED = "Unreleased"
_DATED = re.compile(r"^(\S+) - (\S+)$")


@dataclass(frozen=True)
class Section:
    """One version's part.

    Args:
        title: What stands after ``## ``.
        line: Its line, from 1.
        kinds: Its headings of the third level.
        entries: How many entries it has.
    """

    title: str
    line: int
    kinds: tuple[str, ...]
    entries: int

    @property
    def version(self) -> str:
        """The version, or what stands in its place."""
        return self.title.partition(" ")[0]


def sections(text: str) -> list[Section]:
    """The parts of a changelog, from the top."""
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("## ")]
    return [_section(lines, start, end) for start, end in pairwise([*starts, len(lines)])]


def problems(text: str, version: str, today: date, *, tag: str | None = None) -> list[str]:
    """What keeps this changelog from going out with a version.

    Args:
        text: The changelog.
        version: The package's version.
        today: No release is dated later.
        tag: The tag that is being published, if one is; without it the version need not be dated yet.
    """
    found = sections(text)
    if not found or found[0].title != UNRELEASED:
        return [f"the first section is not `## {UNRELEASED}`"]
    dated = [section for section in found[1:] if _DATED.match(section.title)]
    told = [problem for section in found[1:] for problem in _heading(section, today)]
    told += [f"line {one.line}: no heading of {', '.join(sorted(KINDS))}: {odd}" for one in found for odd in _odd(one)]
    told += [f"line {section.line}: {section.title} has no entries" for section in dated if not section.entries]
    return [*told, *_order(dated), *_release(found[0], dated, version, tag)]


def _section(lines: list[str], start: int, end: int) -> Section:
    inside = lines[start + 1 : end]
    kinds = tuple(line.removeprefix("### ").strip() for line in inside if line.startswith("### "))
    entries = sum(line.startswith("- ") for line in inside)
    return Section(lines[start].removeprefix("## ").strip(), start + 1, kinds, entries)


def _heading(section: Section, today: date) -> Iterator[str]:
    match = _DATED.match(section.title)
    if match is None:
        yield f"line {section.line}: `## {section.title}` is not of the form `## X.Y.Z - YYYY-MM-DD`"
        return
    try:
        parse(match[1])
        day = date.fromisoformat(match[2])
    except ValueError as error:
        yield f"line {section.line}: {error}"
        return
    if day > today:
        yield f"line {section.line}: {section.version} is dated {day}, which is yet to come"


def _odd(section: Section) -> list[str]:
    return [kind for kind in section.kinds if kind not in KINDS]


def _order(dated: list[Section]) -> Iterator[str]:
    for newer, older in pairwise(dated):
        try:
            if parse(newer.version) <= parse(older.version):
                yield f"line {older.line}: {older.version} stands below {newer.version}, which is not newer"
        except ValueError:
            continue  # told by its heading


def _release(unreleased: Section, dated: list[Section], version: str, tag: str | None) -> Iterator[str]:
    has_version = any(section.version == version for section in dated)
    if tag is not None and tag != f"v{version}":
        yield f"the tag is {tag}, and the package's version says v{version}"
    if tag is not None and not has_version:
        yield f"no section `## {version} - YYYY-MM-DD`, and it is being published"
    if not has_version and not unreleased.entries:
        yield f"{version} is not dated, and {UNRELEASED} has no entries: nothing to release"
    if has_version and dated[0].version != version:
        yield f"the newest section is {dated[0].version}, and the package's version is {version}"
