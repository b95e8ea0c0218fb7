"""The size of an Arrow stream, known before it is unpacked."""

from __future__ import annotations

import pyarrow as pa
import pytest

from mp_kit.errors import MalformedJsonError, TooLargeError
from mp_kit.server.edge.arrow_sizes import unpacked_bytes
from mp_kit.server.edge.bodies import ARROW, read_rows


def stream(table: pa.Table, compression: str | None = None) -> bytes:
    """The table as an Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
    payload: bytes = sink.getvalue().to_pybytes()
    return payload


TEXTS = pa.table({"symbol": pa.array(["A" * 1_000] * 1_000)})
WORDS = pa.table({"symbol": pa.array(["A" * 1_000] * 1_000).dictionary_encode()})


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_compressed_buffers_announce_their_size(compression: str):
    """The values and the offsets, which are not far from what they take in memory."""
    assert 1_004_004 == unpacked_bytes(stream(TEXTS, compression))


def test_dictionaries_count():
    """A dictionary is a batch inside another message."""
    assert 1_000 + 8 + 4_000 == unpacked_bytes(stream(WORDS, "zstd"))


def test_what_is_not_compressed_announces_nothing():
    """It is as large as it came."""
    assert 0 == unpacked_bytes(stream(TEXTS))


def test_a_bomb_is_refused_unopened():
    """A MiB that would be 300: it is the announcement that is refused, for not one row of it could be made."""
    with pytest.raises(TooLargeError, match="unpacked"):
        read_rows(stream(pa.table({"symbol": pa.array(["A" * 10_000] * 30_000)}), "zstd"), ARROW)


def test_a_compressed_batch_reads_as_any_other():
    """Compression is welcome."""
    assert TEXTS == read_rows(stream(TEXTS, "zstd"), ARROW)


@pytest.mark.parametrize("cut", range(0, 400, 7))
def test_a_torn_stream_is_malformed_or_shorter(cut: int):
    """Wherever it is cut, nothing but our own error leaves."""
    whole = stream(WORDS, "zstd")
    try:
        rows = read_rows(whole[:cut], ARROW)
    except MalformedJsonError:
        return
    assert rows in (WORDS.schema.empty_table(), WORDS)
