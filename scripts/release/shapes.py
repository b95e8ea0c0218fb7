"""How one JSON Schema differs from an earlier one: what it takes more, what it takes no longer.

A difference is *wider* (the new schema takes values that the old did not), *narrower* (it refuses values that the old
took) or *other* (neither can be told). Which of them breaks somebody depends on the direction and is not decided here,
but for properties: readers ignore what they do not know, so that a new property breaks nobody who only reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

Json = dict[str, Any]
Kind = Literal["wider", "narrower", "other", "new property", "lost property"]

_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_HANDLED = {*_LOWER, *_UPPER, "$ref", "type", "enum", "const", "properties", "required", "additionalProperties"}
_HANDLED |= {"items", "anyOf", "oneOf", "allOf", "default", "$defs"}


@dataclass(frozen=True)
class Difference:
    """One difference between two schemas, at a place such as ``TrainingRequest.budget.max_hours``."""

    place: str
    kind: Kind
    words: str


@dataclass(frozen=True)
class Comparison:
    """Two sets of named schemas, and schemas that refer into them.

    Args:
        old: Named schemas of before.
        new: Named schemas of now.
    """

    old: Json
    new: Json

    def of(self, place: str, old: Json, new: Json) -> Iterator[Difference]:
        """What differs. A name that both sides use is not followed: it is compared once, by itself."""
        old, new = _plain(old), _plain(new)
        if "branches" in old or "branches" in new:
            yield from self._branches(place, old, new)
        elif old.get("$ref") != new.get("$ref"):
            yield from self._renamed(place, old, new)
        else:
            yield from self._parts(place, old, new)

    def _renamed(self, place: str, old: Json, new: Json) -> Iterator[Difference]:
        """Names are nobody's contract: what stands behind two of them is compared."""
        before, after = self.old.get(old.get("$ref"), old), self.new.get(new.get("$ref"), new)
        if "$ref" in before or "$ref" in after:
            yield Difference(place, "other", f"is {_name(new)}, was {_name(old)}")
        else:
            yield from self.of(place, before, after)

    def _parts(self, place: str, old: Json, new: Json) -> Iterator[Difference]:
        before, after = _types(old), _types(new)
        if before and after and not before & after:
            yield Difference(place, "other", f"is {_name(new)}, was {_name(old)}")
            return
        yield from _sets(place, "type", before, after)
        yield from _sets(place, "value", _values(old), _values(new))
        yield from _bounds(place, old, new)
        yield from self._properties(place, old, new)
        yield from self._inside(f"{place}[]", old.get("items"), new.get("items"))
        yield from self._inside(f"{place}.*", _extra(old), _extra(new))
        yield from _rest(place, old, new)

    def _branches(self, place: str, old: Json, new: Json) -> Iterator[Difference]:
        """Alternatives pair off where they are equal, then by type or name; a last one on each side is compared."""
        before = {_key(branch): branch for branch in old.get("branches", [_bare(old)])}
        after = {_key(branch): branch for branch in new.get("branches", [_bare(new)])}
        lost = [branch for key, branch in before.items() if key not in after]
        added = [branch for key, branch in after.items() if key not in before]
        pairs = [(one, other) for one in lost for other in added if _name(one) == _name(other)]
        if not pairs and len(lost) == len(added) == 1:
            pairs = [(lost[0], added[0])]
        for one, other in pairs:
            yield from self.of(place, one, other)
        lost = [branch for branch in lost if branch not in [one for one, _ in pairs]]
        added = [branch for branch in added if branch not in [other for _, other in pairs]]
        for branch in added:
            yield Difference(place, "wider", f"may be {_name(branch)} now")
        for branch in lost:
            yield Difference(place, "narrower", f"can't be {_name(branch)} any more")

    def _properties(self, place: str, old: Json, new: Json) -> Iterator[Difference]:
        before, after = old.get("properties", {}), new.get("properties", {})
        needed, needs = set(old.get("required", [])), set(new.get("required", []))
        for name in sorted({*before, *after}):
            where = f"{place}.{name}"
            if name not in after:
                yield Difference(where, "lost property", "removed")
            elif name not in before:
                must = name in needs
                yield Difference(where, "new property", "added, and required" if must else "added, optional")
            else:
                if (name in needed) != (name in needs):
                    kind: Kind = "narrower" if name in needs else "wider"
                    yield Difference(where, kind, "required now" if name in needs else "optional now")
                yield from self.of(where, before[name], after[name])

    def _inside(self, place: str, old: Any, new: Any) -> Iterator[Difference]:
        """Items, or values of an open object; ``None`` and ``True`` take anything."""
        before, after = (None if part is True else part for part in (old, new))
        if before == after:
            return
        if isinstance(before, dict) and isinstance(after, dict):
            yield from self.of(place, before, after)
        elif after is None or before is False:
            yield Difference(place, "wider", "takes more now")
        else:
            yield Difference(place, "narrower", "takes less now")


def _plain(schema: Json) -> Json:
    """A schema with its alternatives under ``branches``; one alternative is no alternative."""
    branches = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    if branches is None:
        if isinstance(schema.get("type"), list):
            return {"branches": [{**schema, "type": kind} for kind in schema["type"]]}
        return schema
    beside = {key: value for key, value in schema.items() if key not in {"anyOf", "oneOf", "allOf", "discriminator"}}
    flat = [inner for branch in branches for inner in _plain(branch).get("branches", [branch])]
    return {**beside, **flat[0]} if len(flat) == 1 else {**beside, "branches": flat}


def _sets(place: str, what: str, old: set[str] | None, new: set[str] | None) -> Iterator[Difference]:
    """Two sets of allowed words; ``None`` allows all."""
    if old == new:
        return
    if new is None:
        yield Difference(place, "wider", f"takes any {what} now")
    elif old is None:
        yield Difference(place, "narrower", f"takes only the {what} {', '.join(sorted(new))} now")
    else:
        for word in sorted(new - old):
            yield Difference(place, "wider", f"{what} {word} added")
        for word in sorted(old - new):
            yield Difference(place, "narrower", f"{what} {word} removed")


def _bounds(place: str, old: Json, new: Json) -> Iterator[Difference]:
    for names, sign in ((_LOWER, 1), (_UPPER, -1)):
        for name in names:
            before, after = old.get(name), new.get(name)
            if before == after:
                continue
            tighter = before is None or (after is not None and (after - before) * sign > 0)
            yield Difference(place, "narrower" if tighter else "wider", f"{name} is {after}, was {before}")


def _rest(place: str, old: Json, new: Json) -> Iterator[Difference]:
    """Keywords without an order, such as ``pattern`` and ``format``; a default's change alters what silence means."""
    for name in sorted({*old, *new} - _HANDLED):
        before, after = old.get(name), new.get(name)
        if before == after:
            continue
        kind: Kind = "narrower" if before is None else "wider" if after is None else "other"
        yield Difference(place, kind, f"{name} is {_told(after)}, was {_told(before)}")
    if "default" in old and "default" in new and old["default"] != new["default"]:
        yield Difference(place, "other", f"default is {_told(new['default'])}, was {_told(old['default'])}")


def _types(schema: Json) -> set[str] | None:
    # A number takes what an integer takes, so integer -> number only widens.
    kind = schema.get("type")
    return None if kind is None else {"integer", "number"} if kind == "number" else {kind}


def _values(schema: Json) -> set[str] | None:
    if "enum" in schema:
        return {_told(value) for value in schema["enum"]}
    return {_told(schema["const"])} if "const" in schema else None


def _extra(schema: Json) -> Any:
    return schema.get("additionalProperties")


def _bare(schema: Json) -> Json:
    return {key: value for key, value in schema.items() if key != "default"}


def _key(branch: Json) -> str:
    return json.dumps(_bare(branch), sort_keys=True)


def _name(schema: Json) -> str:
    return str(schema.get("$ref") or schema.get("type") or schema.get("const") or "something else")


def _told(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
