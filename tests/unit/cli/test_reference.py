"""docs/cli.md is what the commands say of themselves, and they say all of it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from mp_kit.cli import app
from mp_kit.cli.output import CANCELLED, EXIT_CODES, FAILED, OK, USAGE

ROOT = Path(__file__).parents[3]


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("cli_reference", ROOT / "scripts" / "cli_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = _load()
COMMANDS: dict[str, Any] = dict(reference.commands())
LEAVES = {name: command for name, command in COMMANDS.items() if not getattr(command, "commands", None)}


def test_page_is_fresh():
    """Else: python scripts/cli_reference.py."""
    assert reference.render() == (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


def test_check_tells_a_stale_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Absent or changed: 1 and the command that mends it; fresh: 0 and silence."""
    monkeypatch.setattr(reference, "PAGE", tmp_path / "docs" / "cli.md")
    assert 1 == reference.main(["--check"])
    assert "stale; write it anew: python scripts/cli_reference.py" in capsys.readouterr().err
    reference.PAGE.parent.mkdir()
    assert 0 == reference.main([])
    capsys.readouterr()
    assert (0, ("", "")) == (reference.main(["--check"]), tuple(capsys.readouterr()))
    reference.PAGE.write_text(reference.PAGE.read_text() + "\n")
    assert 1 == reference.main(["--check"])


@pytest.mark.parametrize("name", COMMANDS)
def test_command_has_help(name: str):
    """A sentence, told on the page."""
    assert (COMMANDS[name].help or "").strip().partition("\n")[0].endswith(".")


@pytest.mark.parametrize("name", LEAVES)
def test_each_argument_and_option_has_help(name: str):
    """Nobody has to guess."""
    assert [] == [part.opts for part in LEAVES[name].params if not (part.help or "").strip()]


@pytest.mark.parametrize("name", LEAVES)
def test_each_command_takes_json(name: str):
    """What a script calls, a script can read."""
    assert "--json" in {flag for part in LEAVES[name].params for flag in part.opts}


def test_operators_commands_are_there():
    """With all their verbs."""
    assert {"mp up", "mp admin vendor create", "mp admin round publish", "mp admin migrate"} <= set(LEAVES)
    assert set(app.COMMANDS) == {name.split()[1] for name in COMMANDS}


def test_page_has_one_section_a_command():
    """And the index leads to each."""
    page = reference.render()
    assert sorted([*COMMANDS]) == sorted(re.findall(r"^###? (mp .+)$", page, re.MULTILINE))
    assert sorted(name.replace(" ", "-") for name in COMMANDS) == sorted(re.findall(r"\]\(#([^)]+)\)", page))


def test_exit_codes_of_page_epilog_and_code_agree():
    """One table, told three times."""
    used = {OK, FAILED, USAGE, CANCELLED, *EXIT_CODES.values()}
    assert used == {int(code) for code in re.findall(r"^\| `(\d+)` \|", reference.render(), re.MULTILINE)}
    assert used - {CANCELLED} == {int(code) for code in re.findall(r"\b(\d+) \w", app.EPILOG)}


def test_page_tells_nothing_of_this_machine():
    """No folder, no user, no colours; the same wherever it is written."""
    page = reference.render()
    assert "\x1b" not in page
    assert [] == [text for text in (str(ROOT), "/tmp", "/home/", "/root", "/Users/") if text in page]  # noqa: S108 - looked for, not used


def test_width_of_the_terminal_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    """Usage lines are never wrapped."""
    wide = reference.render()
    monkeypatch.setenv("COLUMNS", "20")
    assert wide == reference.render()
