"""``docs/compatibility.md``: which client works with which marketplace, by the records and the recorded payloads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from .changes import Change, Step, compare

Json = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "compatibility.md"
PAYLOADS = ROOT / "contracts" / "payloads"

_NEEDED = {"added, and required", "required now"}
"""What a reader of answers cannot do without, in the words of :mod:`.changes`."""

_HEAD = """# Compatibility

Written by `python scripts/contracts.py record` out of `contracts/`: change the contracts, not this page. What the
versions mean and how a contract may change is in [versioning.md](versioning.md).
"""
_ON_NEWER = """## Clients and marketplaces

Each row is a client, each column a marketplace. *works*: no change between the two breaks that client. *works, less …*:
what the older marketplace does not have is 404 there.
"""
_REPLAYED = """## Replayed

`tests/edge/test_payloads.py` says each recorded request to the edge of this code, compares the status, holds the answer
against what a client of that version expects, and reads that version's answers with today's models.
"""


def render(kept: dict[str, Json]) -> str:
    """The whole page."""
    payloads = recorded()
    older = [version for version in payloads if version not in kept]
    parts = [_HEAD, _ON_NEWER, *_matrix(kept, payloads, older), "", _REPLAYED, *_replays(payloads), ""]
    for old, new in pairwise(kept):
        parts += [*_news(old, new, compare(kept[old], kept[new])), ""]
    return "\n".join(parts).rstrip() + "\n"


def recorded() -> dict[str, Json]:
    """The recorded conversations by version, the oldest first."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(PAYLOADS.glob("*.json"))}


def cell(client: Json, marketplace: Json) -> str:
    """How a client of one record fares with a marketplace of another."""
    if client["version"] == marketplace["version"]:
        return "works"
    if _order(client) < _order(marketplace):
        breaks = [change for change in compare(client, marketplace) if change.step is Step.MAJOR]
        return f"breaks at {len(breaks)} places" if breaks else "works"
    later = compare(marketplace, client)
    missed = [change for change in later if change.place.startswith("output ") and change.words in _NEEDED]
    if missed:
        return f"misses {len(missed)} fields"
    routes = len(_added(later))
    return f"works, less {routes} routes" if routes else "works"


def _matrix(kept: dict[str, Json], payloads: dict[str, Json], older: Sequence[str]) -> Iterator[str]:
    """Versions older than every record have only their replayed conversation to go by, with this code."""
    versions = list(kept)
    rows = [
        [version, *["not known"] * (len(versions) - 1), f"works: {len(payloads[version]['exchanges'])} replayed"]
        for version in older
    ]
    rows += [[version, *(cell(kept[version], kept[other]) for other in versions)] for version in versions]
    yield from _table(["client", *(f"marketplace {_named(kept[version])}" for version in versions)], rows)


def _named(record: Json) -> str:
    state = "" if record.get("frozen") else ", not released yet"
    package = f" (mp-kit {record['package']}{state})" if "package" in record else ""
    return f"{record['version']}{package}"


def _replays(payloads: dict[str, Json]) -> Iterator[str]:
    rows = [[version, str(len(told["exchanges"])), told["origin"]] for version, told in payloads.items()]
    yield from _table(["version", "exchanges", "where they are from"], rows)


def _news(old: str, new: str, changes: Sequence[Change]) -> Iterator[str]:
    """What a version has that the one before it had not."""
    yield f"## {new} after {old}\n"
    breaks = [change for change in changes if change.step is Step.MAJOR]
    yield "Nothing broke." if not breaks else "**Breaks:**\n\n" + "\n".join(f"- {c.place}: {c.words}" for c in breaks)
    for words, found in (
        ("New routes", _added(changes)),
        ("New in requests", _fields(changes, "input")),
        ("New in answers", _fields(changes, "output")),
        ("New codes of errors", [c.place.removeprefix("error ") for c in changes if c.place.startswith("error ")]),
        ("New headers", [c.place.removeprefix("header ") for c in changes if c.place.startswith("header ")]),
    ):
        if found:
            yield f"\n{words}: {', '.join(f'`{one}`' for one in found)}."


def _added(changes: Iterable[Change]) -> list[str]:
    return [c.place for c in changes if c.words == "added" and c.place.split()[0].isupper()]


def _fields(changes: Iterable[Change], direction: str) -> list[str]:
    """Fields and words that came, by their place."""
    found = [c for c in changes if c.place.startswith(f"{direction} ") and "added" in c.words]
    names = [c.place.removeprefix(f"{direction} ") for c in found]
    named = {change.place for change in changes if not change.place.startswith(("input", "output"))}
    return [name for name in names if name not in named]


def _order(record: Json) -> list[int]:
    return [int(part) for part in record["version"].split(".")]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
