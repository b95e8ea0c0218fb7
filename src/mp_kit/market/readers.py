"""Reads one CSV or Parquet file, wherever fsspec finds it, as a table with the file's own columns."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from mp_kit.errors import BarsError, InvalidInputError
from mp_kit.market.sniff import NAMES, canonical

__all__ = ["SUFFIXES", "as_text", "column_names", "is_parquet", "public_where", "read", "reading"]

SUFFIXES = (".csv", ".csv.gz", ".parquet")
"""What a folder is searched for."""

_HEAD = 4096
_GZIP = b"\x1f\x8b"
_KNOWN = {name for names in NAMES.values() for name in names}
_YFINANCE_EXTRA_ROWS = ("ticker", "date", "datetime")


def public_where(text: str) -> str:
    """A place without its user, password, query and fragment."""
    if "://" not in text:
        return text
    parts = urlsplit(text)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def is_parquet(path: str) -> bool:
    """Whether a file's name says so; all others are CSV."""
    return public_where(path).lower().endswith(".parquet")


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Turns what decoders say about a file into a BarsError with its name."""
    try:
        yield
    except (pa.ArrowInvalid, EOFError, UnicodeDecodeError, OSError) as error:
        if getattr(error, "errno", None) is not None:
            raise  # the system's or the network's, not a decoder's
        raise BarsError(f"{public_where(path)}: cannot be read: {error}") from error


def column_names(filesystem: Any, path: str) -> list[str]:
    """A file's column names without reading the file; ``0``, ``1`` … where it has no header."""
    if is_parquet(path):
        with filesystem.open(path, "rb") as file:
            names: list[str] = pq.read_schema(file).names
            return names
    with filesystem.open(path, "rb") as file:
        head = file.read(_HEAD)
    return _layout(_plain_head(head), path)[1]


def read(filesystem: Any, path: str) -> pa.Table:
    """Reads a whole file.

    Args:
        filesystem: An fsspec filesystem.
        path: A file of one of :data:`SUFFIXES` in it.

    Returns:
        The table, under the names of :func:`column_names`.

    Raises:
        BarsError: The file is empty, or no CSV or Parquet.
    """
    with filesystem.open(path, "rb") as file:
        content = file.read()
    with reading(path):
        if is_parquet(path):
            return pq.read_table(io.BytesIO(content))
        return _read_csv(gzip.decompress(content) if content[:2] == _GZIP else content, path)


def as_text(file: Any, path: str, columns: list[str] | None) -> pa_csv.CSVStreamingReader:
    """A CSV file's record batches, one after the other, every value as it is written.

    Args:
        file: Opened for reading bytes, and seekable.
        path: Where it comes from, for errors.
        columns: Only these; all where None.
    """
    head = file.read(_HEAD)
    file.seek(0)
    delimiter, names, skip = _layout(_plain_head(head), path)
    plain = pa.CompressedInputStream(pa.PythonFile(file, "r"), "gzip") if head[:2] == _GZIP else file
    return pa_csv.open_csv(
        plain,
        read_options=pa_csv.ReadOptions(column_names=names, skip_rows=skip),
        parse_options=pa_csv.ParseOptions(delimiter=delimiter),
        convert_options=pa_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), include_columns=columns, strings_can_be_null=False
        ),
    )


def _read_csv(content: bytes, path: str) -> pa.Table:
    delimiter, names, skip = _layout(content[:_HEAD], path)
    return pa_csv.read_csv(
        io.BytesIO(content),
        read_options=pa_csv.ReadOptions(column_names=names, skip_rows=skip),
        parse_options=pa_csv.ParseOptions(delimiter=delimiter),
    )


def _plain_head(head: bytes) -> bytes:
    """The start of a file, decompressed; a gzip stream cut off in the middle gives what it has."""
    if head[:2] != _GZIP:
        return head
    import zlib

    return zlib.decompressobj(wbits=31).decompress(head, _HEAD)


def _layout(head: bytes, path: str) -> tuple[str, list[str], int]:
    """Delimiter, column names, and rows to skip before the first bar."""
    lines = head.decode("utf-8-sig", errors="replace").splitlines()
    if not lines:
        raise BarsError(f"{public_where(path)}: the file is empty.")
    delimiter = max("\t;,", key=lines[0].count)
    fields = next(csv.reader([lines[0]], delimiter=delimiter))
    if not any(canonical(field) in _KNOWN for field in fields):
        if any(field.strip()[:1].isalpha() for field in fields):
            return delimiter, _distinct(fields, path), 1
        return delimiter, [str(number) for number in range(len(fields))], 0
    if canonical(fields[0]) == "price":  # yfinance: two more header rows, and the dates under "Price"
        extra = [line for line in lines[1:3] if canonical(line.split(delimiter)[0]) in _YFINANCE_EXTRA_ROWS]
        return delimiter, _distinct(["Date", *fields[1:]], path), 1 + len(extra)
    return delimiter, _distinct(fields, path), 1


def _distinct(fields: list[str], path: str) -> list[str]:
    if len(set(fields)) != len(fields):
        raise InvalidInputError(f"{public_where(path)}: the header names a column twice: {', '.join(fields)}.")
    return fields
