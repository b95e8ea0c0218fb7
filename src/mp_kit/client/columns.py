"""Finds a signal's fields among the columns that a vendor has, and puts common spellings of values into the contract's.

1. A column with the contract's own name is that field; only where there is none its other names are looked for.
2. Nothing is guessed between two candidates: both are named, and how to choose.
3. A time without a zone is refused with the line that mends it: nobody but the vendor knows its zone.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mp_kit.contracts.signals import SignalWrite
from mp_kit.errors import InvalidInputError

NAMES: dict[str, tuple[str, ...]] = {
    "symbol": ("ticker", "pair", "instrument", "asset", "sym"),
    "timeframe": ("interval", "tf", "freq", "frequency", "resolution", "bar_size"),
    "decision": ("signal", "side", "action", "direction", "position"),
    "confidence": ("conf", "prob", "proba", "probability", "score"),
    "timestamp": ("time", "datetime", "date", "ts", "date_time", "open_time"),
    "event_time": ("bar_time", "bar_open", "bar"),
    "model_version": ("version",),
    "model_id": ("model",),
    "rationale": ("reason", "reasons"),
    "metadata": ("meta",),
}
"""Other names that a field's column may bear."""

REQUIRED = tuple(name for name, field in SignalWrite.model_fields.items() if field.is_required())
DIALECT = "bar_ts"
"""A column of the third dialect: its rows are mapped by the contract itself."""

_DECISIONS = {
    "BUY": ("buy", "long", "1", "+1", "1.0", "up"),
    "SELL": ("sell", "short", "-1", "-1.0", "down"),
    "HOLD": ("hold", "flat", "neutral", "0", "0.0", "-0.0", "none"),
}
_DECISION = {spelling: decision for decision, spellings in _DECISIONS.items() for spelling in spellings}
_FRAMES = {
    "1m": ("1m", "1min", "1t", "m1", "minute"),
    "5m": ("5m", "5min", "5t", "m5"),
    "15m": ("15m", "15min", "15t", "m15"),
    "1h": ("1h", "h", "h1", "60m", "60min", "60t", "hour", "hourly"),
    "4h": ("4h", "h4", "240m", "240min"),
    "1d": ("1d", "d", "d1", "24h", "day", "daily"),
}
_FRAME = {spelling: frame for frame, spellings in _FRAMES.items() for spelling in spellings}
_MONTHS = {"1M", "M"}


def plain(name: Any) -> str:
    """A column's name as it is compared: lower-case, words joined by underscores."""
    return "_".join(str(name).lower().replace("-", " ").replace(".", " ").replace("_", " ").split())


def match(there: Sequence[Any], chosen: Mapping[str, str], filled: Iterable[str] = ()) -> dict[Any, str]:
    """Which field each column is; columns that are none are left out.

    Args:
        there: The columns.
        chosen: Field by column, as the vendor says.
        filled: Fields that the vendor gives for rows that lack them; other names are not looked for then.

    Raises:
        InvalidInputError: A chosen column or field does not exist, or two columns could be one field.
    """
    if DIALECT in there and not chosen:
        return {name: str(name) for name in there}
    _check_choice(there, chosen)
    found: dict[Any, str] = dict(chosen)
    for field in SignalWrite.model_fields:
        if field in chosen.values():
            continue
        column = _column_of(field, [name for name in there if name not in found], only_exact=field in filled)
        if column is not None:
            found[column] = field
    return found


def require(matched: Mapping[Any, str], there: Sequence[Any], filled: Iterable[str] = ()) -> None:
    """Refuses columns in which a required field is missing.

    Raises:
        InvalidInputError: It names the fields, the columns that there are, and what would do.
    """
    if DIALECT in there:
        return
    missing = [field for field in REQUIRED if field not in {*matched.values(), *filled}]
    if not missing:
        return
    spare = [str(name) for name in there if name not in matched]
    raise InvalidInputError(
        f"No column is the signals' {' or '.join(missing)}; the columns are {', '.join(map(str, there)) or 'none'}.",
        hint=" ".join(_advice(field, spare) for field in missing),
        details=[{"loc": [field], "msg": "no column is this field"} for field in missing],
    )


def _advice(field: str, spare: Sequence[str]) -> str:
    near = difflib.get_close_matches(field, spare, 1, 0.5) or list(spare[:1])
    example = {"timeframe": "1h", "model_version": "1.0.0", "symbol": "EURUSD"}.get(field)
    choose = f"columns={{{near[0]!r}: {field!r}}}" if near else ""
    fill = f"fill={{{field!r}: {example!r}}}" if example else ""
    other = f"a column named {' or '.join((field, *NAMES[field][:2]))}"
    return f"{field}: pass {' or '.join(part for part in (choose, fill, other) if part)}."


def _check_choice(there: Sequence[Any], chosen: Mapping[str, str]) -> None:
    for column, field in chosen.items():
        if column not in there:
            raise InvalidInputError(
                f"There is no column {column!r} to be {field}.", hint=f"The columns are {', '.join(map(str, there))}."
            )
        if field not in SignalWrite.model_fields:
            raise InvalidInputError(
                f"A signal has no field {field!r}.", hint=f"It has: {', '.join(SignalWrite.model_fields)}."
            )


def _column_of(field: str, there: Sequence[Any], *, only_exact: bool) -> Any:
    exact = [name for name in there if name == field] or [name for name in there if plain(name) == field]
    found = exact if exact or only_exact else [name for name in there if plain(name) in NAMES.get(field, ())]
    if len(found) > 1:
        raise InvalidInputError(
            f"The columns {' and '.join(map(str, found))} could both be {field}.",
            hint=f"Choose: columns={{{str(found[0])!r}: {field!r}}}, or rename one: "
            f"frame.rename(columns={{{str(found[0])!r}: {field!r}}}).",
        )
    return found[0] if found else None


def settle(field: str, value: Any) -> Any:
    """A value in the contract's spelling where it is a common other one; what is unknown stays for the contract."""
    if field == "decision":
        return _decision(value)
    if field == "timeframe" and isinstance(value, str) and value not in _MONTHS:
        return _FRAME.get(value.strip().lower(), value)
    return value


def _decision(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return value
    return _DECISION.get(str(value).strip().lower(), value)


def naive(column: Any, how: str) -> InvalidInputError:
    """The error for a column of times without a zone.

    Args:
        column: The column, or the index.
        how: The line that mends it.
    """
    return InvalidInputError(
        f"The times in {column} have no zone, so each could mean any of 24 hours.",
        hint=f"If they are in UTC: {how}",
        details=[{"loc": [str(column)], "msg": "the times have no zone"}],
    )
