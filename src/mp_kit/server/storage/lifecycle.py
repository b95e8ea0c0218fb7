"""Rules by which a bucket clears what nobody finishes: staged uploads, and parts of uploads that broke off.

1. Our rules are known by their ids, which have the store's prefix in them: two marketplaces may share a bucket.
2. Everybody else's rules stay as they are, in their order. S3 takes only a whole new list, and cannot be told
   "unless it changed meanwhile": so it is written only when one of ours is missing or differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mp_kit.server.storage.access import Place
from mp_kit.server.storage.stale import BROKEN_LIFE, FOLDERS, STAGED, STAGED_LIFE

__all__ = ["merged", "wanted"]

Rule = Mapping[str, Any]


def wanted(place: Place) -> list[Rule]:
    """Our rules for a store: one per folder, all of which drop parts; the one for staged uploads drops these too."""
    return [_rule(place, folder) for folder in FOLDERS]


def _rule(place: Place, folder: str) -> Rule:
    prefix = f"{place.name(folder)}/"
    rule: dict[str, Any] = {
        "ID": f"mp-kit: {prefix}"[:255],
        "Status": "Enabled",
        "Filter": {"Prefix": prefix},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": BROKEN_LIFE.days},
    }
    return rule | ({"Expiration": {"Days": STAGED_LIFE.days}} if folder == STAGED else {})


def merged(existing: Sequence[Rule], ours: Sequence[Rule]) -> list[Rule] | None:
    """The list to write; None when all of ours are in it already.

    Args:
        existing: What the bucket has.
        ours: What it shall have besides.
    """
    by_id = {rule["ID"]: rule for rule in ours}
    there = {rule.get("ID"): rule for rule in existing}
    if all(_is_same(there.get(name), rule) for name, rule in by_id.items()):
        return None
    return [rule for rule in existing if rule.get("ID") not in by_id] + list(ours)


def _is_same(found: Rule | None, rule: Rule) -> bool:
    """Servers tell a rule's prefix in the old place or in the new one, and leave out what is empty."""
    return found is not None and _normal(found) == _normal(rule)


def _normal(rule: Rule) -> dict[str, Any]:
    filled = {name: value for name, value in rule.items() if value not in (None, [], {}, "")}
    prefix = rule.get("Prefix") or (rule.get("Filter") or {}).get("Prefix")
    return {name: value for name, value in filled.items() if name not in {"Prefix", "Filter"}} | {"prefix": prefix}
