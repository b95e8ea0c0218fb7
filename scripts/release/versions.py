"""Records of contracts by version, and whether the code's version says what changed.

A record is *frozen* once a release has gone out with it. The code is always compared with the newest frozen one: how
often a contract changed between two releases is nobody's business, what changed from one to the next is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .changes import Change, Step, compare, step_of

Json = dict[str, Any]
Version = tuple[int, int, int]

ROOT = Path(__file__).resolve().parents[2]
RECORDED = ROOT / "contracts" / "recorded"
MAKE = "python scripts/contracts.py record"


@dataclass(frozen=True)
class Verdict:
    """What the comparison with the newest frozen record says.

    Args:
        base: The version it was compared with.
        changes: What changed since.
        problems: Why the code's version does not fit; empty when it does.
        recorded: Whether the record of the code's version is what the code says.
    """

    base: str
    changes: list[Change]
    problems: list[str]
    recorded: bool


def parse(text: str) -> Version:
    """MAJOR.MINOR.PATCH as numbers.

    Raises:
        ValueError: It has another form.
    """
    parts = text.split(".")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):  # noqa: PLR2004
        msg = f"{text!r} is no MAJOR.MINOR.PATCH"
        raise ValueError(msg)
    major, minor, patch = map(int, parts)
    return major, minor, patch


def next_version(base: str, step: Step) -> str:
    """The least version that makes a step from ``base``."""
    major, minor, patch = parse(base)
    stepped = {
        Step.NONE: (major, minor, patch),
        Step.PATCH: (major, minor, patch + 1),
        Step.MINOR: (major, minor + 1, 0),
        Step.MAJOR: (major + 1, 0, 0),
    }[step]
    return ".".join(map(str, stepped))


def load(folder: Path = RECORDED) -> dict[str, Json]:
    """Every record by version, the oldest first.

    Raises:
        ValueError: A file's name is not the version that it states.
    """
    found = {}
    for path in sorted(folder.glob("*.json"), key=lambda path: parse(path.stem)):
        told = json.loads(path.read_text(encoding="utf-8"))
        if told["version"] != path.stem:
            msg = f"{path.name} states version {told['version']}"
            raise ValueError(msg)
        found[path.stem] = told
    return found


def judge(code: Json, kept: dict[str, Json]) -> Verdict:
    """Whether the code's contracts bear the right version, and are recorded."""
    frozen = [version for version, told in kept.items() if told.get("frozen")]
    base = max((version for version in frozen), key=parse)
    changes = compare(kept[base], code)
    record = kept.get(code["version"], {})
    return Verdict(base, changes, list(_problems(code, base, changes)), facts(record) == facts(code))


def facts(record: Json) -> Json:
    """A record without what it says of itself, as JSON gives it back."""
    told: Json = json.loads(json.dumps({key: value for key, value in record.items() if key not in _ABOUT}))
    return told


_ABOUT = {"frozen", "origin", "corrections", "package"}


def _problems(code: Json, base: str, changes: list[Change]) -> list[str]:
    step = step_of(changes)
    least = next_version(base, step)
    version = code["version"]
    if parse(version) < parse(base):
        return [f"CONTRACTS_VERSION {version} is older than {base}, which is released"]
    if parse(version) >= parse(least):
        return []
    gravest = [f"  {change}" for change in changes if change.step == step]
    shown = gravest[:20] + ([f"  … and {len(gravest) - 20} more"] if len(gravest) > 20 else [])  # noqa: PLR2004
    said = f"the contracts changed since {base} by a {step.name.lower()} step, and CONTRACTS_VERSION is {version}"
    return [f"{said}: set it to {least} in src/mp_kit/contracts/versions.py and run {MAKE}", *shown]
