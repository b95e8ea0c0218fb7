"""Building a round's files: check, plan, build, on made-up and on real bars."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from mp_kit.errors import BarsError
from mp_kit.market.bars import BAR_SCHEMA, Bars, column, resample, times_of
from mp_kit.market.build import RoundSpec, SymbolFiles, build_symbol, file_name, plan_round, prepare, rows_needed
from mp_kit.market.indicators import FEATURE_NAMES, WARM_UP, compute
from mp_kit.market.labels import LABEL_COLUMNS, UNKNOWN
from mp_kit.market.parquet import METADATA_KEY, as_stored
from mp_kit.market.sources import Loaded, Source, open_source


class OneSource:
    """A source of the bars it was given."""

    name = "given"

    def __init__(self, *bars: Bars) -> None:
        self._bars = {one.symbol: one for one in bars}

    def symbols(self) -> list[str]:
        """The symbols given."""
        return sorted(self._bars)

    def load(self, symbol: str) -> Loaded:
        """The bars given."""
        return Loaded(self._bars[symbol], ["made up"])

    def describe(self) -> dict[str, Any]:
        """Enough for a manifest."""
        return {"kind": "given", "where": "tests", "licence": "none", "symbols": self.symbols()}


def build(source: Source, spec: RoundSpec, folder: Path) -> dict[str, SymbolFiles]:
    """What a flow does, one symbol after the other."""
    checked = {symbol: prepare(source, symbol, spec) for symbol in source.symbols()}
    cuts = plan_round({symbol: one.bars.times() for symbol, one in checked.items()}, spec)
    return {symbol: build_symbol(one.bars, cuts, spec, folder) for symbol, one in checked.items()}


def test_prepare_too_short(make_bars: Callable[..., Bars]):
    """A short symbol is named with its rows and the rows needed."""
    spec = RoundSpec()
    short = make_bars(rows_needed(spec) - 1)
    with pytest.raises(BarsError, match=rf"EURUSD: {short.rows} bars are too few; .* need {rows_needed(spec)}"):
        prepare(OneSource(short), "EURUSD", spec)


def test_rows_needed_are_enough(make_bars: Callable[..., Bars], tmp_path: Path):
    """Exactly the rows needed give every role at least one row."""
    spec = RoundSpec(horizon=3, embargo=7)
    files = build(OneSource(make_bars(rows_needed(spec))), spec, tmp_path)["EURUSD"]
    assert min(written.rows for written in files.files.values()) >= 1


def test_prepare_rejects_faulty_bars(make_bars: Callable[..., Bars]):
    """The policy of the spec is used."""
    table = make_bars(900).table
    faulty = table.set_column(1, "open", pa.array([np.nan, *column(table, "open")[1:]]))
    with pytest.raises(BarsError, match="non_finite"):
        prepare(OneSource(Bars("EURUSD", "1h", faulty)), "EURUSD", RoundSpec())
    lenient = RoundSpec(policy={"non_finite": "drop"})
    assert prepare(OneSource(Bars("EURUSD", "1h", faulty)), "EURUSD", lenient).bars.rows == 899


def test_plan_round_without_symbols():
    """A round of nothing is refused."""
    with pytest.raises(BarsError, match="at least one symbol"):
        plan_round({}, RoundSpec())


def test_plan_round_short_symbol(make_bars: Callable[..., Bars]):
    """One short symbol is named; the others do not hide it."""
    times = {"EURUSD": make_bars(900).times(), "GBPUSD": make_bars(10).times()}
    with pytest.raises(BarsError, match="GBPUSD: 10 bars"):
        plan_round(times, RoundSpec())


def test_plan_round_shared_file_name(make_bars: Callable[..., Bars]):
    """Two symbols must not write over each other's files."""
    times = dict.fromkeys(("EUR/USD", "EUR-USD"), make_bars(900).times())
    with pytest.raises(BarsError, match="share a file name"):
        plan_round(times, RoundSpec())


def test_build_symbol_outside_the_cuts(make_bars: Callable[..., Bars], tmp_path: Path):
    """A symbol that lived at another time than the round has no rows for a role, and writes nothing."""
    spec = RoundSpec()
    early, late = make_bars(900), make_bars(900, symbol="GBPUSD", start=2_000_000_800_000_000)
    cuts = plan_round({"EURUSD": early.times()}, spec)
    with pytest.raises(BarsError, match="GBPUSD: no row for train, validation"):
        build_symbol(late, cuts, spec, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "fields", [{"timeframe": "1w"}, {"horizon": 0}, {"barrier_width": 0}, {"surprise": 1}, {"policy": {"gap": "drop"}}]
)
def test_round_spec_refuses(fields: dict[str, Any]):
    """Values outside the bounds, and fields that do not exist."""
    with pytest.raises(ValidationError):
        RoundSpec(**fields)


def test_round_spec_describes_its_fields():
    """Every field has a sentence for the form that asks for it."""
    properties = RoundSpec.model_json_schema()["properties"]
    assert [name for name, field in properties.items() if "description" not in field] == []


def test_build_files(make_bars: Callable[..., Bars], tmp_path: Path):
    """Names, roles and columns; unknown labels are nowhere."""
    files = build(OneSource(make_bars(1500)), RoundSpec(), tmp_path)["EURUSD"]
    bars_and_features = [*BAR_SCHEMA.names, *FEATURE_NAMES]
    assert list(files.files) == ["train", "validation", "test", "features"]
    for role, written in files.files.items():
        assert file_name(role, "EURUSD") == written.path.name
        labels = list(LABEL_COLUMNS) if role in {"train", "validation"} else []
        assert bars_and_features + labels == list(written.columns)
    assert files.held_back.path.name == "labels-EURUSD.parquet"
    for written in (files.files["train"], files.files["validation"], files.held_back):
        table = pq.read_table(written.path)
        assert np.isfinite(column(table, "label_return")).all()
        assert UNKNOWN not in table.column("label_direction").to_pylist()
        assert table.num_rows == sum(files.directions[_role(written.path)].values())
    assert b'"role": "train"' in pq.read_schema(files.files["train"].path).metadata[METADATA_KEY]


def _role(path: Path) -> str:
    return path.name.partition("-")[0]


def test_build_twice_same_bytes(make_bars: Callable[..., Bars], tmp_path: Path):
    """The same bars and spec give the same files in another folder."""
    source = OneSource(make_bars(1000), make_bars(1010, seed=2, symbol="GBPUSD"))
    one, two = (build(source, RoundSpec(), tmp_path / name) for name in ("one", "two"))
    for symbol in source.symbols():
        hashes = [[written.sha256 for written in built[symbol].files.values()] for built in (one, two)]
        assert hashes[0] == hashes[1]


def test_live_features_from_the_published_window(make_bars: Callable[..., Bars], tmp_path: Path):
    """A vendor who computes from the published window's bars gets the published features, as they are stored."""
    files = build(OneSource(make_bars(1500)), RoundSpec(), tmp_path)["EURUSD"]
    window = pq.read_table(files.files["features"].path)
    assert WARM_UP + RoundSpec().horizon == window.num_rows
    live = as_stored(compute(window.select(BAR_SCHEMA.names), "1h")).slice(window.num_rows - 1)
    for name in FEATURE_NAMES:
        assert column(window, name)[-1] == pytest.approx(column(live, name)[0], rel=2e-7, abs=1e-9), name


def test_prepare_resamples_after_the_check(make_bars: Callable[..., Bars]):
    """The report counts the source's bars, the round has its own timeframe, and reading's assumptions are kept."""
    bars = make_bars(4000)
    checked = prepare(OneSource(bars), "EURUSD", RoundSpec(timeframe="4h"))
    assert resample(bars, "4h") == checked.bars
    assert (
        checked.report.input_rows,
        checked.report.timeframe,
        checked.report.assumptions,
    ) == (4000, "1h", ("made up",))


def test_real_hourly_round(shared_fx: Path, tmp_path: Path):
    """The demo's round: 148,890 input bars; validation begins after train's last label plus the embargo."""
    source, spec = open_source(str(shared_fx / "1h")), RoundSpec()
    reports = [prepare(source, symbol, spec).report for symbol in source.symbols()]
    assert sum(report.input_rows for report in reports) == 148_890
    union = np.unique(np.concatenate([source.load(symbol).bars.times() for symbol in source.symbols()]))
    built = build(source, spec, tmp_path)
    begins = min(times_of(pq.read_table(one.files["validation"].path))[0] for one in built.values())
    limit = union[np.searchsorted(union, begins) - spec.embargo]
    for symbol, files in built.items():
        own = source.load(symbol).bars.times()
        last = times_of(pq.read_table(files.files["train"].path))[-1]
        assert own[np.searchsorted(own, last) + spec.horizon] < limit


def test_ecb_round(tmp_path: Path):
    """The offline default builds with the default spec, all eight pairs."""
    built = build(open_source("ecb"), RoundSpec(), tmp_path)
    assert len(built) == 8
    assert len(list(tmp_path.iterdir())) == 8 * 5
    assert all(count > 100 for one in built.values() for count in one.directions["train"].values())
