"""Reads signals out of files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mp_kit.errors import InvalidInputError

Row = TypeVar("Row")
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
