"""The leakage audit: a cheat is caught, an honest set passes, and nothing hides behind too few rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mp_kit.errors import InvalidInputError
from mp_kit.market.bars import Bars, column
from mp_kit.market.indicators import FEATURE_NAMES, WARM_UP, compute
from mp_kit.market.labels import forward_return
from mp_kit.market.leakage import audit
from mp_kit.market.sources import open_source


def honest(bars: Bars) -> tuple[pa.Table, np.ndarray]:
    """The round's features and labels behind the warm-up."""
    table = compute(bars.table, bars.timeframe)
    labels = forward_return(column(bars.table, "close"), 5)
    return table.select(FEATURE_NAMES).slice(WARM_UP), labels[WARM_UP:]


def test_audit_too_few_rows(make_bars: Callable[..., Bars]):
    """A verdict on a handful of rows would be worth nothing."""
    features, labels = honest(make_bars(800))
    with pytest.raises(InvalidInputError, match="needs 200 complete rows; here are 155"):
        audit(features, labels)


def test_audit_other_length(make_bars: Callable[..., Bars]):
    """Labels of other rows are refused."""
    features, labels = honest(make_bars(1000))
    with pytest.raises(InvalidInputError, match="360 rows of features"):
        audit(features, labels[1:])


@pytest.mark.parametrize("peek", [1, 3, 5])
def test_audit_catches_a_cheat(make_bars: Callable[..., Bars], peek: int):
    """A column that knows one, three or all of the five coming bars is named, and only that column."""
    bars = make_bars(4000)
    features, labels = honest(bars)
    close = column(bars.table, "close")
    cheat = np.r_[close[peek:] / close[:-peek] - 1, np.zeros(peek)][WARM_UP:]
    report = audit(features.append_column("cheat", pa.array(cheat)), labels)
    assert report.culprits() == ["cheat"]
    assert (report.model_leaks, report.leaks) == (True, True)


def test_audit_catches_a_conspiracy(make_bars: Callable[..., Bars]):
    """Two columns whose difference is the label are innocent one by one; the model finds them."""
    features, labels = honest(make_bars(4000))
    noise = np.random.default_rng(5).normal(0, 50 * np.nanstd(labels), labels.size)
    split = features.append_column("one", pa.array(noise)).append_column("two", pa.array(noise + labels))
    report = audit(split.select(["ret_1", "one", "two"]), labels)
    assert report.culprits() == []
    assert report.model_leaks


def test_audit_passes_the_honest(make_bars: Callable[..., Bars]):
    """The round's own features on a random walk; the deliberate leak shows that it would have been seen."""
    report = audit(*honest(make_bars(4000)))
    assert (report.leaks, report.culprits()) == (False, [])
    seen = {canary.name: canary.seen for canary in report.features}
    assert seen["ret_5"] > 0.9


def test_audit_repeats_itself(make_bars: Callable[..., Bars]):
    """The same input gives the same report."""
    features, labels = honest(make_bars(1500))
    assert audit(features, labels) == audit(features, labels)


def test_audit_passes_real_bars(shared_fx: Path):
    """The round's features on real hourly bars."""
    source = open_source(str(shared_fx / "1h"))
    for symbol in source.symbols():
        assert not audit(*honest(source.load(symbol).bars)).leaks
