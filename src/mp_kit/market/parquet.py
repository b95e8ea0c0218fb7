"""Writes a round's Parquet files: small, quick to read in part, and the same bytes each time.

1. Two writes of the same table give the same bytes; the file appears whole or not at all.
2. Prices and labels stay float64; features are stored as float32, which halves them.
3. Each column gets the encoding that its values suit: floats a dictionary if few of them differ, plain if they stand
   still for many rows, else BYTE_STREAM_SPLIT; timestamps DELTA_BINARY_PACKED, integers a dictionary.
4. Only the timestamp has statistics: rows are in order of time, nothing else would let a reader skip a row group.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mp_kit.market.indicators import FEATURE_NAMES
from mp_kit.market.rowgroups import TIME_COLUMN, Footer, RowGroup, describe

__all__ = ["METADATA_KEY", "ROW_GROUP_ROWS", "RowGroup", "Written", "as_stored", "encodings", "write"]

ROW_GROUP_ROWS = 131_072
"""Large enough to compress, small enough to fetch a part and to decode in parallel."""

METADATA_KEY = b"mp_kit"
"""Key of our JSON in the file's metadata."""

_SAMPLE = 100_000
_FEW = 0.15  # of the values are different ones
_STILL = 0.1  # of the values equal the one before
_ZSTD_LEVEL = 3
_ZSTD_TRIAL = pa.Codec("zstd", 1)


@dataclass(frozen=True)
class Written:
    """A file that was written.

    Attributes:
        path: Where.
        sha256: Of the whole file, hexadecimal.
        size_bytes: Its length.
        rows: Rows in all row groups.
        row_groups: In file order, with the digest of each column chunk.
        footer: The file's end.
        columns: Column name to Arrow type.
    """

    path: Path
    sha256: str
    size_bytes: int
    rows: int
    row_groups: list[RowGroup]
    columns: dict[str, str]
    footer: Footer


def as_stored(table: pa.Table) -> pa.Table:
    """The table as files keep it: features as float32, and no column nullable that has no null."""
    return table.cast(pa.schema([_stored_field(table, field) for field in table.schema]))


def encodings(table: pa.Table) -> dict[str, str]:
    """Chooses an encoding per column from the first 100,000 rows.

    Args:
        table: What will be written.

    Returns:
        Column name to ``DICTIONARY``, ``BYTE_STREAM_SPLIT``, ``DELTA_BINARY_PACKED`` or ``PLAIN``.
    """
    return {name: _encoding(table.column(name).slice(0, _SAMPLE)) for name in table.column_names}


def write(table: pa.Table, path: Path, *, metadata: Mapping[str, Any]) -> Written:
    """Writes one file.

    Args:
        table: Ordered by time; features are narrowed to float32.
        path: The finished file's place; its folder exists.
        metadata: JSON values, stored under :data:`METADATA_KEY`; no clock, no host: equal bytes for equal input.

    Returns:
        What was written, read back from the file itself in one pass.
    """
    stored = as_stored(table)
    stored = stored.replace_schema_metadata({METADATA_KEY: json.dumps(dict(metadata), sort_keys=True).encode()})
    chosen = encodings(stored)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        pq.write_table(
            stored,
            partial,
            compression="zstd",
            compression_level=_ZSTD_LEVEL,
            row_group_size=ROW_GROUP_ROWS,
            use_dictionary=[name for name, encoding in chosen.items() if encoding == "DICTIONARY"],
            column_encoding={name: encoding for name, encoding in chosen.items() if encoding != "DICTIONARY"},
            write_statistics=[TIME_COLUMN],
        )
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return _described(path, stored)


def _stored_field(table: pa.Table, field: pa.Field) -> pa.Field:
    kind = pa.float32() if field.name in FEATURE_NAMES else field.type
    return pa.field(field.name, kind, nullable=table.column(field.name).null_count > 0)


def _encoding(sample: pa.ChunkedArray) -> str:
    if pa.types.is_timestamp(sample.type):
        return "DELTA_BINARY_PACKED"
    if not pa.types.is_floating(sample.type) or not len(sample):
        return "DICTIONARY"
    values = sample.to_numpy()
    bits = values.view(f"i{values.itemsize}")
    distinct = 1 + _changes(np.sort(bits))  # sorting bit patterns is several times quicker than hashing values
    if distinct < _FEW * bits.size:
        return "BYTE_STREAM_SPLIT" if _repeats(bits, distinct) else "DICTIONARY"
    return "PLAIN" if bits.size - _changes(bits) > _STILL * bits.size else "BYTE_STREAM_SPLIT"


def _changes(bits: NDArray[np.signedinteger[Any]]) -> int:
    """How many values differ from the one before."""
    return int(np.count_nonzero(bits[1:] != bits[:-1]))


def _repeats(bits: NDArray[np.signedinteger[Any]], distinct: int) -> bool:
    """Whether few values come in the same order again and again, as a calendar's: then no dictionary is as small."""
    planes = np.ascontiguousarray(bits.view(np.uint8).reshape(bits.size, bits.itemsize).T)
    packed = bits.size * max(distinct - 1, 1).bit_length() / 8
    return 2 * len(_ZSTD_TRIAL.compress(planes)) < packed


def _described(path: Path, stored: pa.Table) -> Written:
    with pa.memory_map(str(path)) as file:
        found = describe(file.read_buffer())
    return Written(
        path=path,
        sha256=found.sha256,
        size_bytes=found.size_bytes,
        rows=found.rows,
        row_groups=found.row_groups,
        columns={field.name: str(field.type) for field in stored.schema},
        footer=found.footer,
    )
