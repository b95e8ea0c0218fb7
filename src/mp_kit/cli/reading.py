"""Reads signals out of files."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from mp_kit.errors import InvalidInputError

Row = TypeVar("Row")
_ARGUMENT = re.compile(
    r"(?P<argument>columns|fill)=\{(?P<a>['\"])(?P<name>.+?)(?P=a): (?P<b>['\"])(?P<value>.+?)(?P=b)\}"
)
_RENAMES = re.compile(r", or rename one: frame\..*$")  # there is no frame
KINDS = ".parquet, .csv, .json, .jsonl or .ndjson"


def read(file: str) -> Any:
    """Reads signals out of a file, by its ending.

    Raises:
        InvalidInputError: The file is absent, of another kind, or unreadable.
    """
    if file == "-":
        return _lines(sys.stdin.read())
    path = Path(file)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InvalidInputError(f"{path.name} is of no kind that is read.", hint=f"It is one of {', '.join(_READERS)}.")
    try:
        return reader(path)
    except OSError as error:
        raise InvalidInputError(f"{path} can't be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise InvalidInputError(f"{path} can't be read: {error}.") from error


def some(rows: Sequence[Row], what: str) -> Sequence[Row]:
    """The rows; a job whose producer has failed must not look as one that has pushed.

    Raises:
        InvalidInputError: There are none.
    """
    if not rows:
        raise InvalidInputError(f"The input holds no {what}: nothing was pushed.", hint="Did what writes it fail?")
    return rows


@contextmanager
def in_options() -> Iterator[None]:
    """Errors of the client in the block name options of the shell in place of arguments of Python."""
    try:
        yield
    except InvalidInputError as error:
        hint = _RENAMES.sub("", _ARGUMENT.sub(_option, error.hint))
        raise InvalidInputError(error.message, hint=hint, details=error.details) from error


def _option(found: re.Match[str]) -> str:
    option = {"columns": "--column", "fill": "--fill"}[found["argument"]]
    return f"{option} {shlex.quote(found['name'])}={shlex.quote(found['value'])}"


def _lines(text: str) -> list[Any]:
    import json as codec

    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                found.append(codec.loads(line))
            except ValueError as error:
                raise InvalidInputError(f"Line {number} is no JSON.", hint="One JSON object per line.") from error
    return found


def _json(path: Path) -> Any:
    import json as codec

    return codec.loads(path.read_text(encoding="utf-8"))


def _parquet(path: Path) -> Any:
    import pyarrow.parquet as pq

    return pq.read_table(path, partitioning=None)


def _csv(path: Path) -> Any:
    import csv

    with path.open(newline="", encoding="utf-8") as stream:
        # An empty cell is a missing field.
        return [{name: cell for name, cell in row.items() if cell} for row in csv.DictReader(stream)]


_READERS: dict[str, Callable[[Path], Any]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".json": _json,
    ".jsonl": lambda path: _lines(path.read_text(encoding="utf-8")),
    ".ndjson": lambda path: _lines(path.read_text(encoding="utf-8")),
}
