"""What the pages tell people to type is there: commands with their options, targets, files, names in Python."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from paperwork import ROOT, SHELLS, Snippet, mp_calls, prefect_names, refusal, settings_names, snippets

import mp_kit
from mp_kit.testing import FakeMarketplace

PAGES = [*sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("*.md"))]
SNIPPETS = [one for page in PAGES for one in snippets(page)]
LANGUAGES = SHELLS | {"python", "yaml", "sql", "text", "json"}
FOLDERS = ("bench", "deployments", "docs", "flows", "notebooks", "requirements", "scripts", "src", "tests")
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
GUIDES = {"HF_TOKEN", "WANDB_API_KEY", "RUNPOD_API_KEY", "NPM_TOKEN"}
_PATH = re.compile(rf"(?<![\w/.:-])(?:{'|'.join(FOLDERS)})/[\w./*-]*\w")


def shells() -> Iterator[Snippet]:
    """Blocks of commands."""
    return (one for one in SNIPPETS if one.language in SHELLS)


def pythons() -> Iterator[Snippet]:
    """Blocks of Python."""
    return (one for one in SNIPPETS if one.language == "python")


def spans(page: Path) -> Iterator[str]:
    """Code within a page's sentences."""
    prose = re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return (" ".join(found.split()) for found in re.findall(r"`([^`]+)`", prose))


def test_languages_are_known():
    """A block in another one would be checked by nobody."""
    assert [] == [f"{one.place} {one.language}" for one in SNIPPETS if one.language not in LANGUAGES]
    assert len(SNIPPETS) > 50


def test_commands_are_taken_by_mp():
    """Every call of `mp` in a block: the command is there, and takes these options and arguments."""
    calls = [(one.place, call) for one in shells() for call in mp_calls(one.text)]
    assert len(calls) > 60
    assert [] == [f"{place}: mp {' '.join(call)}: {why}" for place, call in calls if (why := refusal(call))]


def test_commands_within_sentences_exist():
    """Their words and options; what stands in capitals or dots is left to the reader."""
    odd = []
    for page in PAGES:
        calls = (span.partition(" && ")[0] for span in spans(page) if re.match(r"mp [a-z]", span))
        if page.name not in {"cli.md", "CHANGELOG.md"}:
            odd += [f"{page.name}: `{call}`: {why}" for call in calls if (why := _unknown(call))]
    assert [] == odd


def _unknown(span: str) -> str:
    """What of a command is not there: a word of its name, or an option."""
    from mp_kit.cli import app

    _, name, *rest = span.split()
    if name not in app.COMMANDS:
        return "" if "|" in name else f"no command {name}"
    command = app.load(name)
    while rest and hasattr(command, "commands") and re.fullmatch(r"[a-z-]+", rest[0]):
        if rest[0] not in command.commands:
            return f"no command {rest[0]}"
        command = command.commands[rest.pop(0)]
    options = {flag for part in command.params for each in (part.opts, part.secondary_opts) for flag in each}
    flags = {found for word in rest for found in re.findall(r"^-{1,2}[a-z][a-z-]*", word)} - {"--help"}
    known = options if not hasattr(command, "commands") else flags
    return f"no option {', '.join(sorted(flags - known))}" if flags - known else ""


def test_refusals_are_noticed():
    """The check can fail: an option and a command that are not there, an argument that is missing."""
    assert "--nope" in refusal(["train", "start", "--nope"])
    assert "" != refusal(["train", "begin"])
    assert "" != refusal(["train", "status"])
    assert "" == refusal(["train", "status", "run_1", "--json"])
    assert [["train", "status", "x"]] == list(mp_calls('$ A=1 mp train \\\n  status "x" > out.json && true # mp up'))


def test_targets_and_modules_exist():
    """Each `make …`, `python -m …` and `python scripts/…`, in blocks and sentences."""
    texts = [(one.place, one.text) for one in shells()] + [(page.name, " ; ".join(spans(page))) for page in PAGES]
    odd = []
    for place, text in texts:
        odd += [f"{place}: make {name}" for name in re.findall(r"\bmake ([a-z-]+)\b", text) if name not in TARGETS]
        ours = re.findall(r"python -m (mp_kit[\w.]*|bench)", text)
        odd += [f"{place}: {name}" for name in ours if importlib.util.find_spec(name) is None]
    assert [] == odd


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_exist(page: Path):
    """Whatever is named by its path in the project is there, or is what a command makes."""
    if page.name == "CHANGELOG.md":
        return
    named = {found for text in (*spans(page), *(one.text for one in snippets(page))) for found in _PATH.findall(text)}
    made = ("docs/notebooks",)  # below build/
    assert [] == sorted(name for name in named if not name.startswith(made) and not any(ROOT.glob(f"{name}*")))


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.name)
def test_settings_exist(page: Path):
    """Variables of the operator's side are read by our settings or by Prefect's; others by code that has their name."""
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"\b(?:MP|INFRA|PREFECT|OTEL|AWS|CLOUDFLARE)_[A-Z0-9]+(?:_[A-Z0-9]+)*\b", text))
    odd = named - settings_names() - prefect_names() - GUIDES
    assert set() == {name for name in odd if name not in _code()}


def _code() -> str:
    if not _CODE:
        places = (
            "src/mp_kit/**/*.py",
            "flows/*.py",
            "bench/*.py",
            "deployments/**/*.*",
            "tests/**/*.py",
            "scripts/*.py",
        )
        files = {file for place in places for file in ROOT.glob(place) if file.suffix != ".pyc"}
        _CODE.append("\n".join(file.read_text(encoding="utf-8") for file in sorted(files) if file != Path(__file__)))
    return _CODE[0]


_CODE: list[str] = []


# Python


def _plain(one: Snippet) -> str:
    """Without a notebook's magics."""
    return re.sub(r"^[%!].*$", "", one.text, flags=re.MULTILINE)


@pytest.mark.parametrize("one", list(pythons()), ids=lambda one: one.place)
def test_python_has_names_that_there_are(one: Snippet):
    """It is Python; what it imports can be imported; what it asks `mp` and a marketplace for is there."""
    tree = ast.parse(_plain(one), filename=one.place)
    assert [] == [wrong for node in ast.walk(tree) for wrong in _imports(node)]
    things: dict[str, Any] = {"mp": mp_kit, "m": _marketplace()}
    odd = []
    for node in ast.walk(tree):
        name = _dotted(node)
        if name and name[0] in things and not _found(things[name[0]], name[1:]):
            odd.append(".".join(name))
    assert [] == odd


def _imports(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [one.name for one in node.names if importlib.util.find_spec(one.name) is None]
    if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("mp_kit"):
        module = importlib.import_module(node.module)
        return [f"{node.module}.{one.name}" for one in node.names if not hasattr(module, one.name)]
    return []


def _dotted(node: ast.AST) -> tuple[str, ...]:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    return (node.id, *parts) if isinstance(node, ast.Name) and parts else ()


def _found(thing: Any, names: tuple[str, ...]) -> bool:
    for name in names:
        if not hasattr(thing, name):
            return False
        thing = getattr(thing, name)
    return True


def test_api_reference_has_every_public_name():
    """By a directive of its own or of its module; each directive leads to something."""
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    wanted = re.findall(r"^::: (\S+)$", text, re.MULTILINE)
    assert [] == [name for name in wanted if not _resolved(name)]
    homes = {name: _home(getattr(mp_kit, name)) for name in mp_kit.__all__ if name not in {"__version__", "contracts"}}
    assert {} == {name: home for name, home in homes.items() if not {home, home.rpartition(".")[0]} & set(wanted)}
    parts = [name for name, one in vars(mp_kit.Marketplace).items() if isinstance(one, cached_property)]
    shown = {_home(type(getattr(_marketplace(), name))) for name in parts if not name.startswith("_")}
    assert len(shown) >= 12
    assert set() == shown - set(wanted)


def _marketplace() -> mp_kit.Marketplace:
    fake = FakeMarketplace()
    return mp_kit.Marketplace(fake.url, fake.api_key, transport=fake.transport)


def _home(thing: Any) -> str:
    return thing.__name__ if isinstance(thing, type(sys)) else f"{thing.__module__}.{thing.__qualname__}"


def _resolved(name: str) -> bool:
    if importlib.util.find_spec(name.rpartition(".")[0]) is None:
        return False
    module, _, attribute = name.rpartition(".")
    return hasattr(importlib.import_module(module), attribute) or importlib.util.find_spec(name) is not None


def test_site_lists_every_page():
    """In mkdocs.yml; the rest is in its hook."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r"^ +- (?:[^:\n]+: )?([a-z]+\.md)$", text, re.MULTILINE))
    assert {page.name for page in ROOT.glob("docs/*.md")} | {"tutorials.md"} == listed
