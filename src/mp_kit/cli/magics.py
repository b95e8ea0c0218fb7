"""``%load_ext mp_kit``: the command line and training runs as IPython magics.

1. ``%mp`` runs any command in this process, with the notebook's connection: the last ``mp_kit.connect()``, else the
   profile.
2. Nothing reads the keyboard: what would ask fails with the option to pass instead.
3. ``%%mp train`` says what it orders before it orders it; a misspelt bound is refused, for it would be no bound.
"""

from __future__ import annotations

import builtins
import getpass
import io
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from IPython.core.completer import SimpleCompletion, context_matcher
from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class

from mp_kit.cli import session
from mp_kit.cli.app import main
from mp_kit.cli.completion import complete
from mp_kit.cli.orders import OPTIONS, read_order

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from mp_kit.client.marketplace import Marketplace
    from mp_kit.client.runs import Run

IN_A_TERMINAL = {"up", "dev"}
"""They serve until they are ended, and a cell has nobody who would end them."""


class CommandFailed(Exception):  # noqa: N818 - it is the exit code of a command that has told its error already
    """A command ended with this exit code; it stops the notebook's run, as an error of Python does."""

    def __init__(self, line: str, code: int) -> None:
        super().__init__(f"`mp {line}` ended with exit code {code}.")
        self.code = code

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


@magics_class
class MpMagics(Magics):
    """The magic ``mp``."""

    @line_cell_magic
    def mp(self, line: str, cell: str | None = None) -> Run | None:
        """Runs a command of ``mp``, or starts a training run.

        Example:
            ``%mp data pull current`` runs the command as in a terminal; ``%mp`` alone lists all of them.

            ``%%mp train --task signal`` with lines such as ``epochs: 20`` or ``max_cost_usd: 2`` below it starts a run
            and shows its live card.
        """
        words = _words(line)
        if cell is not None:
            return _train(self.shell, words, cell)
        if words[:1] and words[0] in IN_A_TERMINAL:
            raise UsageError(f"`mp {words[0]}` serves until it is ended: run it in a terminal.")
        with session.using(_connection()), _no_keyboard():
            code = main(words or ["--help"])
        if code:
            raise CommandFailed(line.strip(), code)
        return None


def load(shell: InteractiveShell) -> None:
    """Registers the magic and its completion."""
    shell.register_magics(MpMagics)
    matchers = getattr(shell.Completer, "custom_matchers", None)
    if matchers is not None and _matches not in matchers:
        matchers.insert(0, _matches)


def _train(shell: Any, words: list[str], cell: str) -> Run | None:
    """Orders the run, names it ``run`` in the notebook, and shows its card."""
    if words[:1] != ["train"]:
        said = f"%%mp {words[0]}" if words else "%%mp"
        raise UsageError(f"{said} takes no cell; write %%mp train, or %mp with a command on one line.")
    order = read_order(words[1:], cell)
    from mp_kit.client.marketplace import connect

    market = _connection() or connect()
    sys.stderr.write(f"ordering: {order}\n")
    run = market.train.start(**order.arguments)
    shell.user_ns["run"] = run
    sys.stderr.write(f"`run` is run {run.run_id}\n")
    if not order.watch:
        return run
    run.watch()
    return None  # its card stands there already


def _connection() -> Marketplace | None:
    """The notebook's connection, if it has made one."""
    module = sys.modules.get("mp_kit.client.marketplace")
    found: Marketplace | None = module.last_connection() if module is not None else None
    return found


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=False)
    except ValueError as error:
        raise UsageError(f"The line cannot be read: {error}.") from None


@contextmanager
def _no_keyboard() -> Iterator[None]:
    """Whoever asks in the block hears at once that nobody will answer."""

    def nobody(*_: object, **__: object) -> NoReturn:
        raise EOFError("a notebook's command asks nothing")

    kept: tuple[Any, Any, Any] = sys.stdin, builtins.input, getpass.getpass
    sys.stdin, builtins.input, getpass.getpass = io.StringIO(), nobody, nobody
    try:
        yield
    finally:
        sys.stdin, builtins.input, getpass.getpass = kept


@context_matcher()  # type: ignore[untyped-decorator]  # IPython's own has no types
def _matches(context: Any) -> dict[str, Any]:
    """Completion of the magic's line: commands, options and values; of a cell's lines: the run's options."""
    found = _candidates(context)
    return {
        "completions": [SimpleCompletion(text=text, type="magic") for text in found or ()],
        "matched_fragment": context.token if found is None else _fragment(context),
        "suppress": bool(found),
    }


def _fragment(context: Any) -> str:
    return str(context.line_with_cursor[: context.cursor_position].replace("=", " ").split(" ")[-1])


def _candidates(context: Any) -> list[str] | None:
    """None where the line is not ours."""
    before = context.line_with_cursor[: context.cursor_position]
    head = before.lstrip()
    for start in ("%%mp ", "%mp "):
        if head.startswith(start):
            return complete(head.removeprefix(start).split(" "), cell=start == "%%mp ")
    first = context.full_text.lstrip()
    if first.startswith("%%mp train") and context.cursor_line > 0 and ":" not in before:
        return [f"{name}: " for name in OPTIONS if name.startswith(before.strip())]
    return None


__all__ = ["CommandFailed", "MpMagics", "load"]
