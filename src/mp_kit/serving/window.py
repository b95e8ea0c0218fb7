"""Real bars to ask a server with: the live window of the current round, or a file of the vendor's own.

1. Bars of a round are proved by its signed manifest, as every pull is; the newest window is kept in the cache, and
   used again, by name, where the marketplace cannot be reached.
2. Nothing is made up: where there are no bars there is no check.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mp_kit.client.config import cache_dir
from mp_kit.client.marketplace import Marketplace
from mp_kit.contracts.rounds import FileRole
from mp_kit.errors import BarsError, InvalidInputError, SetupError
from mp_kit.market.bars import BAR_SCHEMA, Bars, times_of
from mp_kit.market.sources import open_source

__all__ = ["Windows", "kept_window", "window_of_file", "window_of_round"]

MOST_ROWS = 2_000
"""Newest bars of a symbol that are kept."""

_COLUMNS = list(BAR_SCHEMA.names)
_FOLDER = "live-window"


@dataclass(frozen=True)
class Windows:
    """The newest bars of some symbols.

    Attributes:
        label: Where they came from, for the report.
        timeframe: Of all of them.
        tables: By symbol, columns of ``BAR_SCHEMA``, oldest first.
    """

    label: str
    timeframe: str
    tables: Mapping[str, pa.Table]

    def rows(self, symbol: str, count: int, shift: int = 0) -> list[list[float]]:
        """Bars as the wire has them, the newest last; ``shift`` leaves so many of the newest out."""
        table = self.tables[symbol]
        end = max(table.num_rows - shift, 1)
        part = table.slice(max(end - count, 0), min(count, end))
        times = times_of(part) / 1e6
        columns = [times, *(part[name].to_numpy() for name in _COLUMNS[1:])]
        found: list[list[float]] = np.stack(columns, axis=1).tolist()
        return found


def window_of_round(market: Marketplace, round_id: str = "current", symbols: Sequence[str] | None = None) -> Windows:
    """The live window of a round; kept in the cache for later.

    Raises:
        InvalidInputError: The round has no live window with bars.
        MarketplaceError: It cannot be had.
    """
    manifest = market.rounds.manifest(round_id)
    chosen = [name for name in manifest.symbols if symbols is None or name in symbols][:8]
    if not chosen:
        raise InvalidInputError(f"Round {manifest.round_id} has none of the symbols {', '.join(symbols or [])}.")
    tables = {}
    for symbol in chosen:
        table = market.data.arrow(
            FileRole.FEATURES.value, symbols=[symbol], columns=_COLUMNS, round=manifest.round_id, progress=False
        )
        tables[symbol] = table.slice(max(table.num_rows - MOST_ROWS, 0)).cast(BAR_SCHEMA)
    found = Windows(manifest.round_id, manifest.timeframe.value, tables)
    _keep(found)
    return found


def window_of_file(path: Path) -> Windows:
    """The bars of a CSV or Parquet file, or of a folder of them, as `mp admin round publish` would read them.

    Raises:
        BarsError: It holds no bars that can be read.
    """
    source = open_source(str(path))
    loaded: dict[str, Bars] = {symbol: source.load(symbol).bars for symbol in source.symbols()[:8]}
    frames = {bars.timeframe for bars in loaded.values()}
    if len(frames) != 1:
        raise BarsError(f"{path.name}: all symbols need bars of one length; there are {', '.join(sorted(frames))}.")
    tables = {symbol: bars.table.slice(max(bars.rows - MOST_ROWS, 0)) for symbol, bars in loaded.items()}
    return Windows(path.name, frames.pop(), tables)


def kept_window() -> Windows:
    """The window that was kept last.

    Raises:
        SetupError: None was.
    """
    folder = cache_dir() / _FOLDER
    try:
        facts = json.loads((folder / "about.json").read_text())
        tables = {symbol: pq.read_table(folder / name).cast(BAR_SCHEMA) for symbol, name in facts["files"].items()}
        return Windows(str(facts["label"]), str(facts["timeframe"]), tables)
    except (OSError, ValueError, KeyError, pa.ArrowInvalid):
        raise SetupError(
            "There are no bars to ask the server with: no round was pulled yet.",
            hint="Sign in (`mp login`), or name a file of bars: mp validate --bars FILE.",
        ) from None


def _keep(window: Windows) -> None:
    """Tables first, under names of their own; the file that names them last and at once."""
    folder = cache_dir() / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    files = {symbol: f"{window.label}-{number}.parquet" for number, symbol in enumerate(window.tables)}
    for symbol, name in files.items():
        temporary = folder / f".{name}.{os.getpid()}"
        pq.write_table(window.tables[symbol], temporary)
        temporary.replace(folder / name)
    about: dict[str, Any] = {"label": window.label, "timeframe": window.timeframe, "files": files}
    temporary = folder / f".about.{os.getpid()}"
    temporary.write_text(json.dumps(about))
    temporary.replace(folder / "about.json")
    for path in folder.glob("*.parquet"):
        if path.name not in files.values():
            path.unlink(missing_ok=True)
