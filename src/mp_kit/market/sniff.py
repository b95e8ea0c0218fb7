"""Makes a bar table out of whatever columns and time format a file has, and says what it assumed.

Known without being told: our own ``timestamp,open,high,low,close,volume``; MetaTrader 4 and 5; HistData (ASCII);
Dukascopy; QuantConnect Lean (trades and quotes); yfinance; and any header whose names are in :data:`NAMES`.

1. Nothing is guessed that could be read two ways: such a file is refused with what was seen and what is wanted.
2. Every step that the file itself does not state (a time zone, a mid price, an absent volume) is a sentence in the
   result.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mp_kit.errors import BarsError
from mp_kit.market.bars import BAR_SCHEMA, PRICES
from mp_kit.market.clock import parse_times

__all__ = ["NAMES", "Sniffed", "canonical", "sniff", "symbol_column"]

NAMES: dict[str, tuple[str, ...]] = {
    "timestamp": (
        "timestamp", "datetime", "date_time", "gmt_time", "local_time", "utc", "ts", "bar_ts", "open_time",
        "time_utc", "date", "time",
    ),
    "open": ("open", "o", "open_price"),
    "high": ("high", "h", "high_price"),
    "low": ("low", "l", "low_price"),
    "close": ("close", "c", "close_price"),
    "volume": ("volume", "vol", "v", "tickvol", "tick_volume", "tickvolume"),
    "symbol": ("symbol", "ticker", "pair", "instrument"),
}  # fmt: skip
"""Accepted names per column, best first, in lower case with spaces as underscores and without ``<>``."""

_WANTED = "timestamp, open, high, low, close and, if there is one, volume"
_LEAN_QUOTE_COLUMNS = 11
_LEAN_TRADE_SCALE = 10_000.0
_LEAN_TIME = re.compile(r"\d{8} \d{2}:\d{2}(:\d{2})?")
_HISTDATA_TIME = re.compile(r"\d{8} \d{6}")


@dataclass(frozen=True)
class Sniffed:
    """A mapped file: the bar table, the symbol of each row if the file has it, and what was assumed."""

    table: pa.Table
    symbols: pa.ChunkedArray | None
    assumptions: list[str]


def canonical(name: str) -> str:
    """A column's name as :data:`NAMES` spells it."""
    return re.sub(r"[\s\-]+", "_", name.strip().strip("<>\"' \ufeff").lower())


def symbol_column(names: list[str]) -> str | None:
    """The column that names each row's instrument, if there is one."""
    return _find({canonical(name): name for name in names}, "symbol")


def sniff(raw: pa.Table, where: str) -> Sniffed:
    """Maps a file's columns.

    Args:
        raw: As read: its header's names, or ``0``, ``1`` … where it has none.
        where: The file, for errors.

    Returns:
        A table of ``BAR_SCHEMA`` in the file's order, symbols and assumptions.

    Raises:
        BarsError: A column cannot be mapped or read: the message has file, columns seen, columns wanted.
    """
    notes: list[str] = []
    named = _headerless(raw, where, notes) if raw.column_names[0] == "0" else raw
    found = {canonical(name): name for name in reversed(named.column_names)}
    mapped = {wanted: _find(found, wanted) for wanted in NAMES}
    lacking = [name for name in ("timestamp", *PRICES) if mapped[name] is None]
    if lacking:
        raise _unmapped(named, where, f"no column for {', '.join(lacking)}")
    columns = [parse_times(_when(named, found, mapped), where, notes)]
    columns += [_number(named, mapped[name], name, where, notes) for name in BAR_SCHEMA.names[1:]]
    others = sorted(set(named.column_names) - {*mapped.values()} - {found.get("time"), found.get("date")})
    if others:
        notes.append(f"Columns not used: {', '.join(others)}.")
    symbol = mapped["symbol"]
    symbols = named.column(symbol).cast(pa.string()) if symbol else None
    return Sniffed(pa.table(columns, schema=BAR_SCHEMA), symbols, notes)


def _find(found: dict[str, str], wanted: str) -> str | None:
    return next((found[name] for name in NAMES[wanted] if name in found), None)


def _unmapped(raw: pa.Table, where: str, why: str) -> BarsError:
    seen = ", ".join(f"{field.name} ({field.type})" for field in raw.schema)
    return BarsError(
        f"{where}: {why}. Columns seen: {seen}. Columns wanted: {_WANTED}.",
        hint="Rename the columns, or write the file as timestamp,open,high,low,close,volume.",
    )


def _when(table: pa.Table, found: dict[str, str], mapped: dict[str, str | None]) -> pa.ChunkedArray:
    """The time column; a date and a time column are put together."""
    if {"date", "time"} <= set(found) and mapped["timestamp"] in {found["date"], found["time"]}:
        day = table.column(found["date"]).cast(pa.string())
        return pc.binary_join_element_wise(day, table.column(found["time"]).cast(pa.string()), " ")
    return table.column(mapped["timestamp"])


def _number(table: pa.Table, name: str | None, wanted: str, where: str, notes: list[str]) -> pa.ChunkedArray:
    if name is None:
        notes.append("No volume column: volume is 0.")
        return pa.chunked_array([np.zeros(table.num_rows)])
    try:
        return table.column(name).cast(pa.float64())
    except pa.ArrowException as error:
        raise _unmapped(table, where, f"column {name} for {wanted} is not all numbers ({error})") from error


def _headerless(raw: pa.Table, where: str, notes: list[str]) -> pa.Table:
    """Names the columns of the formats that have no header."""
    first = str(raw.column(0)[0].as_py()) if raw.num_rows else ""
    width = raw.num_columns
    if width == _LEAN_QUOTE_COLUMNS and _LEAN_TIME.fullmatch(first):
        return _lean_quotes(raw, notes)
    if width == len(BAR_SCHEMA) and _LEAN_TIME.fullmatch(first):
        return _lean_trades(raw, notes)
    if width == len(BAR_SCHEMA) and _HISTDATA_TIME.fullmatch(first):
        notes.append("HistData format: times without a zone are Eastern Standard Time, UTC-5 all year.")
        return _in_eastern_standard_time(raw.rename_columns(BAR_SCHEMA.names), where)
    if width == len(BAR_SCHEMA) + 1 and ":" in str(raw.column(1)[0].as_py()):
        notes.append("MetaTrader 4 format: no header; date, time, open, high, low, close, volume.")
        return raw.rename_columns(["date", "time", *BAR_SCHEMA.names[1:]])
    if width == len(BAR_SCHEMA):
        notes.append("No header: columns taken as timestamp, open, high, low, close, volume.")
        return raw.rename_columns(BAR_SCHEMA.names)
    raise _unmapped(raw, where, "no header, and no known format without one")


def _in_eastern_standard_time(table: pa.Table, where: str) -> pa.Table:
    local = parse_times(table.column("timestamp"), where, [])
    utc = pc.add(local, pa.scalar(5 * 3600 * 1_000_000, pa.duration("us")))
    return table.set_column(0, "timestamp", utc)


def _lean_quotes(raw: pa.Table, notes: list[str]) -> pa.Table:
    """Lean's quote bars: bid OHLC, last bid size, ask OHLC, last ask size."""
    notes.append("Lean quote bars: prices are the mean of bid and ask; quotes carry no volume: 0.")
    bid = [raw.column(number).cast(pa.float64()) for number in (1, 2, 3, 4)]
    ask = [raw.column(number).cast(pa.float64()) for number in (6, 7, 8, 9)]
    mids = [pc.divide(pc.add(one, other), 2.0) for one, other in zip(bid, ask, strict=True)]
    mids[1] = pc.max_element_wise(*mids)
    mids[2] = pc.min_element_wise(*mids)
    volume = pa.chunked_array([np.zeros(raw.num_rows)])
    return pa.table([raw.column(0), *mids, volume], names=BAR_SCHEMA.names)


def _lean_trades(raw: pa.Table, notes: list[str]) -> pa.Table:
    """Lean's equity bars: prices are whole ten-thousandths; other trade bars are plain decimals."""
    if not all(pa.types.is_integer(raw.column(number).type) for number in (1, 2, 3, 4)):
        notes.append("Lean trade bars: prices as they stand.")
        return raw.rename_columns(BAR_SCHEMA.names)
    notes.append("Lean trade bars: whole-number prices are ten-thousandths.")
    prices = [pc.divide(raw.column(n).cast(pa.float64()), _LEAN_TRADE_SCALE) for n in (1, 2, 3, 4)]
    return pa.table([raw.column(0), *prices, raw.column(5)], names=BAR_SCHEMA.names)
