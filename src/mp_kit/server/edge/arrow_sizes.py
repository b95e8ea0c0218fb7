"""How many bytes an Arrow stream unpacks to, told before anything is unpacked.

The library allocates what a compressed buffer's first eight bytes announce, and no buffer unpacks to more; so their sum
bounds the memory that a stream costs. Positions are those of Arrow's ``Message.fbs`` (Arrow columnar format 1.x) in the
FlatBuffers binary encoding.
"""

from __future__ import annotations

import struct

import pyarrow as pa

__all__ = ["unpacked_bytes"]

_HEADER = 2  # of Message
_DATA = 1  # of DictionaryBatch
_BUFFERS, _COMPRESSION = 2, 3  # of RecordBatch
_BUFFER_BYTES = 16


def unpacked_bytes(stream: bytes) -> int:
    """Bytes that the stream's compressed buffers announce; 0 where nothing is compressed.

    Raises:
        pa.ArrowException: It is no Arrow stream.
        struct.error: A position lies outside its message.
    """
    return sum(_announced(message) for message in pa.ipc.MessageReader.open_stream(stream))


def _announced(message: pa.ipc.Message) -> int:
    if message.type not in {"record batch", "dictionary"}:
        return 0
    meta, body = memoryview(message.metadata), memoryview(message.body)
    batch = _table(meta, _field(meta, _table(meta, 0), _HEADER))
    if message.type == "dictionary":
        batch = _table(meta, _field(meta, batch, _DATA))
    if not _field(meta, batch, _COMPRESSION):
        return 0
    vector = _table(meta, _field(meta, batch, _BUFFERS))
    total = 0
    for number in range(_read("<I", meta, vector)):
        offset, length = struct.unpack_from("<qq", meta, vector + 4 + number * _BUFFER_BYTES)
        if length:
            total += max(_read("<q", body, offset), 0)
    return total


def _table(meta: memoryview, place: int) -> int:
    """What an offset points to; a missing one points to itself and fails where it is read."""
    return place + _read("<I", meta, place)


def _field(meta: memoryview, table: int, index: int) -> int:
    """Where a table's field lies; 0 when it is absent."""
    vtable = table - _read("<i", meta, table)
    entry = 4 + 2 * index
    if entry >= _read("<H", meta, vtable):
        return 0
    inside = _read("<H", meta, vtable + entry)
    return table + inside if inside else 0


def _read(form: str, view: memoryview, place: int) -> int:
    found: int = struct.unpack_from(form, view, place)[0]
    return found
