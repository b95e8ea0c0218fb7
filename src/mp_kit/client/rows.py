"""Reads signals out of what a vendor has at hand: a frame, an Arrow table, contracts or dictionaries.

Everything is checked here, before anything is sent, and all findings are told at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from mp_kit.client.invalid import findings
from mp_kit.contracts.signals import SignalWrite, translate
from mp_kit.errors import InvalidInputError

MOST_FINDINGS = 50
_TIMES = ("timestamp", "event_time", "bar_ts")

Signals = Any
"""A pandas or polars frame, an Arrow table, one SignalWrite or dictionary, or an iterable of them."""


def signal_writes(given: Signals) -> list[SignalWrite]:
    """Reads and validates all rows.

    Raises:
        InvalidInputError: Rows break the contract; ``details`` names row, field and reason of each (the first 50).
    """
    good: list[SignalWrite] = []
    bad: list[dict[str, Any]] = []
    count = 0
    for index, row in enumerate(records(given)):
        try:
            good.append(row if isinstance(row, SignalWrite) else SignalWrite.model_validate(dict(translate(row))))
        except ValidationError as error:
            count += 1
            bad += findings(error, index)
    if count:
        raise _all(bad, count, count + len(good))
    return good


def _all(bad: Sequence[dict[str, Any]], count: int, total: int) -> InvalidInputError:
    first = bad[0]
    place = ".".join(str(part) for part in first["loc"][1:]) or "the row"
    return InvalidInputError(
        f"{count} of {total} signals break the contract; row {first['loc'][0]}: {place}: {first['msg']}.",
        hint="Nothing was sent. The error's details name row, field and reason of each.",
        details=bad[:MOST_FINDINGS],
    )


def records(given: Signals) -> Iterable[SignalWrite | Mapping[str, Any]]:
    """The rows of it, one by one.

    Raises:
        InvalidInputError: It is nothing that has rows.
    """
    if isinstance(given, (SignalWrite, Mapping)):
        return [given]
    if hasattr(given, "to_pylist"):  # Arrow
        return [_present(row) for row in given.to_pylist()]
    if hasattr(given, "to_dicts"):  # polars
        return [_present(row) for row in given.to_dicts()]
    if hasattr(given, "to_dict") and hasattr(given, "columns"):
        return _of_pandas(given)
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise InvalidInputError(
            f"Signals can't be read from {type(given).__name__}.",
            hint="Pass a frame with the columns symbol, timeframe, decision, confidence, model_version, timestamp.",
        )
    return [_row(item) for item in given]


def _row(item: Any) -> SignalWrite | Mapping[str, Any]:
    if isinstance(item, (SignalWrite, Mapping)):
        return item
    raise InvalidInputError(f"A signal is a SignalWrite or a dictionary, not {type(item).__name__}.")


def _of_pandas(frame: Any) -> list[dict[str, Any]]:
    if frame.index.name in _TIMES and frame.index.name not in frame.columns:
        frame = frame.reset_index()
    return [_present(row) for row in frame.to_dict(orient="records")]


def _present(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Leaves out what a frame marks as missing (None, NaN, NaT): a missing field, not a value."""
    return {str(name): _plain(value) for name, value in row.items() if not _is_missing(value)}


def _is_missing(value: Any) -> bool:
    # NaN and NaT are the values that differ from themselves; pandas' NA refuses to say, and is missing too.
    if value is None or type(value).__name__ == "NAType":
        return True
    return (isinstance(value, (float, complex)) and value != value) or type(value).__name__ == "NaTType"  # noqa: PLR0124 - the definition of NaN


def _plain(value: Any) -> Any:
    """A numpy array or scalar as Python's own."""
    return value.tolist() if type(value).__module__ == "numpy" else value
