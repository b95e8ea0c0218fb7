"""Completes a command line of ``mp`` out of the commands themselves: for notebooks; shells have click's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mp_kit.cli.app import COMMANDS, load
from mp_kit.cli.orders import LINE_OPTIONS
from mp_kit.errors import MarketplaceError


def complete(words: Sequence[str], *, cell: bool = False) -> list[str]:
    """What the last word may become.

    Args:
        words: After ``mp``; the last one is being typed, and may be empty.
        cell: Of ``%%mp``, which takes ``train`` only.
    """
    *done, typed = words
    done = [word for word in done if word]
    if cell:
        offered: Sequence[str] = LINE_OPTIONS if done else ("train",)
    else:
        offered = _offered(done, typed)
    return [name for name in offered if name.startswith(typed)]


def _offered(done: Sequence[str], typed: str) -> list[str]:
    if not done:
        return ["--help", "--version"] if typed.startswith("-") else list(COMMANDS)
    command = _command(done)
    if command is None:
        return []
    if typed.startswith("-") or not hasattr(command, "commands"):
        return _options(command, done)
    return list(command.commands)


def _command(done: Sequence[str]) -> Any:
    """The command that the words lead to; None where there is none, or its packages are missing."""
    if done[0] not in COMMANDS:
        return None
    try:
        found = load(done[0])
    except (MarketplaceError, ImportError):
        return None
    for word in done[1:]:
        found = getattr(found, "commands", {}).get(word, found)
    return found


def _options(command: Any, done: Sequence[str]) -> list[str]:
    """Its options but those that are there already."""
    flags = [name for given in command.params for name in given.opts if name.startswith("--")]
    return [name for name in [*flags, "--help"] if name not in done]
