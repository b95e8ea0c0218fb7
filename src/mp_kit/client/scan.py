"""Reads the wanted columns and rows of a round's files where they are, and proves every byte that it uses.

1. What the cache holds, whole files or parts, is proved by hash and not fetched; what is fetched is kept there.
2. A file is read in part by two rounds of ranges: its footer, then the column chunks that the footer places. Each is
   checked against its digest in the signed manifest before it is read.
3. A file goes whole, proved by its own hash, where the manifest has no digests of parts (rounds before 1.1), or the
   server ignores ranges or changes the file meanwhile. The result says so.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mp_kit.client.cache import Cache
from mp_kit.client.footers import Choice, Projection, footer_part
from mp_kit.client.frames import as_polars, check_columns, read_tables
from mp_kit.client.partial import Wanted
from mp_kit.client.parts import Part, Parts
from mp_kit.client.progress import OnProgress, Tally
from mp_kit.client.ranges import range_length
from mp_kit.client.results import Shown, size
from mp_kit.client.transfer import THREADS, Transfer
from mp_kit.contracts.rounds import ManifestFile

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Held = dict[int, memoryview | bytes]
"""Proved parts of a file by the offset of their first byte."""

NO_DIGESTS = "its round has no digests of parts"
NO_RANGES = "the server ignores ranges, or the file changed meanwhile"


@dataclass(frozen=True, repr=False)
class Scanned(Shown):
    """What a scan brought.

    Args:
        table: The rows, symbols one after the other.
        round_id: The round.
        bytes: Length of all files that were looked at.
        fetched_bytes: What crossed the wire.
        requests: Ranges that were asked for; a file that went whole counts one.
        seconds: How long it took.
        whole: Files that were fetched whole, and why.
    """

    table: pa.Table = field(repr=False)
    round_id: str
    bytes: int
    fetched_bytes: int
    requests: int
    seconds: float
    whole: Mapping[str, str] = field(default_factory=dict)

    def _title(self) -> str:
        return f"Scanned {self.round_id}"

    def _facts(self) -> Mapping[str, Any]:
        share = f", {self.fetched_bytes / self.bytes:.1%} of the files" if self.bytes else ""
        reasons = sorted(set(self.whole.values()))
        return {
            "rows": f"{self.table.num_rows:,}",
            "columns": self.table.column_names,
            "fetched": f"{size(self.fetched_bytes)}{share}, {self.requests} requests, {self.seconds:.1f} s",
            "verified": "each byte against the signed manifest",
            "whole files": f"{len(self.whole)}: {'; '.join(reasons)}" if self.whole else "",
        }

    def to_pandas(self) -> pd.DataFrame:
        """As a pandas frame."""
        frame: pd.DataFrame = self.table.to_pandas()
        return frame

    def polars(self) -> Any:
        """As a polars frame.

        Raises:
            MissingExtraError: polars is not installed.
        """
        return as_polars(self.table)


class Scanner:
    """Reads parts of one round's files.

    Args:
        transfer: Brings bytes.
        cache: Keeps them.
        on_progress: Told as column chunks arrive.
    """

    def __init__(self, transfer: Transfer, cache: Cache, on_progress: OnProgress | None = None) -> None:
        self._transfer = transfer
        self._cache = cache
        self._report = on_progress
        self._fetched = 0
        self._requests = 0
        self._etags: dict[str, str | None] = {}

    def scan(self, round_id: str, files: Sequence[ManifestFile], choice: Choice) -> Scanned:
        """The chosen columns and rows of some files.

        Args:
            round_id: Whose files they are.
            files: At least one.
            choice: Which columns and rows.

        Raises:
            InvalidInputError: An unknown column; nothing was fetched.
            IntegrityError: Bytes are not what the signed manifest promises; names file, row group and column.
        """
        import pyarrow as pa

        began, self._fetched, self._requests = time.monotonic(), 0, 0
        for file in files:
            if file.columns:
                check_columns(file.name, choice.columns, list(file.columns))
        needed = _needed(files, choice)
        there = self._whole_in_cache(needed)
        whole = {file.name: NO_DIGESTS for file in needed if file.name not in there and not _has_digests(file)}
        projections, missed = self._project([f for f in needed if f.name not in there | whole.keys()], choice)
        tables, changed = self._read(projections)
        whole |= dict.fromkeys(missed | changed, NO_RANGES)
        self._fetch_whole([file for file in needed if file.name in whole])
        rows = [tables[f.name] if f.name in tables else self._local(f, choice) for f in needed]
        return Scanned(
            table=pa.concat_tables(rows, promote_options="default"),
            round_id=round_id,
            bytes=sum(file.size_bytes for file in files),
            fetched_bytes=self._fetched,
            requests=self._requests,
            seconds=time.monotonic() - began,
            whole=whole,
        )

    def _project(
        self, files: Sequence[ManifestFile], choice: Choice
    ) -> tuple[list[tuple[ManifestFile, Projection]], set[str]]:
        """What is wanted of each file by its footer, and the files whose footer did not come."""
        places = {file.name: footer_part(file) for file in files}
        proved, missed = self._gather([(file, [places[file.name]]) for file in files], None)
        found = [
            (file, Projection(file, proved[file.name][places[file.name].start], choice))
            for file in files
            if file.name not in missed
        ]
        return found, missed

    def _read(self, projections: Sequence[tuple[ManifestFile, Projection]]) -> tuple[dict[str, pa.Table], set[str]]:
        """Each file's rows, and the files whose chunks did not come."""
        proved, missed = self._gather([(file, one.parts()) for file, one in projections], self._report)
        came = [(file.name, one) for file, one in projections if file.name not in missed]
        with ThreadPoolExecutor(THREADS) as pool:
            tables = list(pool.map(lambda found: found[1].table(proved[found[0]]), came))
        return {name: table for (name, _), table in zip(came, tables, strict=True)}, missed

    def _gather(
        self, asked: Sequence[tuple[ManifestFile, Sequence[Part]]], report: OnProgress | None
    ) -> tuple[dict[str, Held], set[str]]:
        """Proved parts by file and offset, from the cache or by wire; and the files that did not come in parts."""
        proved = {file.name: self._kept(parts) for file, parts in asked}
        works = [
            Parts(
                _wanted(file, self._cache),
                (p for p in parts if p.start not in proved[file.name]),
                self._etags.get(file.name),
            )
            for file, parts in asked
        ]
        length = range_length(sum(work.size for work in works), THREADS)
        spans = [(work, work.spans(length)) for work in works]
        self._transfer.gather(spans, Tally(sum(work.size for work in works), report))
        for work, ranges in spans:
            self._fetched += work.fetched
            self._requests += len(ranges)
            self._etags[work.wanted.name] = work.etag
            if not work.again:
                work.keep(self._cache)
                proved[work.wanted.name] |= work.proved
        return proved, {work.wanted.name for work in works if work.again}

    def _kept(self, parts: Sequence[Part]) -> Held:
        found = {part.start: self._cache.read(part.sha256) for part in parts}
        return {start: content for start, content in found.items() if content is not None}

    def _whole_in_cache(self, files: Sequence[ManifestFile]) -> set[str]:
        wanted = [_wanted(file, self._cache) for file in files]
        with ThreadPoolExecutor(THREADS) as pool:
            there = list(pool.map(lambda file: file.is_there, wanted))
        return {file.name for file, found in zip(wanted, there, strict=True) if found}

    def _fetch_whole(self, files: Sequence[ManifestFile]) -> None:
        unique = {file.sha256: _wanted(file, self._cache) for file in files}
        fetched = self._transfer.run(list(unique.values()))
        self._fetched += fetched.bytes
        self._requests += len(fetched.fetched)

    def _local(self, file: ManifestFile, choice: Choice) -> pa.Table:
        pair = (file, self._cache.path(file.sha256))
        return read_tables([pair], columns=choice.columns, start=choice.start, end=choice.end)


def _wanted(file: ManifestFile, cache: Cache) -> Wanted:
    return Wanted(file.name, file.size_bytes, file.sha256, cache.path(file.sha256))


def _has_digests(file: ManifestFile) -> bool:
    chunks = all(group.chunks for group in file.row_groups)
    return file.footer is not None and chunks and sum(group.rows for group in file.row_groups) == file.rows


def _needed(files: Sequence[ManifestFile], choice: Choice) -> list[ManifestFile]:
    """The files that may have rows of ours, or columns that no such file has; at least one, for the columns."""
    kept = [file for file in files if not file.row_groups or choice.groups(file)]
    for file in files:
        if all(file.columns != one.columns for one in kept):
            kept.append(file)
    return [file for file in files if file in kept]
