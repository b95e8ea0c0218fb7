"""Parquet files of a round as one Arrow table: columns and time chosen while reading."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from mp_kit.client.instants import When, instant
from mp_kit.contracts.rounds import ManifestFile
from mp_kit.errors import InvalidInputError, MissingExtraError

SYMBOL_COLUMN = "symbol"


def read_tables(
    files: Sequence[tuple[ManifestFile, Path]],
    *,
    columns: Sequence[str] | None,
    start: When | None,
    end: When | None,
) -> pa.Table:
    """Reads the files and puts them one under the other, with a ``symbol`` column.

    Args:
        files: Files of a manifest and where they lie.
        columns: Only these, in this order.
        start: First instant, included.
        end: Last instant, excluded.

    Raises:
        InvalidInputError: A column that a file does not have, or a time range over files without time.
    """
    tables = [_read(file, path, columns, start, end) for file, path in files]
    return pa.concat_tables(tables, promote_options="default")


def _read(
    file: ManifestFile, path: Path, columns: Sequence[str] | None, start: When | None, end: When | None
) -> pa.Table:
    schema = pq.read_schema(path)
    check_columns(file.name, columns, schema.names)
    own = None if columns is None else [name for name in columns if name in schema.names]
    table = pq.read_table(path, columns=own, filters=between(file.name, schema, start, end), partitioning=None)
    return finished(table, file, schema, columns)


def finished(table: pa.Table, file: ManifestFile, schema: pa.Schema, columns: Sequence[str] | None) -> pa.Table:
    """The rows of a file as people get them: with their symbol, and the asked columns in the asked order.

    Args:
        table: At least the asked columns that the file has.
        file: Which file.
        schema: All its columns.
        columns: What was asked for.
    """
    if SYMBOL_COLUMN not in schema.names and file.symbol and (columns is None or SYMBOL_COLUMN in columns):
        table = table.append_column(SYMBOL_COLUMN, pa.repeat(pa.scalar(file.symbol), table.num_rows))
    return table.select([name for name in columns if name in table.column_names]) if columns is not None else table


def time_column(name: str, schema: pa.Schema) -> pa.Field:
    """The column that start and end cut: the first timestamp.

    Raises:
        InvalidInputError: The file has none.
    """
    time = next((column for column in schema if pa.types.is_timestamp(column.type)), None)
    if time is None:
        raise InvalidInputError(f"{name} has no time column to cut at start or end.")
    return time


def between(name: str, schema: pa.Schema, start: When | None, end: When | None) -> Any:
    """The condition on a file's time column, if any."""
    if start is None and end is None:
        return None
    time = time_column(name, schema)
    column, zoned = pa.compute.field(time.name), time.type.tz is not None
    bounds = []
    for value, is_start in ((start, True), (end, False)):
        if value is not None:
            moment = instant(value) if zoned else instant(value).replace(tzinfo=None)
            limit = pa.scalar(moment, type=time.type)
            bounds.append(column >= limit if is_start else column < limit)
    return bounds[0] if len(bounds) == 1 else bounds[0] & bounds[1]


def check_columns(name: str, asked: Sequence[str] | None, there: Sequence[str]) -> None:
    """Refuses a column that is neither among those of a file nor the symbol's.

    Raises:
        InvalidInputError: It names the nearest column and those that there are.
    """
    if isinstance(asked, str):
        raise InvalidInputError(f"The columns are one string, {asked!r}; pass a list: [{asked!r}].")
    for column in asked or ():
        if column not in {*there, SYMBOL_COLUMN}:
            near = difflib.get_close_matches(column, there, 1, 0.7)
            asks = f"Did you mean {near[0]!r}? " if near else ""
            raise InvalidInputError(f"{name} has no column {column!r}.", hint=f"{asks}It has: {', '.join(there)}.")


def as_polars(table: pa.Table) -> Any:
    """A table as a polars frame.

    Raises:
        MissingExtraError: polars is not installed.
    """
    try:
        polars = importlib.import_module("polars")
    except ImportError as error:
        raise MissingExtraError.for_extra("polars", "A polars frame") from error
    return polars.from_arrow(table)
