"""The steps of publish-round over a real database and store, without Prefect."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mp_kit.errors import BarsError
from mp_kit.market import build, indicators
from mp_kit.server.house import House
from mp_kit.server.services import accounts, publication, rounds
from mp_kit.server.services.publication import Publication, RoundOrder

HOURS = 2_000


def write_bars(folder: Path, symbol: str, *, seed: int = 1, broken_at: int | None = None, step: int = 1) -> None:
    """A random walk as CSV, a bar each ``step`` hours."""
    rng = np.random.default_rng(seed)
    close = 1.1 * np.exp(np.cumsum(rng.normal(0, 1e-3, HOURS)))
    opened = np.r_[1.1, close[:-1]]
    rows = ["timestamp,open,high,low,close,volume"]
    for i in range(HOURS):
        high, low = max(opened[i], close[i]) * 1.0005, min(opened[i], close[i]) * 0.9995
        high = low / 2 if i == broken_at else high
        when = np.datetime64("2024-01-01T00:00:00") + np.timedelta64(i * step, "h")
        rows.append(f"{when}Z,{opened[i]:.6f},{high:.6f},{low:.6f},{close[i]:.6f},{100 + i % 7}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{symbol}.csv").write_text("\n".join(rows))


@pytest.fixture
def bars(tmp_path: Path) -> Path:
    """A folder of two symbols."""
    write_bars(tmp_path / "bars", "EURUSD", seed=1)
    write_bars(tmp_path / "bars", "GBPUSD", seed=2)
    return tmp_path / "bars"


def publish(house: House, order: RoundOrder) -> Publication:
    return publication.run(house.db.begin, house.store, house.signer, order, actor="test")


def count(house: House) -> int:
    with house.db.begin() as tx:
        return len(rounds.newest(tx, 1000))


def test_publish_faulty_symbol_names_it_and_publishes_nothing(
    house: House, bars: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """One bad symbol ends it all; neither a round nor a temporary file is left."""
    write_bars(bars, "NZDUSD", seed=3, broken_at=700)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    before = count(house)
    with pytest.raises(BarsError, match="NZDUSD"):
        publish(house, RoundOrder(source=str(bars)))
    assert before == count(house)
    assert [] == list(scratch.iterdir())


def test_publish_mixed_timeframes_refused(house: House, tmp_path: Path):
    """Symbols of different timeframes need a named one."""
    write_bars(tmp_path / "bars", "EURUSD")
    write_bars(tmp_path / "bars", "GBPUSD", step=4)
    with pytest.raises(BarsError, match="different timeframes"):
        publish(house, RoundOrder(source=str(tmp_path / "bars")))


def cheating(table: pa.Table, timeframe: str, *, narrow: bool = False) -> pa.Table:
    """The indicators, but one of them looks three bars ahead."""
    honest = indicators.compute(table, timeframe, narrow=narrow)
    close = table.column("close").to_numpy()
    ahead = np.r_[close[3:] / close[:-3] - 1, np.zeros(3)]
    return honest.set_column(honest.column_names.index("ret_5"), "ret_5", pa.array(ahead))


def test_publish_cheating_column_publishes_nothing(house: House, bars: Path, monkeypatch: pytest.MonkeyPatch):
    """A feature that knows its label is named with its symbol, and no round appears."""
    monkeypatch.setattr(build, "compute", cheating)
    before = count(house)
    with pytest.raises(BarsError, match=r"EURUSD: features know the label.*ret_5"):
        publish(house, RoundOrder(source=str(bars), name="cheat"))
    assert before == count(house)


def test_publish_cheating_column_flagged(house: House, bars: Path, monkeypatch: pytest.MonkeyPatch):
    """With the policy `flag` it is published, and the round says so for ever."""
    monkeypatch.setattr(build, "compute", cheating)
    done = publish(house, RoundOrder(source=str(bars), horizon=3, leakage="flag", make_current=False))
    with house.db.begin() as tx:
        audited = rounds.get(tx, done.round_id).metadata["leakage"]
    assert {"EURUSD": ["ret_5"], "GBPUSD": ["ret_5"]} == {name: one["culprits"] for name, one in audited.items()}


def test_publish_audit_is_kept(house: House, bars: Path):
    """An honest round carries its audit: every feature, measured, and none that leaks."""
    done = publish(house, RoundOrder(source=str(bars), horizon=4))
    with house.db.begin() as tx:
        audited = rounds.get(tx, done.round_id).metadata["leakage"]
    assert set(indicators.FEATURE_NAMES) == set(audited["EURUSD"]["features"])
    assert [False, False] == [one["leaks"] for one in audited.values()]


def test_publish_twice_changes_nothing(house: House, bars: Path):
    """The same input again is the same round, stores no file and says so."""
    first = publish(house, RoundOrder(source=str(bars)))
    again = publish(house, RoundOrder(source=str(bars)))
    assert (True, False) == (first.created, again.created)
    assert first.round_id == again.round_id
    assert (10, 0) == (first.stored, again.stored)
    assert "nothing changed" in accounts.publication(again).splitlines()[0]
    with house.db.begin() as tx:
        rounds.retire(tx, first.round_id, actor="test", force=True)
    back = publish(house, RoundOrder(source=str(bars)))
    said = f"Round {first.round_id} was there already, is no longer retired, is current now."
    assert said == accounts.publication(back).splitlines()[0]


def test_publish_counts_and_splits(house: House, bars: Path):
    """Bars are counted as read; validation begins after train's end plus the embargo, in bars of one hour."""
    done = publish(house, RoundOrder(source=str(bars), horizon=3, embargo=7, name="embargo"))
    assert 2 * HOURS == done.input_bars
    hours = np.datetime64(done.splits["validation_start"][:-1]) - np.datetime64(done.splits["train_end"][:-1])
    assert hours / np.timedelta64(1, "h") > 3 + 7
    with house.db.begin() as tx:
        found = rounds.get(tx, "current")
    assert done.round_id == found.round_id
    assert done.rows == found.metadata["rows"]
    assert {"EURUSD", "GBPUSD"} == set(found.metadata["quality"])


def test_publish_not_current(house: House, bars: Path):
    """A round may be published beside the current one."""
    current = publish(house, RoundOrder(source=str(bars)))
    other = publish(house, RoundOrder(source=str(bars), name="beside", make_current=False))
    with house.db.begin() as tx:
        assert current.round_id == rounds.get(tx, "current").round_id
    assert other.created
    assert not other.made_current


@pytest.mark.slow
def test_publish_real_hourly_bars(house: House):
    """The shared hourly bars are 148,890, and none is lost in counting."""
    folder = Path(__file__).parents[3] / "shared" / "data" / "fx" / "1h"
    if not folder.is_dir():
        pytest.skip("the shared bars are not beside this checkout")
    done = publish(house, RoundOrder(source=str(folder)))
    assert 148_890 == done.input_bars
    assert done.splits["train_end"] < done.splits["train_ends"] < done.splits["validation_start"]


def test_publish_one_file_of_many_symbols(house: House, bars: Path, tmp_path: Path):
    """A file of all symbols is divided once, and gives the same bytes as a file per symbol."""
    lines = [f"{path.stem},{line}" for path in sorted(bars.glob("*.csv")) for line in path.read_text().splitlines()[1:]]
    together = tmp_path / "together" / "all.csv"
    together.parent.mkdir()
    together.write_text("\n".join(["symbol,timestamp,open,high,low,close,volume", *lines]))
    apart = publish(house, RoundOrder(source=str(bars), name="apart", barrier_width=0.8))
    done = publish(house, RoundOrder(source=str(together), name="together", barrier_width=0.8))
    assert apart.round_id != done.round_id
    assert (True, 0) == (done.created, done.stored)
