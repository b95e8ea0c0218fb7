"""What ``%%mp train`` orders: options on the line, options and hyperparameters as ``name: value`` lines in the cell.

The lines are the part of YAML that needs no parser: flat, comments after ``#``, one indented block ``hyperparams:``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from IPython.core.error import UsageError

from mp_kit.cli.output import scalar

TEXTS = ("task", "round", "provider", "gpu", "base_image", "hf_repo_id", "wandb_project", "idempotency_key")
NUMBERS = ("max_hours", "max_cost_usd", "cpu", "memory", "disk")
OPTIONS = (*TEXTS, *NUMBERS)
"""As of ``m.train.start``."""
ALIASES = {"max_cost": "max_cost_usd", "image": "base_image", "hf_repo": "hf_repo_id"}
BLOCK = "hyperparams"
LINE_OPTIONS = (*(f"--{name.replace('_', '-')}" for name in OPTIONS), "--hp", "--no-watch")
_LINE = re.compile(r"^(?P<indent>\s*)(?P<name>[A-Za-z_][\w.\-]*)\s*[:=](?:\s+(?P<value>.*?)|(?P<tight>\S.*?))?\s*$")
_QUOTED = re.compile(r"""^(\s*[\w.\-]+\s*[:=]\s*(["']).*?\2)\s*(?:#.*)?$""")
_MONEY = ("max_", "cost", "usd", "budget", "hours")


@dataclass
class Order:
    """A run that is to be ordered.

    Args:
        options: As of ``m.train.start``.
        hyperparams: By name.
        watch: Show the live card until the run's end.
    """

    options: dict[str, Any] = field(default_factory=dict)
    hyperparams: dict[str, Any] = field(default_factory=dict)
    watch: bool = True

    @property
    def arguments(self) -> dict[str, Any]:
        """Those of ``m.train.start``."""
        return {"task": "signal", **self.options, "hyperparams": self.hyperparams}

    def __str__(self) -> str:
        told = {"task": "signal", "round": "current", **self.options, **self.hyperparams}
        bounds = "" if {"max_hours", "max_cost_usd"} & set(self.options) else "; no bound of yours, the house's holds"
        return ", ".join(f"{name}={value}" for name, value in told.items()) + bounds


def read_order(words: Sequence[str], cell: str) -> Order:
    """Reads line and cell.

    Args:
        words: Of the line, after ``train``.
        cell: The lines below it.

    Raises:
        UsageError: A word or line cannot be read, comes twice, or is nearly the name of an option.
    """
    order = Order()
    _read_words(order, list(words))
    in_block = False
    for number, line in enumerate(cell.splitlines(), 1):
        bare = _bare(line)
        if not bare.strip():
            continue
        found = _LINE.match(bare)
        if found is None:
            raise UsageError(f"Line {number} of the cell is no `name: value`: {bare.strip()[:60]!r}.")
        indented = bool(found["indent"])
        if indented and not in_block:
            raise UsageError(f"Line {number} of the cell is indented; only lines below `{BLOCK}:` are.")
        value = found["value"] or found["tight"] or ""
        in_block = indented or (found["name"] == BLOCK and not value)
        if found["name"] == BLOCK and not indented:
            if value:
                raise UsageError(f"Write hyperparameters on lines of their own below `{BLOCK}:`, indented.")
            continue
        _take(order, found["name"], value, hyper=indented, where=f"line {number} of the cell")
    return order


def _bare(line: str) -> str:
    """The line without its comment; a # in quotes is none."""
    quoted = _QUOTED.match(line)
    return quoted[1] if quoted is not None else re.sub(r"(^|\s)#.*$", "", line).rstrip()


def _read_words(order: Order, words: list[str]) -> None:
    while words:
        word = words.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        if word == "--no-watch":
            order.watch = False
            continue
        if not word.startswith("--") or name.replace("-", "_") not in {*OPTIONS, *ALIASES, "hp"}:
            raise UsageError(f"%%mp train does not know {word!r}. On its line: {' '.join(LINE_OPTIONS)}.")
        if not equals and not words:
            raise UsageError(f"{word} wants a value.")
        value = value if equals else words.pop(0)
        if name == "hp":
            name, _, value = value.partition("=")
        _take(order, name.replace("-", "_"), value, hyper=word.startswith("--hp"), where="the line")


def _take(order: Order, name: str, text: str, *, hyper: bool, where: str) -> None:
    name = name if hyper else ALIASES.get(name, name)
    if not text:
        raise UsageError(f"{name} on {where} has no value.")
    into: dict[str, Any] = order.options if name in OPTIONS and not hyper else order.hyperparams
    if into is order.hyperparams and not hyper:
        _refuse_nearly(name, where)
    if name in into:
        raise UsageError(f"{name} is there twice, again on {where}.")
    quoted = text[0] == text[-1] and text[0] in "\"'" and len(text) > 1
    plain = text[1:-1] if quoted else text
    into[name] = plain if quoted or (into is order.options and name in TEXTS) else scalar(plain)


def _refuse_nearly(name: str, where: str) -> None:
    """A misspelt bound would be taken for a hyperparameter, and bind nothing."""
    near = difflib.get_close_matches(name, [*OPTIONS, *ALIASES, BLOCK], 1, 0.75)
    if near or any(part in name for part in _MONEY):
        asks = f"Did you mean {near[0]}? " if near else f"Options are {', '.join(OPTIONS)}. "
        raise UsageError(
            f"{name} on {where} is no option. {asks}A hyperparameter of that name stands below `{BLOCK}:`."
        )
