"""Holds the contracts to their version: ``record`` writes what they are, ``check`` says whether the version fits.

``record`` keeps the code's contracts as ``contracts/recorded/<version>.json`` and writes ``docs/compatibility.md``;
with ``--freeze`` for good, at a release. ``check`` writes nothing; it lists what changed since the last release, and
ends with 1 where the version lacks the step that this needs. docs/versioning.md tells the protocol.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from release import compatibility, versions
from release.record import openapi, record, unannounced

from mp_kit.version import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["record", "check"])
    parser.add_argument("--freeze", action="store_true", help="with record: a release goes out with these contracts")
    chosen = parser.parse_args(arguments)
    document, kept = openapi(), versions.load()
    code = record(document)
    if chosen.command == "check":
        return check(code, kept, unannounced(document))
    return keep(code, kept, freeze=chosen.freeze)


def check(code: dict[str, Any], kept: dict[str, Any], silent: Sequence[str] = ()) -> int:
    """Prints what changed since the last release, and what is wrong."""
    verdict = versions.judge(code, kept)
    print(f"contracts {code['version']}, compared with {verdict.base} (released): {len(verdict.changes)} changes")
    for change in verdict.changes:
        print(f"  {change}")
    problems = [*verdict.problems, *silent]
    if not problems and not verdict.recorded:
        problems = [f"contracts/recorded/{code['version']}.json is not what the code says: run {versions.MAKE}"]
    if not problems and stale(kept):
        problems = [f"docs/compatibility.md is stale: run {versions.MAKE}"]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def keep(code: dict[str, Any], kept: dict[str, Any], *, freeze: bool) -> int:
    """Writes the record and the matrix, unless the version does not fit."""
    verdict = versions.judge(code, kept)
    if verdict.problems:
        print("\n".join(verdict.problems), file=sys.stderr)
        return 1
    version = code["version"]
    frozen = freeze or kept.get(version, {}).get("frozen", False)
    about = {"frozen": frozen, "origin": "the code of this repository", "package": __version__}
    kept = kept | {version: about | code}
    path = versions.RECORDED / f"{version}.json"
    path.write_text(json.dumps(kept[version], indent=1, sort_keys=True) + "\n", encoding="utf-8")
    compatibility.PAGE.write_text(compatibility.render(kept), encoding="utf-8")
    print(f"{path.relative_to(versions.ROOT)} and docs/compatibility.md are written")
    return 0


def stale(kept: dict[str, Any]) -> bool:
    """Whether the page of the matrix is not what the records say."""
    page = compatibility.PAGE
    return not page.exists() or page.read_text(encoding="utf-8") != compatibility.render(kept)


if __name__ == "__main__":
    sys.exit(main())
