"""Digests of a file's parts: of exactly the bytes that the footer places, made in one pass."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mp_kit.market.rowgroups import bounds, describe


def written(table: pa.Table, **how: object) -> pa.Buffer:
    """A Parquet file in memory."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **how)
    return sink.getvalue()


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """Columns with and without a dictionary, one longer than a hash's piece."""
    random = np.random.default_rng(3)
    times = pa.array(np.arange(400_000) * 60_000_000, pa.timestamp("us", tz="UTC"))
    columns = {"timestamp": times, "noise": random.random(400_000), "few": random.integers(0, 9, 400_000)}
    return pa.table(columns)


def test_describe_no_parquet_is_refused():
    """Bytes of something else are no file of ours."""
    with pytest.raises(pa.ArrowInvalid):
        describe(pa.py_buffer(b"not a file at all"))


def test_describe_digests_the_bytes_that_the_footer_places(table: pa.Table):
    """Each chunk, the footer and the whole, against a hash of the bytes cut out by hand."""
    buffer = written(table, row_group_size=150_000)
    found, content, metadata = describe(buffer), buffer.to_pybytes(), pq.read_metadata(pa.BufferReader(buffer))
    assert hashlib.sha256(content).hexdigest() == found.sha256
    assert hashlib.sha256(content[-found.footer.length :]).hexdigest() == found.footer.sha256
    assert metadata.serialized_size + 8 == found.footer.length
    assert [150_000, 150_000, 100_000] == [group.rows for group in found.row_groups]
    for number, group in enumerate(found.row_groups):
        for column, name in enumerate(table.column_names):
            start, end = bounds(metadata.row_group(number).column(column))
            assert hashlib.sha256(content[start:end]).hexdigest() == group.chunks[name]


def test_describe_twice_says_the_same(table: pa.Table):
    """Equal input, equal manifest."""
    assert describe(written(table)) == describe(written(table))


def test_describe_no_rows_and_no_times():
    """No row group for no rows; times that nobody can compare with an instant are none."""
    assert [] == describe(written(pa.table({"a": pa.array([], pa.int64())}))).row_groups
    naive = pa.table({"timestamp": pa.array([1, 2], pa.timestamp("us"))})
    [group] = describe(written(naive)).row_groups
    assert (None, None) == (group.min_time, group.max_time)


@pytest.mark.parametrize("statistics", [True, False])
def test_describe_times_where_statistics_stand(statistics: bool):
    """First and last timestamp, or none where the file keeps no statistics."""
    table = pa.table({"timestamp": pa.array([0, 60_000_000], pa.timestamp("us", tz="UTC"))})
    [group] = describe(written(table, write_statistics=statistics)).row_groups
    expected = ("1970-01-01T00:00:00Z", "1970-01-01T00:01:00Z") if statistics else (None, None)
    assert expected == (group.min_time, group.max_time)
