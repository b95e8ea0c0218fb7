"""Publishing a round of one-minute bars, against a straight polars script that computes and writes the same columns.

Both read the same Parquet bars in a process of their own and are timed inside it, imports left out. Both compress with
zstd at level 3, polars' own default. Ours besides checks the bars, audits the features, hashes files and column chunks,
stores them content-addressed and synced to the disk (fsync is in our time, polars leaves its pages to the kernel),
signs, and commits the round.
``MP_BENCH_BARS=500000`` runs a fifth of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.results import Result
from mp_kit.server import settings
from mp_kit.server.store import embedded, migrate
from mp_kit.server.store.engine import Database

SYMBOLS = 8
BARS = int(os.environ.get("MP_BENCH_BARS", "2500000"))
ROUNDS = 3 if BARS <= 500_000 else 2
GIB = 2**30
OURS = """
import sys, time
import fsspec.implementations.local, pyarrow.parquet, talib
from mp_kit.server.services import publication
from mp_kit.server.wiring import open_house
order = publication.RoundOrder(source=sys.argv[1], name=sys.argv[2])
with open_house() as house:
    began = time.perf_counter()
    done = publication.run(house.db.begin, house.store, house.signer, order, actor="bench")
    print(time.perf_counter() - began)
assert done.created
"""
THEIRS = """
import sys, time
from pathlib import Path
from bench import straight
began = time.perf_counter()
straight.main(Path(sys.argv[1]), Path(sys.argv[2]))
print(time.perf_counter() - began)
"""


def run() -> list[Result]:
    """Rows per second of both, peak memory of ours, and the size of the files."""
    with tempfile.TemporaryDirectory(prefix="mp-bench-") as temp:
        folder = Path(temp)
        write_bars(folder / "bars")
        ours, theirs, peak, straight = _race(folder)
        mine, default = _sizes(folder)
    rows = SYMBOLS * BARS
    size = f"{SYMBOLS} x {BARS:,} bars"
    raw = 2 * BARS * 32 * 8 / GIB
    return [
        Result(
            "publish.rows",
            rows / ours,
            "rows/s",
            f"polars, {rows / theirs:,.0f} rows/s; {size}; ours with fsync",
            theirs / ours,
            ">= 1.0",
        ),
        Result("publish.peak_gib", peak, "GiB", f"two symbols as float64, {raw:.2f} GiB", peak / raw, ""),
        Result(
            "publish.size",
            mine / 1e6,
            "MB",
            f"pyarrow's defaults, {default / 1e6:,.0f} MB (polars wrote {straight / 1e6:,.0f})",
            mine / default,
            "<= 0.75",
        ),
    ]


def write_bars(folder: Path, symbols: int = SYMBOLS, bars: int = BARS) -> None:
    """Seeded random walks in ticks of a tenth of a pip, a bar each minute of the currency week."""
    folder.mkdir(parents=True)
    minute = np.arange(int(bars * 1.45) + 20_000) + 27_000_000 // 10_080 * 10_080
    in_week = minute % 10_080  # 1970-01-01 was a Thursday
    times = minute[(in_week < 1440 + 21 * 60) | (in_week >= 3 * 1440 + 22 * 60)][:bars] * 60_000_000
    for number in range(symbols):
        random = np.random.default_rng(number)
        steps = random.standard_t(4, bars) * 8e-5
        close = np.round(1.1 * np.exp(np.cumsum(steps) - np.linspace(0, steps.sum(), bars)), 5)
        opened = np.r_[1.1, close[:-1]]
        high, low = (np.abs(random.normal(0, 5e-5, bars)) for _ in range(2))
        columns = {
            "timestamp": pa.array(times).cast(pa.timestamp("us", tz="UTC")),
            "open": opened,
            "high": np.round(np.maximum(opened, close) + high, 5),
            "low": np.round(np.minimum(opened, close) - low, 5),
            "close": close,
            "volume": random.integers(1, 400, bars).astype(np.float64),
        }
        pq.write_table(pa.table(columns), folder / f"SYM{number}.parquet")


def _race(folder: Path) -> tuple[float, float, float, int]:
    """Best seconds of ours and of polars, taking turns; the peak of ours in GiB, and the bytes that polars wrote."""
    home, postgres = folder / "home", folder / "postgres"
    home.mkdir()
    settings.ensure_secrets(home)
    server = embedded.start(postgres, die_with_parent=True)
    try:
        embedded.ensure_database(server, "mp")
        db = Database(server.url("mp"))
        with db.begin() as tx:
            migrate.upgrade(tx)
        db.close()
        env = os.environ | {"MP_HOME": str(home), "MP_DATABASE_URL": server.url("mp"), "TMPDIR": str(folder)}
        ours, theirs, peak = float("inf"), float("inf"), 0.0
        for turn in range(ROUNDS):
            took, most = _process([OURS, str(folder / "bars"), f"turn {turn}"], env)
            ours, peak = min(ours, took), max(peak, most)
            theirs = min(theirs, _process([THEIRS, str(folder / "bars"), str(folder / "polars")], env)[0])
            straight = sum(path.stat().st_size for path in (folder / "polars").iterdir())
            _forget(home / "objects" if turn < ROUNDS - 1 else folder / "polars")
    finally:
        embedded.stop(postgres)
    return ours, theirs, peak, straight


def _process(arguments: list[str], env: dict[str, str]) -> tuple[float, float]:
    """The seconds that a script printed, and its peak memory in GiB."""
    process = subprocess.Popen([sys.executable, "-c", *arguments], env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, arguments
    return float(printed), usage.ru_maxrss * 1024 / GIB


def _forget(folder: Path) -> None:
    """Each turn stores all its files anew."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.unlink()


def _sizes(folder: Path) -> tuple[int, int]:
    """Bytes of the round's files, and of the same tables as pyarrow writes them by default."""
    mine = default = 0
    for path in (folder / "home/objects").rglob("*"):
        if path.is_file():
            pq.write_table(pq.read_table(path), folder / "default.parquet")
            mine += path.stat().st_size
            default += (folder / "default.parquet").stat().st_size
    return mine, default
