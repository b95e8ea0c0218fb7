"""The live window: per symbol the newest bar that has closed, and the bars before it, as a question for ``/infer``.

1. A bar counts once its end is over by the clock. Nothing is invented: a bar that was resampled and whose source does
   not reach its end is none yet, whatever the clock says.
2. What cannot be read is told by symbol, and takes no other symbol with it.
3. A round's files are opened only for symbols that somebody is to be asked about, and only their last row groups.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mp_kit.contracts import CURRENT, FileRole, Manifest, ManifestFile
from mp_kit.errors import BarsError, MarketplaceError
from mp_kit.market.bars import BAR_SCHEMA, Bars, resample, times_of
from mp_kit.market.quality import Policy, check
from mp_kit.market.sources import Source, open_source
from mp_kit.market.timeframes import Timeframe, seconds
from mp_kit.server.storage import ObjectStore, content_key
from mp_kit.server.store import rounds as round_rows
from mp_kit.server.store.engine import Tx

__all__ = ["MOST_BARS", "Live", "Window", "live", "of_round", "of_source"]

MOST_BARS = 700
"""Bars of a question: more than any published feature remembers (640)."""


@dataclass(frozen=True)
class Window:
    """A symbol's newest closed bar.

    Args:
        symbol: Of which market.
        timeframe: Its length.
        event_time: Its open.
        load: Reads the bars up to it, oldest first.
    """

    symbol: str
    timeframe: Timeframe
    event_time: datetime
    load: Callable[[], pa.Table] = field(repr=False)

    def question(self) -> bytes:
        """The request's body.

        Raises:
            MarketplaceError: The bars cannot be read.
        """
        table = self.load()
        table = table.slice(max(table.num_rows - MOST_BARS, 0))
        columns = [times_of(table) / 1e6, *(table[name].to_numpy() for name in BAR_SCHEMA.names[1:])]
        bars = np.stack(columns, axis=1).tolist()
        asked = {"symbol": self.symbol, "timeframe": str(self.timeframe), "ohlcv": bars}
        return json.dumps(asked, separators=(",", ":"), allow_nan=False).encode()


@dataclass(frozen=True)
class Live:
    """The newest closed bars of some symbols, and why there are none of others."""

    windows: Sequence[Window] = ()
    problems: Mapping[str, str] = field(default_factory=dict)


def live(
    begin: Callable[[], AbstractContextManager[Tx]],
    store: ObjectStore,
    now: datetime,
    *,
    source: str | None = None,
    timeframe: Timeframe | None = None,
) -> Live:
    """The window of a source where one is named, else of the current round; nothing where there is no round.

    Args:
        begin: Opens a transaction.
        store: Where rounds' files lie.
        now: By the clock; bars that end later are not closed.
        source: See :func:`of_source`.
        timeframe: See there.

    Raises:
        BarsError: There is no such source.
    """
    if source is not None:
        return of_source(source, now, timeframe=timeframe)
    with begin() as tx:
        row = round_rows.find_manifest(tx, CURRENT)
    return Live() if row is None else of_round(store, Manifest.model_validate_json(bytes(row.manifest)), now)


def of_round(store: ObjectStore, manifest: Manifest, now: datetime) -> Live:
    """The window of a round, by its ``features`` files."""
    windows: list[Window] = []
    problems: dict[str, str] = {}
    for file in manifest.files:
        if file.type is not FileRole.FEATURES or file.symbol is None:
            continue
        try:
            windows += _of_file(store, file, manifest.timeframe.value, now)
        except (MarketplaceError, OSError, pa.ArrowException) as error:
            problems[file.symbol] = _words(error)
    return Live(windows, problems)


def of_source(where: str, now: datetime, *, timeframe: Timeframe | None = None, policy: Policy | None = None) -> Live:
    """The window of a source of bars, such as ``publish-round`` takes.

    Args:
        where: ``ecb``, or a file, folder, glob or URL.
        now: By the clock; bars that end later are not closed.
        timeframe: Shorter bars are resampled to it.
        policy: What to do about faulty bars; the default refuses a symbol whose values cannot be true.

    Raises:
        BarsError: There is no such source.
    """
    source = open_source(where)
    windows: list[Window] = []
    problems: dict[str, str] = {}
    for symbol in source.symbols():
        try:
            windows += _of_symbol(source, symbol, now, timeframe, policy)
        except MarketplaceError as error:
            problems[symbol] = error.message
    return Live(windows, problems)


def _of_file(store: ObjectStore, file: ManifestFile, timeframe: Timeframe, now: datetime) -> list[Window]:
    """The file's window; where its last bar has not closed yet, its bars tell which one has."""
    symbol, length = file.symbol or "", timedelta(seconds=seconds(timeframe))
    if file.max_time is not None and file.max_time + length <= now:
        return [Window(symbol, timeframe, file.max_time, lambda: _last_bars(store, file))]
    return _closed(symbol, timeframe, _last_bars(store, file), now)


def _last_bars(store: ObjectStore, file: ManifestFile) -> pa.Table:
    with store.open(content_key(file.sha256)) as opened:
        parquet = pq.ParquetFile(opened)
        groups, rows = [], 0
        for number in reversed(range(parquet.num_row_groups)):
            groups.append(number)
            rows += parquet.metadata.row_group(number).num_rows
            if rows >= MOST_BARS:
                break
        return parquet.read_row_groups(groups[::-1], columns=BAR_SCHEMA.names).cast(BAR_SCHEMA)


def _of_symbol(
    source: Source, symbol: str, now: datetime, timeframe: Timeframe | None, policy: Policy | None
) -> list[Window]:
    checked = check(source.load(symbol).bars, policy).bars
    bars = checked if timeframe is None else resample(checked, timeframe)
    table = bars.table
    if bars.timeframe != checked.timeframe and not _is_full(bars, checked):
        table = table.slice(0, table.num_rows - 1)
    return _closed(symbol, bars.timeframe, table, now)


def _is_full(bars: Bars, of: Bars) -> bool:
    """Whether the source reaches the end of the last bar that was made of it."""
    reached = int(of.times()[-1]) + seconds(of.timeframe) * 1_000_000
    return reached >= int(bars.times()[-1]) + seconds(bars.timeframe) * 1_000_000


def _closed(symbol: str, timeframe: Timeframe, table: pa.Table, now: datetime) -> list[Window]:
    newest = pa.scalar(now - timedelta(seconds=seconds(timeframe)), BAR_SCHEMA.field("timestamp").type)
    closed = table.filter(pc.less_equal(table["timestamp"], newest))
    if not closed.num_rows:
        return []
    at = datetime.fromtimestamp(int(times_of(closed)[-1]) / 1e6, UTC)
    return [Window(symbol, timeframe, at, lambda: closed)]


def _words(error: Exception) -> str:
    if isinstance(error, MarketplaceError):
        return error.message
    return BarsError(f"its file cannot be read ({type(error).__name__})").message
