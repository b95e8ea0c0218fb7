"""Divides a file of many symbols into a file per symbol, in one pass and in the memory of one batch of rows.

A source is read one symbol at a time; without this a file of a thousand symbols would be read a thousand times.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from mp_kit.market.readers import as_text, is_parquet, public_where, reading

__all__ = ["partition", "symbols_of"]

_BATCH = 131_072


def partition(filesystem: Any, path: str, column: str, folder: Path, wanted: Collection[str]) -> dict[str, str]:
    """Writes each symbol's rows to a file of their own, in their order, in the format of the source.

    Args:
        filesystem: An fsspec filesystem.
        path: A file in it that ``readers.read`` can read.
        column: Names each row's symbol; rows without one are left out.
        folder: Empty; gets a folder per symbol, in which the file has its own name (it is told in errors).
        wanted: Only these symbols, in upper case.

    Returns:
        Symbol, in upper case, to the file's path.

    Raises:
        BarsError: The file is empty, or no CSV or Parquet.
    """
    name = PurePosixPath(public_where(path)).name.removesuffix(".gz")
    parts: dict[str, Path] = {}
    writers: dict[str, Any] = {}
    with reading(path), ExitStack() as opened:
        for batch in _batches(filesystem, path, None):
            for symbol, rows in _by_symbol(batch, column, wanted):
                if symbol not in writers:
                    parts[symbol] = folder / str(len(parts)) / name
                    parts[symbol].parent.mkdir(parents=True)
                    writers[symbol] = opened.enter_context(_writer(parts[symbol], rows.schema))
                writers[symbol].write_table(rows)
    return {symbol: str(part) for symbol, part in sorted(parts.items())}


def symbols_of(filesystem: Any, path: str, column: str) -> list[str]:
    """The symbols of a file, in upper case and sorted; no other column is decoded.

    Raises:
        BarsError: The file is empty, or no CSV or Parquet.
    """
    with reading(path):
        batches = _batches(filesystem, path, [column])
        found = {symbol for batch in batches for symbol in pc.unique(_symbols(batch, column)).to_pylist()}
    return sorted(found - {None})


def _by_symbol(batch: pa.Table, column: str, wanted: Collection[str]) -> Iterator[tuple[str, pa.Table]]:
    names = _symbols(batch, column)
    for symbol in pc.unique(names).to_pylist():
        if symbol in wanted:
            yield symbol, batch.filter(pc.equal(names, symbol))


def _symbols(batch: pa.Table, column: str) -> pa.ChunkedArray:
    return pc.utf8_upper(batch.column(column).cast(pa.string()))


def _batches(filesystem: Any, path: str, columns: list[str] | None) -> Iterator[pa.Table]:
    with filesystem.open(path, "rb") as file:
        if is_parquet(path):
            for batch in pq.ParquetFile(file).iter_batches(batch_size=_BATCH, columns=columns):
                yield pa.Table.from_batches([batch])
        else:
            for batch in as_text(file, path, columns):
                yield pa.Table.from_batches([batch])


def _writer(path: Path, schema: pa.Schema) -> Any:
    """CSV stays text, so that types are told from all of a symbol's rows, as from a file of its own."""
    if path.name.lower().endswith(".parquet"):
        return pq.ParquetWriter(path, schema, compression="zstd", compression_level=1)
    return pa_csv.CSVWriter(path, schema)
