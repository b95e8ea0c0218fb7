"""Reads signals out of what a vendor has at hand: a frame, an Arrow table, contracts or dictionaries.

Everything is checked here by the marketplace's own rules, before anything is sent, and all findings are told at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

from pydantic import ValidationError

from mp_kit.client.columns import NAMES, match, naive, plain, require, settle
from mp_kit.client.invalid import findings
from mp_kit.contracts.signal_rules import check_future, extra_json
from mp_kit.contracts.signals import SignalWrite, translate
from mp_kit.errors import InvalidInputError

MOST_FINDINGS = 50
_TIMES = ("timestamp", "event_time")

Signals = Any
"""A pandas or polars frame, an Arrow table, one SignalWrite or dictionary, or an iterable of them."""


@dataclass(frozen=True)
class Reading:
    """How to read what was given.

    Args:
        columns: Field by column, where their names do not say it.
        fill: Fields that are the same for each row and that it does not have.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    fill: Mapping[str, Any] = field(default_factory=dict)


def signal_writes(given: Signals, how: Reading | None = None, *, now: datetime | None = None) -> list[SignalWrite]:
    """Reads and validates all rows.

    Args:
        given: The signals.
        how: How to read their columns.
        now: The clock; this machine's by default.

    Raises:
        InvalidInputError: A column is not found, or rows break the contract; ``details`` names row, field and reason
            of each (the first 50).
    """
    clock = now or datetime.now(UTC)
    good: list[SignalWrite] = []
    bad: list[dict[str, Any]] = []
    count = 0
    for index, row in enumerate(records(given, how or Reading())):
        found, signal = _checked(row, index, clock)
        if signal is None:
            count += 1
            bad += found
        else:
            good.append(signal)
    if count:
        raise _all(bad, count, count + len(good))
    return good


def _checked(
    row: SignalWrite | Mapping[str, Any], index: int, now: datetime
) -> tuple[list[dict[str, Any]], SignalWrite | None]:
    try:
        signal = row if isinstance(row, SignalWrite) else SignalWrite.model_validate(dict(translate(row)))
    except ValidationError as error:
        return findings(error, index), None
    try:
        check_future(signal.bar_time, now)
        extra_json("rationale", signal.rationale)
        extra_json("metadata", signal.metadata)
    except ValueError as error:
        place, _, reason = str(error).partition(": ")
        return [{"loc": [index, place], "msg": reason}], None
    return [], signal


def _all(bad: Sequence[dict[str, Any]], count: int, total: int) -> InvalidInputError:
    first = bad[0]
    place = ".".join(str(part) for part in first["loc"][1:]) or "the row"
    return InvalidInputError(
        f"{count} of {total} signals break the contract; row {first['loc'][0]}: {place}: {first['msg']}.",
        hint=f"Nothing was sent. The error's details name row, field and reason of each.{_advice(bad)}",
        details=bad[:MOST_FINDINGS],
    )


def _advice(bad: Sequence[dict[str, Any]]) -> str:
    fields = {detail["loc"][1] for detail in bad if len(detail["loc"]) > 1}
    said = {
        "decision": " A decision is BUY, SELL or HOLD (also long/short/flat, 1/-1/0).",
        "confidence": " A confidence lies from 0 to 1: divide percentages by 100.",
    }
    future = any("in the future" in detail["msg"] for detail in bad)
    clock = " If a bar is not in the future, this machine's clock is slow." if future else ""
    return "".join(advice for name, advice in said.items() if name in fields) + clock


def records(given: Signals, how: Reading) -> Iterable[SignalWrite | Mapping[str, Any]]:
    """The rows of it, one by one, by the contract's names.

    Raises:
        InvalidInputError: It is nothing that has rows, or a column is not found.
    """
    if isinstance(given, (SignalWrite, Mapping)):
        return _mapped([given], how)
    if hasattr(given, "to_pylist"):
        return _of_arrow(given, how)
    if hasattr(given, "to_dicts"):
        return _of_polars(given, how)
    if hasattr(given, "to_dict") and hasattr(given, "columns"):
        return _of_pandas(given, how)
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise InvalidInputError(
            f"Signals can't be read from {type(given).__name__}.",
            hint="Pass a frame with the columns symbol, timeframe, decision, confidence, model_version, timestamp.",
        )
    return _mapped(given, how)


def _mapped(rows: Iterable[Any], how: Reading) -> Iterable[SignalWrite | Mapping[str, Any]]:
    @cache
    def fields(names: tuple[Any, ...]) -> dict[Any, str]:
        return match(names, {old: new for old, new in how.columns.items() if old in names}, how.fill)

    for row in rows:
        if isinstance(row, SignalWrite):
            yield row
        elif isinstance(row, Mapping):
            yield _row(row, fields(tuple(row)), how)
        else:
            raise InvalidInputError(f"A signal is a SignalWrite or a dictionary, not {type(row).__name__}.")


def _row(row: Mapping[Any, Any], fields: Mapping[Any, str], how: Reading) -> dict[str, Any]:
    """A row by the contract's names. What a frame marks as missing (None, NaN, NaT) is a missing field, no value."""
    kept = {name: row[column] for column, name in fields.items() if not _is_missing(row[column])}
    return {name: settle(name, _plain(value)) for name, value in {**how.fill, **kept}.items()}


def _fields(there: Sequence[Any], how: Reading) -> dict[Any, str]:
    found = match(there, how.columns, how.fill)
    require(found, there, how.fill)
    return found


def _of_arrow(table: Any, how: Reading) -> Iterable[dict[str, Any]]:
    fields = _fields(table.column_names, how)
    for column, name in fields.items():
        kind = table.schema.field(column).type
        if name in _TIMES and (str(kind).startswith("date") or getattr(kind, "tz", "") is None):
            cast = (
                f"table[{column!r}].cast(pa.timestamp('us'))" if str(kind).startswith("date") else f"table[{column!r}]"
            )
            raise naive(column, f"pc.assume_timezone({cast}, 'UTC')")
    return (_row(row, fields, how) for row in table.to_pylist())


def _of_polars(frame: Any, how: Reading) -> Iterable[dict[str, Any]]:
    fields = _fields(frame.columns, how)
    for column, name in fields.items():
        kind = str(frame.schema[column])
        if name in _TIMES and (kind == "Date" or (kind.startswith("Datetime") and "time_zone=None" in kind)):
            cast = '.cast(pl.Datetime("us"))' if kind == "Date" else ""
            raise naive(f"column {column}", f'frame.with_columns(pl.col("{column}"){cast}.dt.replace_time_zone("UTC"))')
    return (_row(row, fields, how) for row in frame.to_dicts())


def _of_pandas(frame: Any, how: Reading) -> Iterable[dict[str, Any]]:
    frame, from_index = _with_index(frame)
    fields = _fields(list(frame.columns), how)
    for column, name in fields.items():
        kind = frame[column].dtype
        if name in _TIMES and getattr(kind, "kind", "") == "M" and getattr(kind, "tz", None) is None:
            at = f"frame[{column!r}]"
            mend = 'frame.index = frame.index.tz_localize("UTC")' if column in from_index else None
            raise naive("the index" if mend else f"column {column}", mend or f'{at} = {at}.dt.tz_localize("UTC")')
    return (_row(row, fields, how) for row in frame.to_dict(orient="records"))


def _with_index(frame: Any) -> tuple[Any, list[Any]]:
    """The frame with those levels of its index as columns that are fields and no column yet."""
    known = {name: {name, *others} for name, others in NAMES.items()}
    have = {name for name, spellings in known.items() for column in frame.columns if plain(column) in spellings}
    levels = []
    for number, name in enumerate(frame.index.names):
        values = frame.index.get_level_values(number)
        own = "timestamp" if name is None and getattr(values.dtype, "kind", "") == "M" else name
        means = next((field for field, spellings in known.items() if own is not None and plain(own) in spellings), None)
        if means is not None and means not in have:
            levels.append((own, values))
    for own, values in levels:
        frame = frame.assign(**{str(own): values})
    return frame, [str(own) for own, _ in levels]


def _is_missing(value: Any) -> bool:
    # NaN and NaT are the values that differ from themselves; pandas' NA refuses to say, and is missing too.
    if value is None or type(value).__name__ == "NAType":
        return True
    return (isinstance(value, (float, complex)) and value != value) or type(value).__name__ == "NaTType"  # noqa: PLR0124 - the definition of NaN


def _plain(value: Any) -> Any:
    """A numpy array or scalar as Python's own."""
    return value.tolist() if type(value).__module__ == "numpy" else value
