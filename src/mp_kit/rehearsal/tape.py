"""The bars that a sandbox replays, and how far they may be seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mp_kit.contracts.common import Timeframe
from mp_kit.errors import BarsError
from mp_kit.market.bars import Bars
from mp_kit.market.build import RoundSpec, prepare, rows_needed
from mp_kit.market.sources import open_source

__all__ = ["Tape"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)


class Tape:
    """Bars of several symbols and one timeframe; a bar is shown from its close on.

    Args:
        series: Symbol to bars.
        where: Where they came from, for people.
    """

    def __init__(self, series: Mapping[str, Bars], where: str) -> None:
        frames = sorted({bars.timeframe for bars in series.values()})
        if len(frames) != 1:
            raise BarsError(
                f"The bars of {where} have different timeframes: {', '.join(frames)}.",
                hint="Name the sandbox's timeframe; shorter bars are resampled to it.",
            )
        self.where = where
        self.timeframe = Timeframe(frames[0])
        self.symbols = sorted(series)
        self._tables = {symbol: series[symbol].table for symbol in self.symbols}
        length = self.timeframe.seconds * 1_000_000
        self._closes = {symbol: series[symbol].times() + length for symbol in self.symbols}

    @classmethod
    def read(cls, where: str, symbols: Sequence[str] | None = None, timeframe: str | None = None) -> Tape:
        """Reads and checks all bars of a source.

        Args:
            where: ``ecb``, or a file, folder, glob or URL of OHLCV bars.
            symbols: Only these.
            timeframe: Resample to it.

        Raises:
            BarsError: There are no such bars, or they are faulty.
        """
        source = open_source(where, symbols=None if symbols is None else list(symbols))
        spec = RoundSpec.model_validate({"timeframe": timeframe})
        return cls({symbol: prepare(source, symbol, spec).bars for symbol in source.symbols()}, where)

    @property
    def first(self) -> datetime:
        """The first close."""
        return _instant(min(int(closes[0]) for closes in self._closes.values()))

    @property
    def last(self) -> datetime:
        """The last close."""
        return _instant(max(int(closes[-1]) for closes in self._closes.values()))

    def check_start(self, start: datetime) -> None:
        """Looks whether a sandbox may open at an instant.

        Raises:
            BarsError: The bars end before, or too few lie before it for a round.
        """
        if start >= self.last:
            raise BarsError(
                f"The bars of {self.where} end at {_text(self.last)}: nothing would happen after {_text(start)}.",
                hint=f"Choose a start before {_text(self.last)}.",
            )
        needed = rows_needed(RoundSpec())
        few = {symbol: self._count(symbol, start) for symbol in self.symbols}
        symbol = min(few, key=few.__getitem__)
        if few[symbol] < needed:
            enough = [int(closes[needed - 1]) for closes in self._closes.values() if closes.size >= needed]
            hint = f"Choose a start from {_text(_instant(max(enough)))} on." if len(enough) == len(few) else None
            raise BarsError(
                f"{few[symbol]} bars of {symbol} close before {_text(start)}; a round needs {needed}.",
                hint=hint or "Leave the symbol out, or give a longer history.",
            )

    def closes(self, after: datetime, until: datetime) -> list[datetime]:
        """The instants at which bars close, after one and up to another."""
        found = [closes[slice(*np.searchsorted(closes, [_micros(after), _micros(until)], side="right"))] for closes in
                 self._closes.values()]  # fmt: skip
        return [_instant(int(close)) for close in np.unique(np.concatenate(found))]

    def closing(self, moment: datetime) -> dict[str, datetime]:
        """The symbols whose bar closes at that very instant, with the bar's open."""
        opened = moment - timedelta(seconds=self.timeframe.seconds)
        at = _micros(moment)
        return {symbol: opened for symbol in self.symbols if self._at(symbol, moment) == at}

    def until(self, symbol: str, now: datetime, last: int | None = None) -> pa.Table:
        """The bars of a symbol that have closed.

        Args:
            symbol: Whose.
            now: The sandbox's time.
            last: Only so many, the newest.

        Raises:
            BarsError: There is no such symbol.
        """
        if symbol not in self._tables:
            raise BarsError(f"{self.where} has no {symbol}.", hint=f"It has {', '.join(self.symbols)}.")
        count = self._count(symbol, now)
        first = 0 if last is None else max(count - last, 0)
        return self._tables[symbol].slice(first, count - first)

    def write(self, folder: Path, now: datetime) -> None:
        """Writes what has closed, one Parquet file a symbol: all that the marketplace ever gets."""
        folder.mkdir(parents=True)
        for symbol in self.symbols:
            name = symbol.replace("/", "-").replace(":", "-")
            table = self.until(symbol, now)
            named = table.append_column("symbol", pa.repeat(symbol, table.num_rows))
            pq.write_table(named, folder / f"{name}.parquet")

    def _count(self, symbol: str, now: datetime) -> int:
        return int(np.searchsorted(self._closes[symbol], _micros(now), side="right"))

    def _at(self, symbol: str, moment: datetime) -> int | None:
        count = self._count(symbol, moment)
        return int(self._closes[symbol][count - 1]) if count else None


def _micros(when: datetime) -> int:
    return (when - _EPOCH) // _MICRO


def _instant(since: int) -> datetime:
    return _EPOCH + since * _MICRO


def _text(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%MZ")
