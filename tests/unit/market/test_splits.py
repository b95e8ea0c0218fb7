"""Splits: no label reaches over a cut, at the very rows where it could."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mp_kit.errors import BarsError, InvalidInputError
from mp_kit.market.bars import Bars, times_of
from mp_kit.market.splits import (
    HELD_BACK,
    PurgedWalkForward,
    SplitSpec,
    assign,
    label_ends,
    plan,
    usable_needed,
)

HOUR = 3_600_000_000
LABELS = ["label_return", "label_direction"]


def labelled(times: np.ndarray) -> pa.Table:
    """A table with a feature and labels, as ``assign`` takes it."""
    stamps = pa.array(times, pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    values = pa.array(np.arange(times.size, dtype=np.float64))
    return pa.table(
        {
            "timestamp": stamps,
            "x": values,
            "label_return": values,
            "label_direction": values.cast(pa.int8(), safe=False),
        }
    )


@st.composite
def _symbols(draw: st.DrawFn) -> tuple[dict[str, np.ndarray], SplitSpec]:
    """Symbols with holes, late starts and early ends, and any spec that they can carry."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spec = SplitSpec(
        horizon=draw(st.integers(1, 12)),
        embargo=draw(st.integers(0, 12)),
        validation_fraction=draw(st.sampled_from([0.1, 0.2, 0.4])),
        test_fraction=draw(st.sampled_from([0.1, 0.3])),
    )
    rows = usable_needed(spec) + draw(st.integers(0, 200))
    grid = HOUR * np.arange(rows)
    symbols = {"A": grid}
    for name in "BC"[: draw(st.integers(0, 2))]:
        start = draw(st.integers(0, rows // 2))
        kept = random.random(rows - start) < draw(st.sampled_from([0.2, 0.9]))
        symbols[name] = grid[start:][kept]
    return symbols, spec


@settings(max_examples=150, deadline=None)
@given(_symbols())
def test_no_label_reaches_over_a_cut(case: tuple[dict[str, np.ndarray], SplitSpec]):
    """In each symbol train's last label ends ``embargo`` bars before validation; so does validation's before test."""
    symbols, spec = case
    cuts = plan(symbols, spec)
    union = np.unique(np.concatenate(list(symbols.values())))
    for times in symbols.values():
        parts = assign(labelled(times), cuts, horizon=spec.horizon, warm_up=0)
        ends = dict(zip(times.tolist(), label_ends(times, spec.horizon).tolist(), strict=True))
        for role, begins in (("train", cuts.validation_begins), ("validation", cuts.test_begins)):
            limit = union[np.searchsorted(union, begins) - spec.embargo]
            assert all(ends[row] < limit for row in times_of(parts[role]).tolist())
        assert all(row >= cuts.validation_begins for row in times_of(parts["validation"]).tolist())
        assert all(row >= cuts.test_begins for row in times_of(parts["test"]).tolist())


@settings(max_examples=50, deadline=None)
@given(_symbols())
def test_cuts_purge_no_more_than_they_must(case: tuple[dict[str, np.ndarray], SplitSpec]):
    """On an unbroken grid exactly horizon + embargo rows lie between two roles."""
    symbols, spec = case
    times = symbols["A"]
    parts = assign(labelled(times), plan({"A": times}, spec), horizon=spec.horizon, warm_up=0)
    train, validation, test = (times_of(parts[role]) // HOUR for role in ("train", "validation", "test"))
    between = spec.horizon + spec.embargo
    assert between == validation[0] - train[-1] - 1
    assert between == test[0] - validation[-1] - 1
    assert (0, times.size - spec.horizon - 1) == (train[0], test[-1])


def test_boundary_row_by_row():
    """Twenty rows, horizon 2, embargo 1, cut by hand."""
    spec = SplitSpec(horizon=2, embargo=1, validation_fraction=0.25, test_fraction=0.25)
    times = HOUR * np.arange(20)
    cuts = plan({"A": times}, spec)
    assert tuple(cut // HOUR for cut in vars(cuts).values()) == (9, 10, 14, 15)
    parts = assign(labelled(times), cuts, horizon=2, warm_up=3)
    rows = {role: (times_of(part) // HOUR).tolist() for role, part in parts.items()}
    expected = {
        "train": [3, 4, 5, 6],
        "validation": [10, 11],
        "test": [15, 16, 17],
        "features": [15, 16, 17, 18, 19],
        HELD_BACK: [15, 16, 17],
    }
    assert expected == rows


def test_label_window_behind_a_weekend():
    """A symbol's own bars decide how far its labels reach: Friday's reach into Monday."""
    spec = SplitSpec(horizon=2, embargo=0, validation_fraction=0.25, test_fraction=0.25)
    every = HOUR * np.arange(40)
    holed = np.delete(every, np.arange(12, 19))
    cuts = plan({"A": every, "B": holed}, spec)
    assert cuts.validation_begins // HOUR == 20
    parts = assign(labelled(holed), cuts, horizon=2, warm_up=0)
    assert times_of(parts["train"])[-1] // HOUR == 10


def test_test_rows_carry_no_labels():
    """Neither test nor the live window has a label column; the held-back labels match test row for row."""
    times = HOUR * np.arange(200)
    spec = SplitSpec()
    parts = assign(labelled(times), plan({"A": times}, spec), horizon=spec.horizon, warm_up=10)
    assert parts["test"].column_names == ["timestamp", "x"]
    assert parts["features"].column_names == ["timestamp", "x"]
    assert ["timestamp", *LABELS] == parts[HELD_BACK].column_names
    assert parts["test"].column("timestamp") == parts[HELD_BACK].column("timestamp")
    assert 10 + spec.horizon == parts["features"].num_rows


def test_plan_too_few():
    """Bars that cannot give every role a row are refused with the number that could."""
    spec = SplitSpec()
    times = HOUR * np.arange(usable_needed(spec) - 1)
    with pytest.raises(BarsError, match=f"{usable_needed(spec)} are needed"):
        plan({"A": times}, spec)


def test_plan_ignores_the_order_of_symbols():
    """The same set of instants gives the same cuts."""
    one, other = HOUR * np.arange(300), HOUR * np.arange(100, 500)
    assert plan({"A": one, "B": other}, SplitSpec()) == plan({"B": other, "A": one}, SplitSpec())


@pytest.mark.parametrize(
    "fields",
    [
        {"horizon": 0},
        {"embargo": -1},
        {"test_fraction": 0},
        {"validation_fraction": 0.6, "test_fraction": 0.4},
        {"x": 1},
    ],
)
def test_spec_bounds(fields: dict[str, float]):
    """A spec that leaves a role nothing is refused."""
    with pytest.raises(ValidationError):
        SplitSpec(**fields)


@pytest.mark.parametrize("splitter", [PurgedWalkForward(0), PurgedWalkForward(50), PurgedWalkForward(3, embargo=-1)])
def test_walk_forward_refuses(splitter: PurgedWalkForward):
    """More folds than bars, none at all, or a negative embargo."""
    with pytest.raises(InvalidInputError, match="cannot be divided"):
        next(splitter.split(np.arange(20)))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(0, 8), st.integers(0, 8), st.integers(0, 2**32 - 1))
def test_walk_forward_is_purged(n_splits: int, horizon: int, embargo: int, seed: int):
    """In every fold and symbol the last label of train ends before the test begins, embargo included."""
    random = np.random.default_rng(seed)
    symbols = [np.flatnonzero(random.random(240) < share) for share in (1.0, 0.5)]
    times = np.concatenate(symbols)
    groups = np.repeat(["A", "B"], [one.size for one in symbols])
    shuffle = random.permutation(times.size)
    times, groups = times[shuffle], groups[shuffle]
    folds = list(PurgedWalkForward(n_splits, horizon, embargo).split(times, groups))
    assert n_splits == len(folds)
    for train, test in folds:
        limit = times[test].min() - embargo
        for row in train:
            own = np.sort(times[groups == groups[row]])
            assert own[np.searchsorted(own, times[row]) + horizon] < limit


def test_walk_forward_tests_each_later_bar_once():
    """The folds' test rows are the last blocks, in order, without overlap."""
    tests = [test for _, test in PurgedWalkForward(4, 1, 1).split(np.arange(100))]
    assert list(range(20, 100)) == np.concatenate(tests).tolist()


def test_walk_forward_takes_datetimes(make_bars: Callable[..., Bars]):
    """A pandas or numpy time column works as it is."""
    times = make_bars(100).table.column("timestamp").to_numpy()
    assert len(list(PurgedWalkForward().split(times))) == 5
