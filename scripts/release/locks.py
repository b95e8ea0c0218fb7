"""Whether ``requirements/all.txt`` still is what ``pyproject.toml`` asks for, without asking an index.

1. Every requirement of the project, and of whatever is installed for it, is pinned to a version that satisfies it.
2. Every pin is there for some requirement: nothing is left over.
3. Every pin has a hash.

Pins for other platforms, which the lock marks, are left alone: what they ask for is known where they are installed.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)(?:\s*;\s*([^\\]+))?")


@dataclass(frozen=True)
class Pin:
    """One line of a lock, and how many hashes stand under it."""

    name: str
    version: str
    marker: str
    hashes: int

    @property
    def is_for_here(self) -> bool:
        """Whether this platform and Python take it."""
        return not self.marker or Marker(self.marker).evaluate()


def pins(text: str) -> dict[str, Pin]:
    """The pins of a lock that this platform takes, by canonical name."""
    found: dict[str, Pin] = {}
    for block in re.split(r"\n(?=\S)", text):
        match = _PIN.match(block)
        if match:
            marker = (match[3] or "").strip()
            pin = Pin(str(canonicalize_name(match[1])), match[2], marker, block.count("--hash="))
            if pin.is_for_here:
                found[pin.name] = pin
    return found


def wanted(pyproject: str) -> list[Requirement]:
    """What the project asks for: its core, all extras that are locked, its development group."""
    told = tomllib.loads(pyproject)
    project = told["project"]
    name = canonicalize_name(project["name"])
    found = [Requirement(line) for line in [*project["dependencies"], *told["dependency-groups"]["dev"]]]
    waiting, seen = {"all"}, set()
    while waiting:
        extra = waiting.pop()
        seen.add(extra)
        for requirement in map(Requirement, project["optional-dependencies"].get(extra, [])):
            if canonicalize_name(requirement.name) == name:
                waiting |= requirement.extras - seen
            else:
                found.append(requirement)
    return found


def problems(pyproject: str, lock: str) -> list[str]:
    """What no longer fits; empty when the lock is fresh."""
    locked = pins(lock)
    told, reached = [], set()
    waiting = [("pyproject.toml", requirement, frozenset(requirement.extras)) for requirement in wanted(pyproject)]
    seen = set()
    while waiting:
        whose, requirement, extras = waiting.pop()
        name = str(canonicalize_name(requirement.name))
        reached.add(name)
        pin = locked.get(name)
        if pin is None:
            told.append(f"{requirement} ({whose}) is not locked")
        elif not requirement.specifier.contains(pin.version, prereleases=True):
            told.append(f"{requirement} ({whose}) is not met by the locked {pin.version}")
        if pin is not None and (name, extras) not in seen:
            seen.add((name, extras))
            waiting += [(name, one, frozenset(one.extras)) for one in _needs(name, extras)]
    told += [f"{name} is locked, and nothing asks for it" for name in sorted(set(locked) - reached)]
    told += [f"{pin.name} has no hash" for pin in locked.values() if not pin.hashes]
    return sorted(set(told))


def _needs(name: str, extras: frozenset[str]) -> Iterator[Requirement]:
    """What an installed package asks for here; one that is not installed, and so was no longer locked, asks nothing."""
    try:
        lines = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return
    for line in lines:
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in {"", *extras}):
            yield requirement
