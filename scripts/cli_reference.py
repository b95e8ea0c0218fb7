"""Writes ``docs/cli.md`` out of the commands themselves; ``--check`` only tells whether it is stale."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mp_kit import errors
from mp_kit.cli import app, output

PAGE = Path(__file__).resolve().parents[1] / "docs" / "cli.md"
MAKE = "python scripts/cli_reference.py"
HEAD = f"""# The command line: `mp`

Written by `{MAKE}` out of the commands themselves: change their help, not this page.

stdout carries only the result, everything else goes to stderr. With `--json` errors are JSON too, as the last line
of stderr: `{{"error": {{"code", "message", "hint"}}}}`. `mp --version` and every `--help` need no network.
"""


def commands() -> Iterator[tuple[str, Any]]:
    """Every group and command with its full name, in the order of ``mp --help``."""
    for name in app.COMMANDS:
        yield from _walk(f"mp {name}", app.load(name))


def render() -> str:
    """The whole page."""
    found = list(commands())
    index = [f"- [`{name}`](#{name.replace(' ', '-')}): {_first_line(command)}" for name, command in found]
    sections = [_section(name, command) for name, command in found]
    return "\n".join([HEAD, *_exit_codes(), "## Commands", "", *index, "", *sections]).rstrip() + "\n"


def _walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield name, command
    for verb, child in getattr(command, "commands", {}).items():
        yield from _walk(f"{name} {verb}", child)


def _exit_codes() -> Iterator[str]:
    yield "## Exit codes\n"
    words = {int(code): word for code, word in re.findall(r"(\d+) ([^,.]+)", app.EPILOG)} | {output.CANCELLED: "Ctrl-C"}
    by_exit: dict[int, list[str]] = {code: [] for code in words}
    for cls in sorted(errors.BY_CODE.values(), key=lambda cls: cls.code):
        if cls is not errors.MarketplaceError:
            by_exit[output.exit_code(cls("x"))].append(f"`{cls.code}`")
    rows = [(f"`{code}`", words[code], ", ".join(codes)) for code, codes in sorted(by_exit.items())]
    yield from _table(("Exit", "Meaning", "Codes of errors"), rows)


def _section(name: str, command: Any) -> str:
    context = command.context_class(command, info_name=name)
    lines = [f"## {name}" if name.count(" ") == 1 else f"### {name}", "", command.help or "", ""]
    children = getattr(command, "commands", None)
    if children:
        return "\n".join(
            [
                *lines,
                *_table(("Command", "What it does"), [(f"`{name} {v}`", _first_line(c)) for v, c in children.items()]),
            ]
        )
    usage = " ".join(context.get_usage().removeprefix("Usage: ").split())
    parts = [(f"`{flag}`", told) for flag, told in (part.get_help_record(context) for part in command.params)]
    return "\n".join([*lines, f"    {usage}", "", *_table(("Argument or option", "What it means"), parts)])


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for row in rows:
        yield "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in row) + " |"
    yield ""


def _first_line(command: Any) -> str:
    return (command.help or "").strip().partition("\n")[0]


def main(args: list[str]) -> int:
    """Writes the page, or checks it; 1 when it is stale."""
    text = render()
    if "--check" not in args:
        PAGE.write_text(text, encoding="utf-8")
        print(f"{PAGE.relative_to(PAGE.parents[1])}: {len(list(commands()))} commands")
        return 0
    if PAGE.exists() and text == PAGE.read_text(encoding="utf-8"):
        return 0
    print(f"docs/cli.md is stale; write it anew: {MAKE}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
