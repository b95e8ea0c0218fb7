"""What a batch becomes, counted without making it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mp_kit.errors import InvalidInputError, TooLargeError
from mp_kit.server.services import arrow_weight
from mp_kit.server.services.arrow_weight import check_weight

TEXT = "x" * 1_000
NAMED = pa.DictionaryArray.from_arrays(pa.array([0] * 90, pa.int8()), pa.array([TEXT]))

HONEST: dict[str, Any] = {
    "texts": pa.array(["EURUSD", None, ""]),
    "large texts": pa.array(["EURUSD", "x"], pa.large_string()),
    "a slice of texts": pa.array([TEXT * 1_000, "a", "b"]).slice(1),
    "a slice of lists": pa.array([[TEXT] * 1_000, ["a"]]).slice(1),
    "a dictionary": pa.array(["EURUSD", "GBPUSD"]).dictionary_encode(),
    "a dictionary of numbers": pa.array([1.5, 2.5]).dictionary_encode(),
    "views": pa.array(["EURUSD", TEXT], pa.string_view()),
    "objects": pa.array([{"a": 1, "b": {"c": ["x"]}}]),
    "a map": pa.array([{"a": 1}], pa.map_(pa.string(), pa.int8())),
    "nothing": pa.nulls(3),
    "no rows": pa.array([], pa.string()),
    "instants and decimals": pa.array([1], pa.timestamp("us", "UTC")),
    "an extension": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16], pa.binary(16))),
}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that a test reaches."""
    monkeypatch.setattr(arrow_weight, "MOST_VALUES", 1_000)
    monkeypatch.setattr(arrow_weight, "MOST_BYTES", 50_000)


@pytest.mark.parametrize("column", HONEST.values(), ids=HONEST)
def test_honest_columns(column: pa.Array):
    """What people send is no more than it is."""
    check_weight(pa.record_batch({"column": column}))


HEAVY: dict[str, Any] = {
    "a dictionary's text in every row": NAMED,
    "in every row's list": pa.ListArray.from_arrays(pa.array(range(91), pa.int32()), NAMED),
    "in every row's object": pa.StructArray.from_arrays([NAMED], ["a"]),
    "many texts": pa.array([TEXT] * 60),
    "many large texts": pa.array([TEXT] * 60, pa.large_string()),
    "many views": pa.array([TEXT] * 60, pa.string_view()),
    "nulls without a byte": pa.ListArray.from_arrays(pa.array([0, 5_000], pa.int32()), pa.nulls(5_000)),
    "fixed lists of nothing": pa.FixedSizeListArray.from_arrays(pa.nulls(5_000), 5_000),
    "a map's values": pa.array([[(str(n), n) for n in range(600)]], pa.map_(pa.string(), pa.int64())),
}


@pytest.mark.parametrize("column", HEAVY.values(), ids=HEAVY)
def test_heavy_columns(column: pa.Array):
    """Too many values, or too much text, counted as often as it is named."""
    with pytest.raises(TooLargeError, match="'column' unpacks to more than"):
        check_weight(pa.record_batch({"column": column}))


REPEATING: dict[str, Any] = {
    "runs": pa.RunEndEncodedArray.from_arrays(pa.array([3], pa.int32()), pa.array(["x"])),
    "list views": pa.ListViewArray.from_arrays(
        pa.array([0, 0], pa.int32()), pa.array([1, 1], pa.int32()), pa.array(["x"])
    ),
    "a union": pa.UnionArray.from_dense(pa.array([0, 0], pa.int8()), pa.array([0, 0], pa.int32()), [pa.array(["x"])]),
    "a dictionary of lists": pa.DictionaryArray.from_arrays(pa.array([0, 0], pa.int8()), pa.array([["x"]])),
}


@pytest.mark.parametrize("column", REPEATING.values(), ids=REPEATING)
def test_layouts_that_repeat(column: pa.Array):
    """They are refused by name, with what to do."""
    with pytest.raises(InvalidInputError, match="laid out as") as refused:
        check_weight(pa.record_batch({"column": column}))
    assert [{"loc": ["column"]}] == [{"loc": one["loc"]} for one in refused.value.details]
    assert "Cast it" in refused.value.hint


def test_columns_count_together():
    """A batch is as heavy as all its columns."""
    numbers = pa.array(np.arange(600))
    check_weight(pa.record_batch({"a": numbers}))
    with pytest.raises(TooLargeError):
        check_weight(pa.record_batch({"a": numbers, "b": numbers}))
