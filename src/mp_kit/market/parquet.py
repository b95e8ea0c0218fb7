"""Writes a round's Parquet files: small, quick to read in part, and the same bytes each time.

1. Two writes of the same table give the same bytes; the file appears whole or not at all.
2. Prices and labels stay float64; features are stored as float32, which halves them.
3. Each column gets the encoding that its values suit: for floats BYTE_STREAM_SPLIT if nearly all values differ, a
   dictionary if few do, else plain; timestamps and integers DELTA_BINARY_PACKED.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mp_kit.market.indicators import FEATURE_NAMES

__all__ = ["METADATA_KEY", "ROW_GROUP_ROWS", "RowGroup", "Written", "as_stored", "encodings", "write"]

ROW_GROUP_ROWS = 131_072
"""Large enough to compress, small enough to fetch a part and to decode in parallel."""

METADATA_KEY = b"mp_kit"
"""Key of our JSON in the file's metadata."""

_SAMPLE = 100_000
_MANY, _FEW = 0.9, 0.15
_ZSTD_LEVEL = 3
_HASH_CHUNK = 1 << 20


@dataclass(frozen=True)
class RowGroup:
    """Where a row group lies: byte range, rows, and its first and last timestamp in RFC 3339 (None if empty)."""

    offset: int
    length: int
    rows: int
    min_time: str | None
    max_time: str | None


@dataclass(frozen=True)
class Written:
    """A file that was written.

    Attributes:
        path: Where.
        sha256: Of the whole file, hexadecimal.
        size_bytes: Its length.
        rows: Rows in all row groups.
        row_groups: In file order.
        columns: Column name to Arrow type.
    """

    path: Path
    sha256: str
    size_bytes: int
    rows: int
    row_groups: list[RowGroup]
    columns: dict[str, str]


def as_stored(table: pa.Table) -> pa.Table:
    """The table as files keep it: features as float32, everything else as it is."""
    fields = [pa.field(field.name, pa.float32()) if field.name in FEATURE_NAMES else field for field in table.schema]
    return table.cast(pa.schema(fields))


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
        What was written, read back from the file's own footer.
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
            write_statistics=True,
        )
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return _described(path, stored)


def _encoding(sample: pa.ChunkedArray) -> str:
    if pa.types.is_timestamp(sample.type):
        return "DELTA_BINARY_PACKED"
    if not pa.types.is_floating(sample.type) or not len(sample):
        return "DICTIONARY"
    share = _distinct(sample) / len(sample)
    if share > _MANY:
        return "BYTE_STREAM_SPLIT"
    return "DICTIONARY" if share < _FEW else "PLAIN"


def _distinct(sample: pa.ChunkedArray) -> int:
    """How many bit patterns there are; sorting them is several times quicker than hashing values."""
    values = sample.to_numpy()
    bits = np.sort(values.view(f"i{values.itemsize}"))
    return 1 + int(np.count_nonzero(bits[1:] != bits[:-1]))


def _described(path: Path, stored: pa.Table) -> Written:
    footer = pq.read_metadata(path)
    time_column = stored.column_names.index("timestamp")
    groups = [_group(footer.row_group(number), time_column) for number in range(footer.num_row_groups)]
    return Written(
        path=path,
        sha256=_sha256(path),
        size_bytes=path.stat().st_size,
        rows=footer.num_rows,
        row_groups=[group for group in groups if group.rows],
        columns={field.name: str(field.type) for field in stored.schema},
    )


def _group(group: Any, time_column: int) -> RowGroup:
    chunks = [group.column(number) for number in range(group.num_columns)]
    starts = [start for chunk in chunks for start in (chunk.dictionary_page_offset, chunk.data_page_offset) if start]
    statistics = chunks[time_column].statistics
    known = statistics is not None and statistics.has_min_max
    return RowGroup(
        offset=min(starts),
        length=sum(chunk.total_compressed_size for chunk in chunks),
        rows=group.num_rows,
        min_time=_rfc3339(statistics.min) if known else None,
        max_time=_rfc3339(statistics.max) if known else None,
    )


def _rfc3339(moment: Any) -> str:
    text: str = moment.isoformat()
    return text.replace("+00:00", "Z")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_HASH_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
