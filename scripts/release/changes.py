"""What changed between two recorded contracts, and which step of the version each change needs.

**major**: somebody's working client or server breaks. **minor**: something is there that was not. There is no list of
patches: what alters no recorded fact may go out under a patch.

A request may be widened, an answer may be narrowed; the other way round breaks. A vocabulary in an answer that grows
breaks as well, because a careful client refuses a word that it does not know: what may grow is plain text in answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from .shapes import Comparison, Difference

Json = dict[str, Any]


class Step(IntEnum):
    """By how much a version has to grow, in rising order."""

    NONE = 0
    PATCH = 1
    MINOR = 2
    MAJOR = 3


@dataclass(frozen=True)
class Change:
    """One change of the contracts."""

    step: Step
    place: str
    words: str

    def __str__(self) -> str:
        return f"{self.step.name.lower()}: {self.place}: {self.words}"


def compare(old: Json, new: Json) -> list[Change]:
    """Every change from one record to a later one, the gravest first."""
    found = [
        *_words("error", old["errors"], new["errors"]),
        *_words("header", dict.fromkeys(old["headers"]), dict.fromkeys(new["headers"])),
        *_words("contract", old["roots"], new["roots"]),
        *Routes(old, new).changes(),
        *_models("input", old, new),
        *_models("output", old, new),
    ]
    return sorted(found, key=lambda change: (-change.step, change.place, change.words))


def step_of(changes: Iterable[Change]) -> Step:
    """The step that all of them together need."""
    return max((change.step for change in changes), default=Step.NONE)


def _words(what: str, old: Json, new: Json) -> Iterator[Change]:
    """Names with a fact each: one more is an offer, one less or another fact breaks."""
    for name in sorted({*old, *new}):
        place = f"{what} {name}"
        if name not in new:
            yield Change(Step.MAJOR, place, "removed")
        elif name not in old:
            yield Change(Step.MINOR, place, "added")
        elif old[name] != new[name]:
            yield Change(Step.MAJOR, place, f"is {new[name]}, was {old[name]}")


class Routes:
    """The routes of two records, and what their bodies and answers refer to."""

    def __init__(self, old: Json, new: Json) -> None:
        self._old, self._new = _built(old["routes"]), _built(new["routes"])
        self._shapes = {way: Comparison(old[way], new[way]) for way in ("input", "output")}

    def changes(self) -> Iterator[Change]:
        """Route by route."""
        for name in sorted({*self._old, *self._new}):
            if name not in self._new:
                yield Change(Step.MAJOR, name, "removed")
            elif name not in self._old:
                yield Change(Step.MINOR, name, "added")
            else:
                old, new = self._old[name], self._new[name]
                yield from _terms(name, old, new)
                yield from self._parameters(name, old["parameters"], new["parameters"])
                yield from self._contents(f"{name} body", old["body"]["content"], new["body"]["content"], "input")
                for status in sorted(set(old["answers"]) & set(new["answers"])):
                    place = f"{name} {status}"
                    yield from self._contents(place, old["answers"][status], new["answers"][status], "output")

    def _parameters(self, route: str, old: Json, new: Json) -> Iterator[Change]:
        for name in sorted({*old, *new}):
            place, must = f"{route} {name}", name in new and new[name]["required"]
            step = Step.MAJOR if must else Step.MINOR
            if name not in new:
                yield Change(Step.MAJOR, place, "removed")
            elif name not in old:
                yield Change(step, place, "added, and required" if must else "added, optional")
            else:
                if old[name]["required"] != must:
                    yield Change(step, place, "required now" if must else "optional now")
                found = self._shapes["input"].of(place, old[name]["schema"], new[name]["schema"])
                yield from _judged(found, "input")

    def _contents(self, place: str, old: Json, new: Json, direction: str) -> Iterator[Change]:
        for kind in sorted({*old, *new}):
            if kind not in new:
                yield Change(Step.MAJOR, place, f"{kind} removed")
            elif kind not in old:
                yield Change(Step.MINOR, place, f"{kind} added")
            else:
                yield from _judged(self._shapes[direction].of(place, old[kind], new[kind]), direction)


def _built(routes: Json) -> Json:
    """Routes that answer something; one that only says 501 is an announcement."""
    return {name: route for name, route in routes.items() if route["answers"]}


def _terms(name: str, old: Json, new: Json) -> Iterator[Change]:
    """Who may call a route, whether it needs a body, how it may end."""
    if old["token"] != new["token"]:
        needs = new["token"]
        yield Change(Step.MAJOR if needs else Step.MINOR, name, "needs a token now" if needs else "public now")
    if old["deprecated"] != new["deprecated"]:
        yield Change(Step.MINOR, name, "deprecated now" if new["deprecated"] else "no longer deprecated")
    if new["body"]["required"] and not old["body"]["required"]:
        yield Change(Step.MAJOR, name, "needs a body now")
    for status in sorted({*old["answers"]} ^ {*new["answers"]}):
        verb = "answers" if status in new["answers"] else "no longer answers"
        yield Change(Step.MAJOR, name, f"{verb} {status}")
    for status in sorted({*old["refusals"]} ^ {*new["refusals"]}):
        verb = "may refuse" if status in new["refusals"] else "no longer refuses"
        yield Change(Step.MINOR, name, f"{verb} with {status}")


def _models(direction: str, old: Json, new: Json) -> Iterator[Change]:
    """Models that both know: whoever lost or won one altogether does so by a route or a root."""
    shapes = Comparison(old[direction], new[direction])
    for name in sorted(set(old[direction]) & set(new[direction])):
        yield from _judged(shapes.of(name, old[direction][name], new[direction][name]), direction)


def _judged(found: Iterable[Difference], direction: str) -> Iterator[Change]:
    return (Change(_step(one, direction), f"{direction} {one.place}", one.words) for one in found)


def _step(one: Difference, direction: str) -> Step:
    if one.kind == "lost property":
        return Step.MAJOR
    if one.kind == "new property":
        return Step.MAJOR if direction == "input" and one.words.endswith("required") else Step.MINOR
    if one.kind == "other":
        # An answer's default is what it has when nothing else is said: a fact of the answer, no promise.
        return Step.MINOR if direction == "output" and one.words.startswith("default") else Step.MAJOR
    safe = "wider" if direction == "input" else "narrower"
    return Step.MINOR if one.kind == safe else Step.MAJOR
