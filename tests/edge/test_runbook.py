"""docs/runbook.md: its rules name metrics that an edge tells, its drills commands and notebooks that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from mp_kit.cli import app
from mp_kit.server.house import House
from mp_kit.server.scrape import DatabaseFigures, ProcessFigures

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
RULES: list[dict[str, Any]] = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
PROMETHEUS_OWN = {"up"}
_SUFFIXES = ("_total", "_bucket", "_count", "_sum", "_info")


@pytest.fixture(scope="module")
def told(house: House) -> dict[str, dict[str, set[str]]]:
    """Every metric of an edge: its samples' names, with the values of labels where they are closed sets."""
    registry = house.metrics.registry
    registry.register(ProcessFigures(house))
    registry.register(DatabaseFigures(house.db))
    house.metrics.answered("/x", "GET", 200, 0.1)
    house.metrics.ingested(dict.fromkeys(("accepted", "duplicate", "conflict", "rejected"), 1))
    found: dict[str, dict[str, set[str]]] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        found.setdefault(family.name, {})
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for name, value in sample.labels.items():
                labels.setdefault(name, set()).add(value)
    return found


def named_in(text: str) -> set[str]:
    """What has the form of a metric of ours, or of the process's."""
    return set(re.findall(r"\b(?:mp_[a-z0-9_]+|process_[a-z_]+)\b", text))


def test_every_metric_exists(told: dict[str, Any]):
    """In the rules and in the drills."""
    assert len(named_in(PAGE)) > 15
    assert set() == named_in(PAGE) - set(told)


def test_every_metric_of_ours_is_in_the_runbook(told: dict[str, Any]):
    """One that nobody is told to look at is for nobody."""
    families = {name.removesuffix("_bucket").removesuffix("_total") for name in named_in(PAGE)}
    ours = {name for name in told if name.startswith("mp_") and not name.endswith((*_SUFFIXES, "_created"))}
    assert set() == ours - families - named_in(PAGE)


def test_rules_are_rules():
    """A name of its own, an expression with its brackets closed, a severity."""
    names = [rule["alert"] for rule in RULES]
    assert len(names) == len(set(names)) >= 18
    for rule in RULES:
        assert {"alert", "expr", "labels"} <= set(rule) <= {"alert", "expr", "for", "labels"}
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert [rule["expr"].count(opening) for opening in "([{"] == [rule["expr"].count(closing) for closing in ")]}"]
        assert named_in(rule["expr"]) | (PROMETHEUS_OWN & set(re.findall(r"\w+", rule["expr"])))


def selectors() -> Iterator[tuple[str, str, str, str]]:
    for rule in RULES:
        for metric, inside in re.findall(r"\b((?:mp|process)_\w+)\{([^}]*)\}", rule["expr"]):
            for label, operator, value in re.findall(r"(\w+)(=~|!=|=)\"([^\"]*)\"", inside):
                yield metric, label, operator, value


def test_selectors_name_labels_and_words_that_there_are(told: dict[str, dict[str, set[str]]]):
    """A rule over a queue or an outcome that does not exist would never fire."""
    routes = {"/api/signals/store"}
    states = {"queued", "launching", "running", "finishing", "succeeded", "failed", "cancelling", "cancelled"}
    known = {"route": routes, "state": states, "status": {"401", "5.."}, "job": {"mp-edge"}}
    seen = 0
    for metric, label, _, value in selectors():
        there = known.get(label) or told[metric][label]
        assert set(value.split("|")) <= there, (metric, label, value)
        seen += 1
    assert seen > 10


def test_commands_exist():
    """Every `mp …` of the page, word by word, with its options."""
    for line in re.findall(r"`(mp [^`]+)`", PAGE) + re.findall(r"^(mp [^#\n]+)", PAGE, re.MULTILINE):
        _, first, *rest = line.split()
        command = app.load(first)
        while rest and rest[0] in getattr(command, "commands", {}):
            command = command.commands[rest.pop(0)]
        assert not getattr(command, "commands", None), f"{line} is a group"
        options = {flag for part in command.params for flag in getattr(part, "opts", [])}
        assert {word for word in rest if word.startswith("--")} <= options, line


def test_notebooks_and_flows_exist():
    """What the drills send one to."""
    assert [] == [path for path in re.findall(r"`(notebooks/[^`]+)`", PAGE) if not (ROOT / path).is_file()]
    deployed = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    assert set(re.findall(r"mp admin flow run ([a-z-]+)", PAGE)) <= {entry["name"] for entry in deployed}
