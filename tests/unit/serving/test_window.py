"""Real bars to ask with: a round's, a file's, or those that were kept."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mp_kit import Marketplace
from mp_kit.errors import BarsError, InvalidInputError, SetupError
from mp_kit.serving.window import MOST_ROWS, kept_window, window_of_file, window_of_round
from mp_kit.testing import FakeMarketplace, sample_bars

TABLES = {("features", name): sample_bars(650, symbol=number) for number, name in enumerate(("EURJPY", "EURUSD"))}


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def market() -> Marketplace:
    fake = FakeMarketplace(TABLES)
    return Marketplace(fake.url, fake.api_key, transport=fake.transport)


def test_round_gives_its_live_window(market: Marketplace):
    """Proved by the manifest, all symbols, all bars."""
    found = window_of_round(market)
    assert (market.rounds.manifest().round_id, "1h") == (found.label, found.timeframe)
    assert {name: TABLES["features", name] for name in ("EURJPY", "EURUSD")} == dict(found.tables)


def test_window_is_kept(market: Marketplace):
    """For when the marketplace cannot be reached; the one before goes."""
    window_of_round(market, symbols=["EURUSD"])
    found = window_of_round(market)
    assert found == kept_window()


def test_nothing_kept_is_told():
    """With what to do."""
    with pytest.raises(SetupError) as caught:
        kept_window()
    assert "--bars" in caught.value.hint


def test_spoiled_cache_is_nothing_kept(market: Marketplace, tmp_path: Path):
    """Not an exception of a decoder."""
    window_of_round(market)
    for path in (tmp_path / "cache").rglob("*.parquet"):
        if "live-window" in path.parts:
            path.write_bytes(b"spoiled")
    with pytest.raises(SetupError):
        kept_window()


def test_symbols_that_are_not_there_are_told(market: Marketplace):
    """By name."""
    with pytest.raises(InvalidInputError, match="XAUUSD"):
        window_of_round(market, symbols=["XAUUSD"])


def test_file_of_bars(tmp_path: Path):
    """The newest of many."""
    bars = sample_bars(MOST_ROWS + 10)
    pq.write_table(bars, tmp_path / "EURUSD.parquet")
    found = window_of_file(tmp_path / "EURUSD.parquet")
    assert ("EURUSD.parquet", "1h", MOST_ROWS) == (found.label, found.timeframe, found.tables["EURUSD"].num_rows)
    assert bars["close"][-1].as_py() == found.rows("EURUSD", 3)[-1][4]


def test_file_of_something_else_is_refused(tmp_path: Path):
    """As an error of the bars."""
    (tmp_path / "EURUSD.csv").write_text("a,b\n1,2\n")
    with pytest.raises(BarsError):
        window_of_file(tmp_path / "EURUSD.csv")


@pytest.mark.parametrize(("count", "shift", "rows"), [(3, 0, 3), (3, 649, 1), (9_999, 0, 650), (3, 10_000, 1)])
def test_rows_never_reach_beyond_the_ends(count: int, shift: int, rows: int, market: Marketplace):
    """However many are asked for."""
    assert rows == len(window_of_round(market).rows("EURUSD", count, shift))
