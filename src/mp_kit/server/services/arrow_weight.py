"""What an Arrow batch becomes when it is read as Python values: far more than its bytes, where its sender wants that.

1. A dictionary, a view or a run names one long text for thousands of rows; a list of nulls has no bytes at all. So
   values and the bytes of texts are counted as they will be, before any is made.
2. Layouts that can name the same value again and again, and that nobody sends signals in, are refused.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

from mp_kit.errors import InvalidInputError, TooLargeError

__all__ = ["MOST_BYTES", "MOST_VALUES", "check_weight"]

MOST_VALUES = 8_000_000
"""Values of one batch, those inside lists and objects too."""

MOST_BYTES = 256 * 1024 * 1024
"""Bytes of its texts, a text counted as often as it is named."""

_LISTS = (kinds.is_list, kinds.is_large_list, kinds.is_fixed_size_list, kinds.is_map)
_TEXTS = (kinds.is_string, kinds.is_large_string, kinds.is_binary, kinds.is_large_binary)
_VIEWS = (kinds.is_string_view, kinds.is_binary_view)
_VIEW_WORDS = 4


def check_weight(batch: pa.RecordBatch) -> None:
    """Refuses a batch that unpacks to more than we hold.

    Args:
        batch: Any number of rows; it has been validated.

    Raises:
        TooLargeError: More than ``MOST_VALUES`` values or ``MOST_BYTES`` bytes of text.
        InvalidInputError: A column has a layout that is not taken.
    """
    values = text_bytes = 0
    waiting = [(name, column) for name, column in zip(batch.schema.names, batch.columns, strict=True)]
    while waiting:
        name, array = waiting.pop()
        values += len(array)
        text_bytes += _text_bytes(array)
        if values > MOST_VALUES or text_bytes > MOST_BYTES:
            raise TooLargeError(
                f"Column {name!r} unpacks to more than {MOST_VALUES} values or {MOST_BYTES} bytes of text."
            )
        waiting += [(name, inside) for inside in _inside(name, array)]


def _text_bytes(array: pa.Array) -> int:
    if any(is_kind(array.type) for is_kind in _TEXTS):
        return _between_offsets(array)
    if any(is_kind(array.type) for is_kind in _VIEWS):
        views = np.frombuffer(array.buffers()[1], "<i4").reshape(-1, _VIEW_WORDS)  # a view begins with its length
        return int(views[array.offset : array.offset + len(array), 0].clip(0).sum(dtype=np.int64))
    if isinstance(array, pa.DictionaryArray) and any(is_kind(array.type.value_type) for is_kind in _TEXTS):
        return _sum(pc.take(pc.binary_length(array.dictionary), array.indices).cast(pa.int64()))
    return 0


def _between_offsets(array: pa.Array) -> int:
    """By the first and the last offset: texts lie one behind the other."""
    if not len(array):
        return 0
    wide = kinds.is_large_string(array.type) or kinds.is_large_binary(array.type)
    offsets = np.frombuffer(array.buffers()[1], "<i8" if wide else "<i4")
    return int(offsets[array.offset + len(array)] - offsets[array.offset])


def _sum(lengths: pa.Array) -> int:
    return pc.sum(lengths).as_py() or 0


def _inside(name: str, array: pa.Array) -> list[pa.Array]:
    """The arrays that an array is made of."""
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        return [array.storage]
    if isinstance(array, pa.StructArray):
        return list(array.flatten())
    if kinds.is_map(kind):
        return [array.keys, array.items]
    if any(is_kind(kind) for is_kind in _LISTS):
        return [array.flatten()]
    if kinds.is_dictionary(kind):
        values = kind.value_type
        if kinds.is_primitive(values) or kinds.is_null(values) or any(is_kind(values) for is_kind in _TEXTS):
            return []
    elif not kinds.is_nested(kind) and not kinds.is_run_end_encoded(kind):
        return []
    raise InvalidInputError(
        f"Column {name!r} is laid out as {kind}, which signals do not come in.",
        hint="Cast it to texts, numbers, lists or structs before you send it.",
        details=[{"loc": [name], "msg": f"the layout {kind} is not taken"}],
    )
