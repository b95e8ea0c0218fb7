"""Two of 26 columns of a remote file, against pulling the file: bytes that cross the wire, every one of them proved."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from bench.publish import write_bars
from bench.results import Result
from bench.servers import started
from mp_kit.client.cache import Cache
from mp_kit.client.footers import Choice
from mp_kit.client.opener import Urllib3Opener
from mp_kit.client.partial import Wanted
from mp_kit.client.scan import Scanner
from mp_kit.client.transfer import Transfer
from mp_kit.client.urls import Signed, UrlBook
from mp_kit.contracts.rounds import ManifestFile
from mp_kit.market.build import RoundSpec, featured
from mp_kit.market.indicators import WARM_UP
from mp_kit.market.parquet import Written, write
from mp_kit.market.sources import open_source

ROWS = 500_000
COLUMNS = 26
CHOSEN = ("close", "rsi_14")
"""A price, stored as float64, and a feature that compresses badly."""


def run(folder: Path) -> Result:
    """The ratio of bytes.

    Args:
        folder: Empty; for bars, the file and what is fetched.
    """
    written = _file(folder)
    entry = _entry(written)
    with started("static", str(written.path.parent)) as port:
        opener = Urllib3Opener()
        url = f"http://127.0.0.1:{port}/{entry.name}"
        transfer = Transfer(opener, UrlBook(lambda: Signed({entry.name: url})))
        whole = transfer.run([Wanted(entry.name, entry.size_bytes, entry.sha256, folder / "whole")]).bytes
        found = Scanner(transfer, Cache(folder / "cache")).scan("bench", [entry], Choice(CHOSEN))
        opener.close()
    if found.whole or found.table.num_rows != entry.rows:
        raise RuntimeError(f"no partial read: {found!r}")
    manifest = len(json.dumps(entry.model_dump(mode="json"))) / 1e3
    against = f"whole file, {whole / 1e6:,.1f} MB of {entry.rows:,} x {COLUMNS}; its manifest entry, {manifest:,.1f} kB"
    return Result("pull.projection", found.fetched_bytes / 1e6, "MB", against, found.fetched_bytes / whole, "<= 0.10")


def _file(folder: Path) -> Written:
    """One symbol's bars and features as a round has them, the first 26 columns and the two chosen ones among them."""
    write_bars(folder / "bars", symbols=1, bars=ROWS + WARM_UP)
    source = open_source(str(folder / "bars"))
    table = featured(source.load(source.symbols()[0]).bars, RoundSpec()).slice(WARM_UP)
    (folder / "served").mkdir()
    return write(table.select(table.column_names[:COLUMNS]), folder / "served" / "train.parquet", metadata={})


def _entry(written: Written) -> ManifestFile:
    told = {name: value for name, value in asdict(written).items() if name != "path"}
    return ManifestFile.model_validate({"name": written.path.name, "type": "train", "symbol": "BENCH"} | told)
