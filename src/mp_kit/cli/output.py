"""What ``mp`` says: the result on stdout and nothing else there; everything else, errors too, on stderr."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from mp_kit import errors

OK = 0
FAILED = 1
USAGE = 2
CANCELLED = 130

EXIT_CODES: dict[type[errors.MarketplaceError], int] = {
    errors.MarketplaceError: FAILED,
    errors.AuthError: 3,
    errors.ForbiddenError: 3,
    errors.NotFoundError: 4,
    errors.InvalidInputError: 5,
    errors.BudgetError: 6,
    errors.ConflictError: 7,
    errors.TimeoutExceededError: 8,
    errors.NetworkError: 9,
    errors.TransferError: 9,
    errors.UnavailableError: 9,
}
"""The exit code of each error; a class that is not listed has its parent's."""

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON; errors too, as stderr's last line.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be sent, and send nothing.")]
IdempotencyKey = Annotated[
    str | None, typer.Option("--idempotency-key", help="Repeating the command with this key acts only once.")
]
RoundOption = Annotated[str, typer.Option("--round", help="Round id, or 'current'.")]


_CONTROL = re.compile(r"\x1b\[[0-9;]*m|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_INSTANT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?Z")
_LISTS = {
    "no training run": "See yours: mp train list",
    "no deployment": "See yours: mp deployments list",
    "no version": "See its versions: mp models lineage MODEL",
    "no model": "See yours: mp models list",
}
_PICTURES = 0x2400
"""Unicode's pictures of the control characters begin here."""


def exit_code(error: errors.MarketplaceError) -> int:
    """The exit code of an error, by its class or the nearest parent in the table."""
    return next(EXIT_CODES[cls] for cls in type(error).__mro__ if cls in EXIT_CODES)


def emit(result: Any, *, as_json: bool, text: str | Callable[[], str] | None = None) -> None:
    """Writes a command's result to stdout.

    Args:
        result: What ``--json`` prints: a contract, a dictionary, or a list of them.
        as_json: JSON is wanted.
        text: What people get instead; all rows of a table, else ``repr`` of the result, by default.
    """
    if as_json:
        said = json.dumps(plain(result), indent=2, default=str, allow_nan=False)
    else:
        table_text = getattr(result, "text", None)
        text = table_text if text is None and callable(table_text) else text
        with _whole():
            said = harmless(text() if callable(text) else text if text is not None else repr(result))
    sys.stdout.write(said + "\n")


@contextmanager
def _whole() -> Iterator[None]:
    """Cells are cut for people alone: what reads a pipe wants them whole."""
    if sys.stdout.isatty() or sys.stdout is not sys.__stdout__:  # another stdout is a notebook's
        yield
        return
    from mp_kit.client.results import uncut

    with uncut():
        yield


def harmless(text: str) -> str:
    """Text that others wrote, for a terminal: it may colour itself, and neither move, erase, retitle nor paste.

    Args:
        text: Lines of a log, names, reasons.
    """
    return _CONTROL.sub(_picture, text)


def _picture(found: re.Match[str]) -> str:
    one = found[0]
    if len(one) > 1:
        return one  # a colour
    return chr(_PICTURES + ord(one)) if one < " " else "\N{REPLACEMENT CHARACTER}"


def plain(value: Any) -> Any:
    """A value as JSON takes it: what is no number becomes null."""
    if hasattr(value, "model_dump"):
        return plain(value.model_dump(mode="json"))
    if isinstance(value, dict):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [plain(part) for part in value]
    return value


def table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> str:
    """Rows as an aligned table, times as people read them."""
    from mp_kit.client.results import plain_table

    return plain_table([{name: _time(value) for name, value in row.items()} for row in rows], columns)


def _time(value: Any) -> Any:
    found = _INSTANT.fullmatch(value) if isinstance(value, str) else None
    return f"{found[1]} {found[2]}Z" if found else value


def worded(value: Any) -> str:
    """A plain value without Python's punctuation."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {worded(part)}" for name, part in value.items()) or "nothing"
    if isinstance(value, list | tuple):
        return ", ".join(map(worded, value)) or "none"
    return "-" if value is None else str(value)


def say(text: str) -> None:
    """Tells a person something that is not the result."""
    sys.stderr.write(harmless(text) + "\n")


def fail(error: errors.MarketplaceError, *, as_json: bool) -> int:
    """Tells an error and returns its exit code."""
    if as_json:
        hint = error.hint or _where_to_look(error)
        facts: dict[str, Any] = {"code": error.code, "message": error.message, "hint": hint}
        facts |= {"details": error.details} if error.details else {}
        facts |= {"request_id": error.request_id} if error.request_id else {}
        say(json.dumps({"error": facts}, default=str))
    else:
        say(f"error: {error.message}")
        for place, why in _places(error):
            say(f"  {place}: {why}")
        if hint := error.hint or _where_to_look(error):
            say(f"hint: {hint}")
        if error.request_id:
            say(f"request: {error.request_id}")
    return exit_code(error)


def _places(error: errors.MarketplaceError) -> list[tuple[str, str]]:
    """What the details say beyond the sentence, in which a single one is told already."""
    told = [(".".join(str(part) for part in one.get("loc", ())), str(one.get("msg", ""))) for one in error.details]
    return [] if len(told) == 1 and told[0][1].rstrip(".") in error.message else told


def _where_to_look(error: errors.MarketplaceError) -> str:
    """What lists the things of which one was not found."""
    if not isinstance(error, errors.NotFoundError):
        return ""
    found = (how for what, how in _LISTS.items() if what in error.message)
    return next(found, "")


def usage(message: str, how: str, *, as_json: bool) -> None:
    """Tells how a command is used."""
    if as_json:
        say(json.dumps({"error": {"code": "usage", "message": message, "hint": how}}))
    elif how and message.startswith(how):  # no arguments at all: the message is the help itself
        say(message)
    elif how:
        say(f"{how}\nerror: {message}")
    else:
        say(f"error: {message}")


def listed(given: Sequence[str] | None) -> list[str] | None:
    """The values of an option that is repeatable or comma-separated; None where it was not given."""
    return [one.strip() for text in given or () for one in text.split(",") if one.strip()] or None


def pairs(given: Sequence[str], option: str) -> dict[str, Any]:
    """Reads ``name=value`` options; numbers and true/false become what they look like.

    Raises:
        typer.BadParameter: One has no ``=`` or no name.
    """
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise typer.BadParameter(f"{option} wants name=value, got {text!r}.")
        found[name.strip()] = scalar(value)
    return found


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """Makes ``{"a.b": 1}`` to ``{"a": {"b": 1}}``.

    Raises:
        typer.BadParameter: A name is a value and a group at once.
    """
    found: dict[str, Any] = {}
    for name, value in flat.items():
        *groups, last = name.split(".")
        place = found
        for group in groups:
            place = place.setdefault(group, {})
            if not isinstance(place, dict):
                raise typer.BadParameter(f"{group} is a value, so {name} cannot be.")
        place[last] = value
    return found


def scalar(text: str) -> Any:
    """Text as the number, true or false that it looks like."""
    for read in (int, float):
        try:
            number = read(text)
        except ValueError:
            continue
        return number if abs(number) != float("inf") and number == number else text  # noqa: PLR0124 - NaN is no number
    return {"true": True, "false": False}.get(text.lower(), text)
