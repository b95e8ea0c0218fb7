"""Which parts of a Parquet file a projection needs: row groups by the manifest, byte ranges by the proved footer.

1. What the manifest says decides: a footer is read only after its hash matched, and must tell the same row groups.
2. A row group is left out only if the manifest's times prove that none of its rows fits.
3. The time column is read where a row group lies across ``start`` or ``end``, and nowhere else unless it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mp_kit.client.frames import between, check_columns, finished, time_column
from mp_kit.client.instants import When, instant
from mp_kit.client.parts import Held, Part
from mp_kit.contracts.rounds import ManifestFile, RowGroup
from mp_kit.errors import IntegrityError
from mp_kit.market.rowgroups import bounds

MAGIC = b"PAR1"


@dataclass(frozen=True)
class Choice:
    """What is wanted of each file.

    Args:
        columns: Only these; all of them by default.
        start: First instant, included.
        end: Last instant, excluded.
    """

    columns: Sequence[str] | None = None
    start: When | None = None
    end: When | None = None

    @property
    def is_all(self) -> bool:
        """Nothing is left out."""
        return self.columns is None and self.start is None and self.end is None

    def groups(self, file: ManifestFile) -> list[tuple[int, bool]]:
        """The row groups that may have rows of ours, and whether they may have others too.

        Raises:
            InvalidInputError: An instant that is none.
        """
        start, end = (None if value is None else instant(value) for value in (self.start, self.end))
        return [
            (number, not _inside(group, start, end))
            for number, group in enumerate(file.row_groups)
            if not _outside(group, start, end)
        ]


def _outside(group: RowGroup, start: datetime | None, end: datetime | None) -> bool:
    too_early = start is not None and group.max_time is not None and group.max_time < start
    too_late = end is not None and group.min_time is not None and group.min_time >= end
    return too_early or too_late


def _inside(group: RowGroup, start: datetime | None, end: datetime | None) -> bool:
    after = start is None or (group.min_time is not None and group.min_time >= start)
    before = end is None or (group.max_time is not None and group.max_time < end)
    return after and before


def footer_part(file: ManifestFile) -> Part:
    """Where the footer lies.

    Raises:
        IntegrityError: Not in the file.
    """
    if file.footer is None or file.footer.length > file.size_bytes:
        raise IntegrityError(f"{file.name}: the manifest places its footer outside the file.")
    return Part(file.size_bytes - file.footer.length, file.size_bytes, file.footer.sha256, "its footer")


class Projection:
    """A choice of one file's columns and rows.

    Args:
        file: Whose manifest entry has digests.
        footer: Its last bytes, proved.
        choice: What is wanted.

    Raises:
        IntegrityError: The footer tells other row groups than the manifest, or ones outside the file.
        InvalidInputError: A time range over a file without time.
    """

    def __init__(self, file: ManifestFile, footer: bytes | memoryview, choice: Choice) -> None:
        self._file = file
        self._choice = choice
        try:
            self._metadata = pq.read_metadata(pa.BufferReader(MAGIC + bytes(footer)))
            self._schema: pa.Schema = self._metadata.schema.to_arrow_schema()
        except (pa.ArrowException, OSError) as error:
            raise IntegrityError(f"{file.name}: its footer can't be read ({type(error).__name__}).") from error
        check_columns(file.name, choice.columns, self._schema.names)
        self._groups = _nonempty(file, self._metadata)
        self._condition = between(file.name, self._schema, choice.start, choice.end)
        self._chosen = [(number, self._columns(across=across)) for number, across in choice.groups(file)]

    def parts(self) -> list[Part]:
        """The column chunks to read."""
        return [
            self._part(number, chunk)
            for number, names in self._chosen
            for chunk in self._chunks(number)
            if chunk.path_in_schema in names
        ]

    def table(self, parts: Mapping[int, memoryview | bytes]) -> pa.Table:
        """The rows.

        Args:
            parts: Proved bytes by the offset of their first one.

        Raises:
            IntegrityError: Bytes were to be read that nobody has proved, or they are no column.
        """
        reader = Held(self._file.name, self._file.size_bytes, parts)
        try:
            source = pq.ParquetFile(pa.PythonFile(reader, mode="r"), metadata=self._metadata, pre_buffer=False)
            tables = [self._rows(source, number, names) for number, names in self._chosen]
        except (pa.ArrowException, OSError) as error:
            raise IntegrityError(f"{self._file.name}: its columns can't be read ({type(error).__name__}).") from error
        empty = pa.schema([self._schema.field(name) for name in self._own]).empty_table()
        return pa.concat_tables([self._finished(empty), *tables])

    @property
    def _own(self) -> list[str]:
        """The file's own columns that are asked for, in its order."""
        asked = self._choice.columns
        return [name for name in self._schema.names if asked is None or name in asked]

    def _columns(self, *, across: bool) -> list[str]:
        own = self._own
        if across and self._condition is not None:
            own += [name for name in [time_column(self._file.name, self._schema).name] if name not in own]
        return own

    def _rows(self, source: pq.ParquetFile, number: int, names: Sequence[str]) -> pa.Table:
        # One thread: a Python file has one position. Files are decoded side by side instead.
        table = source.read_row_group(self._groups[number], columns=names, use_threads=False)
        if self._condition is not None and time_column(self._file.name, self._schema).name in names:
            table = table.filter(self._condition)
        return self._finished(table)

    def _finished(self, table: pa.Table) -> pa.Table:
        return finished(table, self._file, self._schema, self._choice.columns)

    def _chunks(self, number: int) -> list[Any]:
        group = self._metadata.row_group(self._groups[number])
        return [group.column(column) for column in range(group.num_columns)]

    def _part(self, number: int, chunk: Any) -> Part:
        name, (start, end) = chunk.path_in_schema, bounds(chunk)
        digest = self._file.row_groups[number].chunks.get(name)
        if digest is None or not len(MAGIC) <= start < end <= self._file.size_bytes:
            raise IntegrityError(
                f"{self._file.name}, row group {number}, column {name!r}: its footer places it where the manifest has"
                " none."
            )
        return Part(start, end, digest, f"row group {number}, column {name!r}")


def _nonempty(file: ManifestFile, metadata: Any) -> list[int]:
    """Numbers in the footer of the manifest's row groups, which leave out those without rows."""
    rows = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    numbers = [number for number, count in enumerate(rows) if count]
    told, promised = [rows[number] for number in numbers], [group.rows for group in file.row_groups]
    if told != promised:
        raise IntegrityError(
            f"{file.name}: its footer tells row groups of {told} rows, the signed manifest of {promised}."
        )
    return numbers
