"""Column and time sniffing: the formats of the world, and the files that must be refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mp_kit.errors import BarsError, InvalidInputError
from mp_kit.market.bars import BAR_SCHEMA
from mp_kit.market.clock import parse_times
from mp_kit.market.readers import column_names, read
from mp_kit.market.sniff import Sniffed, sniff

LOCAL = fsspec.filesystem("file")

FIRST = ["2024-01-02T13:00:00Z", 1.10, 1.12, 1.09, 1.11, 7.0]
"""What every good file below says in its first row (volume may be absent: 0)."""

GOOD: dict[str, str] = {
    "own": "timestamp,open,high,low,close,volume\n2024-01-02T13:00:00Z,1.10,1.12,1.09,1.11,7\n",
    "offset": "time,o,h,l,c,v\n2024-01-02T15:00:00+02:00,1.10,1.12,1.09,1.11,7\n",
    "epoch seconds": "ts,open,high,low,close,volume\n1704200400,1.10,1.12,1.09,1.11,7\n",
    "epoch milliseconds": "open_time,open,high,low,close,volume\n1704200400000,1.10,1.12,1.09,1.11,7\n",
    "MetaTrader 4": "2024.01.02,13:00,1.10,1.12,1.09,1.11,7\n",
    "MetaTrader 5": "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n"
    "2024.01.02\t13:00:00\t1.10\t1.12\t1.09\t1.11\t3\t7\t2\n",
    "HistData": "20240102 080000;1.10;1.12;1.09;1.11;7\n",
    "Dukascopy GMT": "Gmt time,Open,High,Low,Close,Volume\n02.01.2024 13:00:00.000,1.10,1.12,1.09,1.11,7\n",
    "Dukascopy local": "Local time,Open,High,Low,Close,Volume\n"
    "02.01.2024 14:00:00.000 GMT+0100,1.10,1.12,1.09,1.11,7\n",
    "Lean equity": "20240102 13:00,11000,11200,10900,11100,7\n",
    "Lean crypto": "20240102 13:00,1.10,1.12,1.09,1.11,7\n",
    "yfinance": "Datetime,Open,High,Low,Close,Adj Close,Volume\n2024-01-02 08:00:00-05:00,1.10,1.12,1.09,1.11,1.0,7\n",
    "yfinance, three rows": "Price,Close,High,Low,Open,Volume\nTicker,X,X,X,X,X\nDatetime,,,,,\n"
    "2024-01-02 13:00:00+00:00,1.11,1.12,1.09,1.10,7\n",
    "byte order mark": "\ufefftimestamp;open;high;low;close;volume\n2024-01-02 13:00;1.10;1.12;1.09;1.11;7\n",
}

BAD: dict[str, tuple[str, str]] = {
    "no close": ("timestamp,open,high,low\n2024-01-02,1,2,1\n", "no column for close. Columns seen: timestamp"),
    "two lacking": ("when,open,high,low\n2024-01-02,1,2,1\n", "no column for timestamp, close"),
    "unknown header": ("alpha,beta\n1,2\n", "no column for timestamp, open, high, low, close"),
    "headerless, odd width": ("1,2,3\n", "no header, and no known format without one"),
    "word for a price": ("timestamp,open,high,low,close\n2024-01-02,1,2,1,one\n", "column close for close is not all"),
    "American date": ("date,open,high,low,close\n01/02/2024,1,2,1,1\n", "times such as '01/02/2024' cannot be read"),
    "half with a zone": (
        "date,open,high,low,close\n2024-01-02 10:00Z,1,2,1,1\n2024.01.02 11:00,1,2,1,1\n",
        "cannot be read",
    ),
}


def sniffed(folder: Path, text: str, name: str = "EURUSD.csv") -> Sniffed:
    """Writes, reads and maps a file."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return sniff(read(LOCAL, str(path)), name)


@pytest.mark.parametrize("case", BAD)
def test_sniff_refuses(tmp_path: Path, case: str):
    """The error names the file, the columns seen and the columns wanted, or the time that cannot be read."""
    text, message = BAD[case]
    with pytest.raises(BarsError) as caught:
        sniffed(tmp_path, text)
    assert message in caught.value.message
    assert caught.value.message.startswith("EURUSD.csv: ")
    assert caught.value.hint


def test_read_empty_file(tmp_path: Path):
    """An empty file is said to be empty."""
    with pytest.raises(BarsError, match="the file is empty"):
        sniffed(tmp_path, "")


def test_read_repeated_header(tmp_path: Path):
    """Two columns of one name cannot be told apart."""
    with pytest.raises(InvalidInputError, match="names a column twice"):
        sniffed(tmp_path, "timestamp,open,open,low,close\n2024-01-02,1,2,1,1\n")


@pytest.mark.parametrize("name", ["x.csv.gz", "x.parquet"])
def test_read_broken_file(tmp_path: Path, name: str):
    """A cut gzip stream or bytes that are no Parquet are refused by name."""
    content = gzip.compress(b"timestamp,open\n" * 999)[:50] if name.endswith("gz") else b"PAR1 no"
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BarsError, match=name):
        read(LOCAL, str(tmp_path / name))


@pytest.mark.parametrize("case", GOOD)
def test_sniff_maps(tmp_path: Path, case: str):
    """Each known format gives the same bar."""
    result = sniffed(tmp_path, GOOD[case])
    assert result.table.schema == BAR_SCHEMA
    row = list(result.table.to_pylist()[0].values())
    assert FIRST[0] == row[0].isoformat().replace("+00:00", "Z")
    assert FIRST[1:] == pytest.approx(row[1:])


def test_sniff_lean_quotes(tmp_path: Path):
    """Quote bars become mid prices; the high and low still contain open and close."""
    result = sniffed(tmp_path, "20240102 13:00,1.0,1.2,0.8,1.1,5,1.2,1.4,1.0,1.3,6\n")
    assert pytest.approx(list(result.table.to_pylist()[0].values())[1:]) == [1.1, 1.3, 0.9, 1.2, 0.0]
    assert any("mean of bid and ask" in note for note in result.assumptions)


@pytest.mark.parametrize(
    ("case", "note"),
    [
        ("MetaTrader 4", "Times carry no zone: taken as UTC."),
        ("HistData", "HistData format: times without a zone are Eastern Standard Time, UTC-5 all year."),
        ("epoch seconds", "Times are numbers: read as s since 1970 in UTC."),
        ("yfinance", "Columns not used: Adj Close."),
        ("Lean equity", "Lean trade bars: whole-number prices are ten-thousandths."),
    ],
)
def test_sniff_says_what_it_assumed(tmp_path: Path, case: str, note: str):
    """A file that leaves something open gets a sentence about it."""
    assert note in sniffed(tmp_path, GOOD[case]).assumptions


def test_sniff_assumes_nothing_of_our_own_format(tmp_path: Path):
    """A file that says everything leaves nothing to assume."""
    assert sniffed(tmp_path, GOOD["own"]).assumptions == []


def test_sniff_no_volume(tmp_path: Path):
    """An absent volume is 0, and said."""
    result = sniffed(tmp_path, "date,open,high,low,close\n2024-01-02,1,2,1,1.5\n")
    assert result.table.column("volume").to_pylist() == [0.0]
    assert "No volume column: volume is 0." in result.assumptions


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_column_names_without_reading_all(tmp_path: Path, suffix: str):
    """The header of a large file, plain or compressed, from its first bytes."""
    text = GOOD["own"] + "2024-01-02T14:00:00Z,1.123,1.2345,1.05,1.11,7\n" * 5000
    path = tmp_path / f"x{suffix}"
    path.write_bytes(gzip.compress(text.encode()) if suffix.endswith("gz") else text.encode())
    assert BAR_SCHEMA.names == column_names(LOCAL, str(path))


def test_sniff_parquet(tmp_path: Path):
    """Parquet with other names, nanoseconds and float32."""
    table = pa.table(
        {
            "Date": pa.array([1_704_200_400_000_000_000], pa.timestamp("ns", tz="UTC")),
            **{name: pa.array([value], pa.float32()) for name, value in zip("OHLC", [1.5, 2, 1, 1.25], strict=True)},
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    result = sniff(read(LOCAL, str(tmp_path / "x.parquet")), "x.parquet").table
    assert list(result.to_pylist()[0].values())[1:] == [1.5, 2.0, 1.0, 1.25, 0.0]


@pytest.mark.parametrize(
    "values",
    [
        pa.array(["2024-01-02"]),
        pa.array(["2024.01.02"]),
        pa.array(["02.01.2024"]),
        pa.array(["20240102"]),
        pa.array([20_240_102]),
        pa.array([19_724], pa.date32()),
        pa.array([1_704_153_600.0]),
        pa.array([1_704_153_600_000_000]),
        pa.array([1_704_153_600_000_000_000]),
        pa.array(["2024-01-02 00:00:00 UTC"]),
        pa.array(["2024-01-01T19:00:00-0500"]),
    ],
)
def test_parse_times(values: pa.Array):
    """One instant, written eleven ways."""
    parsed = parse_times(pa.chunked_array([values]), "x.csv", [])
    assert parsed.cast(pa.int64()).to_pylist() == [1_704_153_600_000_000]
