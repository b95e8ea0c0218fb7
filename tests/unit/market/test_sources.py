"""Sources: the ECB's fixings offline, and files wherever fsspec finds them."""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from mp_kit.errors import BarsError, MissingExtraError
from mp_kit.market import partition
from mp_kit.market.bars import Bars, column
from mp_kit.market.quality import check
from mp_kit.market.readers import public_where, read
from mp_kit.market.sources import EcbSource, FilesSource, Survey, open_source, symbol_of


def test_files_source_no_files(tmp_path: Path):
    """An empty folder is refused with where it looked."""
    with pytest.raises(BarsError, match=str(tmp_path)):
        FilesSource(str(tmp_path)).symbols()


def test_files_source_absent_path(tmp_path: Path):
    """So is a path that is not there."""
    with pytest.raises(BarsError, match="nothing"):
        FilesSource(str(tmp_path / "nothing")).symbols()


def test_files_source_unknown_symbol(tmp_path: Path, make_bars: Callable[..., Bars]):
    """A symbol that the source does not have is named beside those that it has."""
    pq.write_table(make_bars(10).table, tmp_path / "EURUSD.parquet")
    with pytest.raises(BarsError, match="has no GBPUSD") as caught:
        open_source(str(tmp_path), symbols=["GBPUSD"]).symbols()
    assert caught.value.hint == "It has EURUSD."


def test_files_source_shorter_timeframe(tmp_path: Path, make_bars: Callable[..., Bars]):
    """Hourly files give no minute bars."""
    pq.write_table(make_bars(10).table, tmp_path / "EURUSD.parquet")
    with pytest.raises(BarsError, match="1h bars cannot become 1m bars"):
        open_source(str(tmp_path), timeframe="1m").load("EURUSD")


def test_open_source_ecb_has_daily_bars_only():
    """The fixings cannot be hourly."""
    with pytest.raises(BarsError, match="no 1h bars"):
        open_source("ecb", timeframe="1h")


@pytest.mark.parametrize(
    ("module", "use"),
    [("currency_converter", lambda: EcbSource().load("EURUSD")), ("fsspec", lambda: FilesSource("x").symbols())],
)
def test_missing_extra(monkeypatch: pytest.MonkeyPatch, module: str, use: Callable[[], object]):
    """A package that is not installed is answered with the install line."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError) as caught:
        use()
    assert caught.value.hint == "pip install 'mp-kit[server]'"


def test_files_source_unknown_protocol():
    """A place that fsspec has never heard of."""
    with pytest.raises(BarsError, match="no place that fsspec can open"):
        FilesSource("gopher-ng://bars/EURUSD.csv").symbols()


class BrokenWeb:
    """A web server that answers each request with bytes that are no bars."""

    def open(self, _path: str, _mode: str) -> io.BytesIO:
        """The same bytes for every path."""
        return io.BytesIO(b"")


@pytest.mark.parametrize("name", ["EURUSD.csv", "EURUSD.parquet"])
def test_errors_do_not_repeat_a_signature(name: str):
    """A presigned URL's query and password stay out of the error, and do not hide the suffix."""
    with pytest.raises(BarsError) as caught:
        read(BrokenWeb(), f"https://user:secret@host/{name}?X-Amz-Signature=secret")
    assert caught.value.message.startswith(f"https://host/{name}: ")
    assert "secret" not in caught.value.message


def test_files_source_folder(tmp_path: Path, make_bars: Callable[..., Bars]):
    """Files of all kinds below a folder, one symbol each; the bars come back as they were."""
    tables = {name: make_bars(50, seed=seed).table for seed, name in enumerate(("AUDUSD", "EURUSD", "GBPUSD"))}
    (tmp_path / "deep").mkdir()
    pq.write_table(tables["AUDUSD"], tmp_path / "AUDUSD.parquet")
    pa_csv.write_csv(tables["EURUSD"], tmp_path / "deep" / "EURUSD.csv")
    with pa.CompressedOutputStream(str(tmp_path / "GBPUSD.csv.gz"), "gzip") as file:
        pa_csv.write_csv(tables["GBPUSD"], file)
    (tmp_path / "README.md").write_text("no bars")
    source = open_source(str(tmp_path))
    assert source.symbols() == ["AUDUSD", "EURUSD", "GBPUSD"]
    for symbol, table in tables.items():
        bars = source.load(symbol).bars
        assert ("1h", table) == (bars.timeframe, bars.table)


def test_files_source_glob_joins_years(tmp_path: Path, make_bars: Callable[..., Bars]):
    """Several files of one symbol are one series, and a chosen timeframe is reached by resampling."""
    table = make_bars(60).table
    pa_csv.write_csv(table.slice(0, 36), tmp_path / "DAT_ASCII_EURUSD_M1_2011.csv")
    pa_csv.write_csv(table.slice(36), tmp_path / "DAT_ASCII_EURUSD_M1_2012.csv")
    assert table == open_source(f"{tmp_path}/*.csv").load("EURUSD").bars.table
    daily = open_source(f"{tmp_path}/*.csv", timeframe="1d").load("EURUSD")
    assert (daily.bars.rows, daily.bars.timeframe) == (3, "1d")
    assert "Resampled from 1h to 1d." in daily.assumptions


def test_files_source_symbol_column(tmp_path: Path, make_bars: Callable[..., Bars]):
    """One file of several symbols, told apart by a column."""
    parts = {name: make_bars(20, seed=seed).table for seed, name in enumerate(("eurusd", "gbpusd"))}
    labelled = [table.append_column("ticker", pa.array([name] * 20)) for name, table in parts.items()]
    pq.write_table(pa.concat_tables(labelled), tmp_path / "all.parquet")
    source = open_source(str(tmp_path / "all.parquet"))
    assert source.symbols() == ["EURUSD", "GBPUSD"]
    assert parts["gbpusd"] == source.load("GBPUSD").bars.table


def test_files_source_any_filesystem(make_bars: Callable[..., Bars]):
    """Whatever fsspec knows: here its memory filesystem."""
    with fsspec.open("memory://bars/EURUSD.csv", "wb") as file:
        pa_csv.write_csv(make_bars(20).table, file)
    assert make_bars(20).table == open_source("memory://bars").load("EURUSD").bars.table


def together(bars: dict[str, pa.Table]) -> pa.Table:
    """Rows of all symbols in turn, as an export of a database has them, told apart by a column in small letters."""
    named = [table.append_column("ticker", pa.array([name.lower()] * table.num_rows)) for name, table in bars.items()]
    return pa.concat_tables(named).sort_by("timestamp")


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_survey_divides_a_file_of_many_symbols(
    tmp_path: Path, make_bars: Callable[..., Bars], monkeypatch: pytest.MonkeyPatch, suffix: str
):
    """The parts have the bars that the whole file has, types and notes too, and the file is not opened again."""
    monkeypatch.setattr(partition, "_BATCH", 7)
    whole = together({name: make_bars(50, seed=seed).table for seed, name in enumerate(("EURUSD", "GBPUSD", "USDJPY"))})
    path = tmp_path / f"all{suffix}"
    if suffix == ".parquet":
        pq.write_table(whole, path)
    else:
        pa_csv.write_csv(whole, path.with_suffix(""))
        content = path.with_suffix("").read_bytes()
        path.write_bytes(gzip.compress(content) if suffix.endswith(".gz") else content)
    plain = FilesSource(str(path))
    expected = {symbol: plain.load(symbol) for symbol in plain.symbols()}
    survey = FilesSource(str(path), symbols=["EURUSD", "USDJPY"]).survey(tmp_path / "parts")
    path.unlink()
    divided = FilesSource(str(path), survey=Survey(**json.loads(json.dumps(asdict(survey)))))
    assert ["EURUSD", "USDJPY"] == divided.symbols()
    for symbol in divided.symbols():
        assert expected[symbol].bars.table.equals(divided.load(symbol).bars.table)
        assert expected[symbol].assumptions == divided.load(symbol).assumptions


def test_survey_of_a_broken_file_names_it(tmp_path: Path, make_bars: Callable[..., Bars]):
    """A file that ends in the middle is refused by name."""
    whole = together({name: make_bars(50).table for name in ("EURUSD", "GBPUSD")})
    pq.write_table(whole, tmp_path / "all.parquet")
    source = FilesSource(str(tmp_path / "all.parquet"))
    assert 2 == len(source.symbols())
    content = bytearray((tmp_path / "all.parquet").read_bytes())
    content[100:900] = bytes(800)
    (tmp_path / "all.parquet").write_bytes(content)
    with pytest.raises(BarsError, match=r"all\.parquet"):
        source.survey(tmp_path / "parts")


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("EURUSD.csv.gz", "EURUSD"),
        ("eurusd.parquet", "EURUSD"),
        ("EURUSD60.csv", "EURUSD"),
        ("DAT_ASCII_GBPUSD_M1_2012.csv", "GBPUSD"),
        ("USDJPY_Candlestick_1_h_BID_01.01.2007-31.12.2018.csv", "USDJPY"),
        ("EURUSD=X.csv", "EURUSD"),
        ("us500.csv", "US500"),
        ("AAPL_1h.csv", "AAPL"),
    ],
)
def test_symbol_of(name: str, symbol: str):
    """The instrument that a file name speaks of."""
    assert symbol == symbol_of(f"some/folder/{name}")


def test_describe_has_no_secret(tmp_path: Path, make_bars: Callable[..., Bars]):
    """A description is JSON, and a URL in it has lost its user, password and query."""
    pq.write_table(make_bars(10).table, tmp_path / "EURUSD.parquet")
    described = open_source(str(tmp_path)).describe()
    assert described == json.loads(json.dumps(described))
    assert public_where("https://user:secret@host/bars.csv?X-Signature=secret#x") == "https://host/bars.csv"


def test_ecb_source():
    """Daily bars of every pair since 1999, valid by the strictest check, with the attribution that the ECB asks for."""
    source = open_source("ecb")
    assert source.symbols() == ["EURAUD", "EURCAD", "EURCHF", "EURGBP", "EURJPY", "EURNZD", "EURSEK", "EURUSD"]
    assert "European Central Bank" in source.describe()["licence"]
    for symbol in source.symbols():
        bars = source.load(symbol).bars
        assert (bars.timeframe, bars.rows > 6_000) == ("1d", True)
        report = check(bars).report
        assert report.input_rows == report.kept_rows
        assert np.array_equal(column(bars.table, "open")[1:], column(bars.table, "close")[:-1])


def test_ecb_source_known_fixing():
    """The euro's second fixing: 1.1790 dollars on 1999-01-05, after 1.1789."""
    first = open_source("ecb", symbols=["EURUSD"]).load("EURUSD").bars.table.to_pylist()[0]
    assert (
        first["timestamp"].date().isoformat(),
        first["open"],
        first["close"],
        first["volume"],
    ) == ("1999-01-05", 1.1789, 1.1790, 1.0)


def test_ecb_source_unknown_pair():
    """A currency that the ECB source does not offer."""
    with pytest.raises(BarsError, match="has no EURZZZ"):
        open_source("ecb", symbols=["EURZZZ"])
