"""Parquet: the same bytes each time, honest byte ranges, and smaller than the defaults."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mp_kit.market import parquet
from mp_kit.market.bars import Bars, instant, times_of
from mp_kit.market.build import RoundSpec, featured
from mp_kit.market.indicators import FEATURE_NAMES, WARM_UP
from mp_kit.market.sources import open_source


@pytest.fixture(scope="module")
def table(make_bars: Callable[..., Bars]) -> pa.Table:
    """A whole symbol table with features and labels."""
    return featured(make_bars(3000 + WARM_UP), RoundSpec()).slice(WARM_UP, 2900)


def test_write_no_folder(tmp_path: Path, table: pa.Table):
    """A folder that is not there is an error and leaves nothing."""
    with pytest.raises(FileNotFoundError):
        parquet.write(table, tmp_path / "absent" / "x.parquet", metadata={})


def test_write_failing_leaves_nothing(tmp_path: Path, table: pa.Table, monkeypatch: pytest.MonkeyPatch):
    """A write that breaks off leaves neither the file nor its beginning."""

    def full(*_: object, **__: object) -> None:
        (tmp_path / f".x.parquet.{parquet.os.getpid()}.partial").write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(parquet.pq, "write_table", full)
    with pytest.raises(OSError, match="no space"):
        parquet.write(table, tmp_path / "x.parquet", metadata={})
    assert list(tmp_path.iterdir()) == []


def test_write_twice_same_bytes(tmp_path: Path, table: pa.Table):
    """Equal input, equal sha256, whatever the order of the metadata and the chunks in memory."""
    chunked = pa.concat_tables([table.slice(0, 1000), table.slice(1000)])
    one = parquet.write(table, tmp_path / "one.parquet", metadata={"a": 1, "b": 2})
    two = parquet.write(chunked, tmp_path / "two.parquet", metadata={"b": 2, "a": 1})
    assert (one.sha256, one.size_bytes) == (two.sha256, two.size_bytes)


def test_write_describes_the_file(tmp_path: Path, table: pa.Table):
    """Hash, size, rows and types are those of the file on disk."""
    written = parquet.write(table, tmp_path / "x.parquet", metadata={"symbol": "EURUSD"})
    content = written.path.read_bytes()
    back = pq.read_table(written.path)
    assert (hashlib.sha256(content).hexdigest(), len(content)) == (written.sha256, written.size_bytes)
    assert (table.num_rows, dict.fromkeys(FEATURE_NAMES, "float")) == (
        written.rows,
        {name: written.columns[name] for name in FEATURE_NAMES},
    )
    assert json.loads(back.schema.metadata[parquet.METADATA_KEY]) == {"symbol": "EURUSD"}
    assert parquet.as_stored(table).equals(back.replace_schema_metadata(None))
    assert (written.columns["close"], written.columns["label_direction"]) == ("double", "int8")


def test_row_groups_cover_the_file(tmp_path: Path, table: pa.Table, monkeypatch: pytest.MonkeyPatch):
    """Byte ranges follow each other without a hole, from the magic to the footer, with their times."""
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 800)
    written = parquet.write(table, tmp_path / "x.parquet", metadata={})
    times = times_of(table)
    assert [group.rows for group in written.row_groups] == [800, 800, 800, 500]
    position = 4
    for number, group in enumerate(written.row_groups):
        assert position == group.offset
        position += group.length
        rows = times[number * 800 : number * 800 + group.rows]
        assert (instant(rows[0]), instant(rows[-1])) == (group.min_time, group.max_time)
    footer = int.from_bytes(written.path.read_bytes()[-8:-4], "little")
    assert written.size_bytes - footer - 8 >= position


def test_write_empty_table(tmp_path: Path, table: pa.Table):
    """No rows is a file with no row groups."""
    written = parquet.write(table.slice(0, 0), tmp_path / "x.parquet", metadata={})
    assert (written.rows, written.row_groups) == (0, [])


def test_encodings_follow_the_values():
    """All different, few different, a calendar's circle, half of them repeated one after the other, and times."""
    rows = 20_000
    random = np.random.default_rng(1)
    columns = {
        "timestamp": pa.array(np.arange(rows), pa.timestamp("us", tz="UTC")),
        "different": random.random(rows),
        "few": random.integers(0, 9, rows).astype(float),
        "circle": np.sin(np.arange(rows) % 50),
        "between": random.integers(0, rows // 2, rows).astype(float),
        "still": np.repeat(random.random(rows // 2), 2),
        "label_direction": pa.array(random.integers(-1, 2, rows), pa.int8()),
    }
    chosen = parquet.encodings(pa.table(columns))
    assert (
        dict.fromkeys(("different", "circle", "between"), "BYTE_STREAM_SPLIT")
        | {
            "timestamp": "DELTA_BINARY_PACKED",
            "few": "DICTIONARY",
            "still": "PLAIN",
            "label_direction": "DICTIONARY",
        }
        == chosen
    )


def test_chosen_encodings_reach_the_file(tmp_path: Path, table: pa.Table):
    """The footer says that each column is stored as chosen."""
    written = parquet.write(table, tmp_path / "x.parquet", metadata={})
    group = pq.read_metadata(written.path).row_group(0)
    for number, encoding in enumerate(parquet.encodings(parquet.as_stored(table)).values()):
        stored = group.column(number).encodings
        assert ("RLE_DICTIONARY" if encoding == "DICTIONARY" else encoding) in stored
        assert group.column(number).compression == "ZSTD"


def test_only_time_has_statistics_and_nothing_is_nullable(tmp_path: Path, table: pa.Table):
    """Readers prune by time and decode no definition levels; a column with a null stays nullable."""
    holed = table.set_column(1, "open", pa.array([None, *table.column("open").to_pylist()[1:]], pa.float64()))
    written = parquet.write(holed, tmp_path / "x.parquet", metadata={})
    group = pq.read_metadata(written.path).row_group(0)
    statistics = {group.column(n).path_in_schema: group.column(n).statistics for n in range(group.num_columns)}
    assert ["timestamp"] == [name for name, found in statistics.items() if found is not None]
    assert ["open"] == [field.name for field in pq.read_schema(written.path) if field.nullable]


def test_smaller_than_the_defaults_on_real_bars(shared_fx: Path, tmp_path: Path):
    """At most three quarters of what pyarrow's defaults take for the same table."""
    real = featured(open_source(str(shared_fx / "1h")).load("EURUSD").bars, RoundSpec())
    pq.write_table(real, tmp_path / "default.parquet")
    written = parquet.write(real, tmp_path / "x.parquet", metadata={})
    assert written.size_bytes <= 0.75 * (tmp_path / "default.parquet").stat().st_size
