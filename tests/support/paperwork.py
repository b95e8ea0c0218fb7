"""What is written down, held against what there is: snippets of pages, commands of `mp`, names of settings."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SHELLS = {"", "bash", "console", "sh"}
_FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_ENDS = {"|", "||", "&&", "&", ";", "(", ")", ";;"}


@dataclass(frozen=True)
class Snippet:
    """A fenced block of a page.

    Attributes:
        page: The page, relative to the project.
        line: Where it begins.
        language: What is written behind the fence.
        text: What stands in it.
    """

    page: str
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        """Where to look."""
        return f"{self.page}:{self.line}"


def snippets(page: Path) -> Iterator[Snippet]:
    """Every fenced block of a page."""
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Snippet(str(page.relative_to(ROOT)), line, found[2], found[3])


def commands(text: str) -> Iterator[list[str]]:
    """Each simple command of a shell's text, as words, without what is redirected.

    Raises:
        ValueError: A quote is not closed.
    """
    joined = re.sub(r"\\\n\s*", " ", text)
    for line in joined.splitlines():
        words = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="|&;()")
        words.whitespace_split, words.commenters = True, ""
        command: list[str] = []
        for word in words:
            if word.startswith("#"):
                break
            if word in _ENDS:
                yield command
                command = []
            else:
                command.append(word)
        yield command


def mp_calls(text: str) -> Iterator[list[str]]:
    """What is handed to `mp` in a shell's text, wherever in a line it is called."""
    from mp_kit.cli import app

    for words in commands(text):
        for place, word in enumerate(words[:-1]):
            if word == "mp" and words[place + 1] in app.COMMANDS:
                kept = words[place + 1 :]
                stop = next((n for n, each in enumerate(kept) if re.match(r"\d?[<>]", each)), len(kept))
                yield kept[:stop]
                break


def refusal(arguments: Sequence[str]) -> str:
    """Why `mp` does not take these arguments; empty where it does. Nothing is run."""
    from mp_kit.cli import app

    name, *rest = arguments
    command: Any = app.load(name)
    context: Any = None
    try:
        context = command.make_context(name, rest)
        while hasattr(command, "commands"):
            name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
            context = command.make_context(name, rest, parent=context)
    except Exception as error:  # noqa: BLE001 - click's own, whichever click it is
        if getattr(error, "exit_code", 1) == 0:  # --help
            return ""
        told = getattr(error, "format_message", None)
        return str(told() if told is not None else repr(error))
    return ""


class Asked(Mapping[str, str]):
    """An environment that remembers what it was asked for."""

    def __init__(self, **known: str) -> None:
        self.known = known
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        return self.known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.known)

    def __len__(self) -> int:
        return len(self.known)


@cache
def settings_names() -> frozenset[str]:
    """Every variable that ``mp_kit.server.settings`` asks the environment for."""
    from mp_kit.server.settings import SECRET_NAMES, load

    known = dict.fromkeys([*SECRET_NAMES, "MP_GITHUB_CLIENT_ID", "MP_GITHUB_CLIENT_SECRET"], "s" * 40)
    env = Asked(MP_DATABASE_URL="postgresql://x/y", **known)
    load(ROOT / "no-such-home", env)
    return frozenset(env.names | {"MP_HOME"})


@cache
def prefect_names() -> frozenset[str]:
    """Every variable of Prefect's own settings, read out of its source: importing them costs seconds."""
    spec = importlib.util.find_spec("prefect")
    assert spec is not None
    assert spec.origin is not None
    found: set[str] = set()
    for path in (Path(spec.origin).parent / "settings" / "models").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found |= set(_names_of(node))
    return frozenset(found)


def _names_of(model: ast.ClassDef) -> Iterator[str]:
    """``PREFECT_``, the model's path, the field; and the aliases of older days."""
    config = next((_path(node.value) for node in model.body if _is_config(node)), None)
    if config is None:
        return
    for node in model.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield "_".join(["PREFECT", *config, node.target.id]).upper()
            texts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
            yield from (text.upper() for text in texts if isinstance(text, str) and text.startswith("prefect_"))


def _is_config(node: ast.stmt) -> Any:
    return (
        isinstance(node, ast.Assign | ast.AnnAssign)
        and isinstance(node.value, ast.Call)
        and getattr(node.value.func, "id", "") == "build_settings_config"
    )


def _path(call: Any) -> tuple[str, ...]:
    return ast.literal_eval(call.args[0]) if call.args else ()
