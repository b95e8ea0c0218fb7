"""Numerai's scores: by hand where a hand can, and against numerai-tools."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mp_kit.errors import InvalidInputError
from mp_kit.scoring import numerai
from mp_kit.scoring.numbers import NORMAL

theirs = pytest.importorskip("numerai_tools.scoring", reason="numerai-tools is not installed")


def era(seed: int, n: int = 200, *, buckets: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Predictions with ties, a meta-model, features, targets."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(n, 5))
    meta = features[:, 0] + random.normal(size=n)
    predictions = np.round(meta + random.normal(size=n), 1)
    raw = predictions * 0.1 + random.normal(size=n)
    targets = np.digitize(raw, [-1.5, -0.5, 0.5, 1.5]) / 4 if buckets else raw * 0.01
    return predictions, meta, features, targets


def test_gaussian_ranks_golden():
    """Four values: Phi^-1 of 1/8, 3/8, 5/8, 7/8; a tie sits in the middle."""
    assert [NORMAL.inv_cdf(share / 8) for share in (1, 7, 5, 3)] == numerai.gaussian_ranks(
        np.array([1.0, 9, 5, 3])
    ).tolist()
    assert [0.0, 0.0] == numerai.gaussian_ranks(np.array([4.0, 4.0])).tolist()


def test_corr_golden():
    """Two pairs in the same order agree wholly, in the other not at all."""
    assert 1.0 == pytest.approx(numerai.corr(np.array([1.0, 2]), np.array([0.0, 1])))
    assert -1.0 == pytest.approx(numerai.corr(np.array([2.0, 1]), np.array([0.0, 1])))


@pytest.mark.parametrize("buckets", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_corr_equals_numerai_tools(seed: int, buckets: bool):
    """CORR, with targets in buckets and as returns."""
    predictions, _, _, targets = era(seed, buckets=buckets)
    wanted = theirs.numerai_corr(pd.DataFrame({"p": predictions}), pd.Series(targets, name="t"), target_pow15=buckets)
    assert wanted["p"] == pytest.approx(numerai.corr(predictions, targets, target_pow15=buckets), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_fnc_equals_numerai_tools(seed: int):
    """FNC over five features."""
    predictions, _, features, targets = era(seed)
    wanted = theirs.feature_neutral_corr(
        pd.DataFrame({"p": predictions}), pd.DataFrame(features), pd.Series(targets, name="t")
    )
    assert wanted["p"] == pytest.approx(numerai.fnc(predictions, features, targets), abs=1e-9)


@pytest.mark.parametrize("buckets", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_mmc_equals_numerai_tools(seed: int, buckets: bool):
    """MMC against a meta-model."""
    predictions, meta, _, targets = era(seed, buckets=buckets)
    wanted = theirs.correlation_contribution(
        pd.DataFrame({"p": predictions}), pd.Series(meta, name="m"), pd.Series(targets, name="t")
    )
    assert wanted["p"] == pytest.approx(numerai.mmc(predictions, meta, targets, buckets=buckets), abs=1e-12)


def test_returns_without_a_loss_are_no_buckets():
    """One loss that is nearly nothing does not make MMC four times smaller."""
    predictions, meta, _, targets = era(1, buckets=False)
    gains = np.abs(targets) / 100
    loss = np.where(np.arange(gains.size) == 0, -1e-12, gains)
    close = np.where(np.arange(gains.size) == 0, 0.0, gains)
    assert numerai.mmc(predictions, meta, close) == pytest.approx(numerai.mmc(predictions, meta, loss), abs=1e-12)


def test_mmc_of_the_meta_model_itself_is_nothing():
    """A copy contributes nothing."""
    _, meta, _, targets = era(0)
    assert 0.0 == pytest.approx(numerai.mmc(meta, meta, targets), abs=1e-12)


def test_undefined_is_none():
    """Constant predictions, meta-models and targets, features that tell all, and empty eras."""
    predictions, meta, features, targets = era(0)
    still = np.ones_like(targets)
    assert numerai.corr(still, targets) is None
    assert numerai.corr(predictions, still) is None
    assert numerai.mmc(still, meta, targets) is None
    assert numerai.mmc(predictions, still, targets) is None
    assert numerai.fnc(still, features, targets) is None
    assert numerai.fnc(predictions, numerai.gaussian_ranks(predictions)[:, None], targets) is None
    empty = np.zeros(0)
    assert (None, None) == (numerai.corr(empty, empty), numerai.mmc(empty, empty, empty))


@pytest.mark.parametrize("columns", [(np.zeros(3), np.zeros(4)), (np.zeros((2, 2)), np.zeros((2, 2)))])
def test_columns_that_do_not_belong_together(columns: tuple[np.ndarray, np.ndarray]):
    """An error, where asserts are gone under python -O."""
    with pytest.raises(InvalidInputError, match="do not belong together"):
        numerai.corr(*columns)


def test_fnc_with_missing_rows_or_nan():
    """Features have a row per prediction, and numbers in it."""
    with pytest.raises(InvalidInputError, match="2 rows of features"):
        numerai.fnc(np.arange(3.0), np.zeros((2, 1)), np.arange(3.0))
    with pytest.raises(InvalidInputError, match="features: value 1"):
        numerai.fnc(np.arange(3.0), np.array([[0.0], [math.nan], [1.0]]), np.arange(3.0))


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40, unique=True))
def test_corr_knows_only_the_order(values: list[float]):
    """Any increasing change of the predictions leaves CORR as it is; reversing them reverses it."""
    predictions = np.array(values)
    targets = np.random.default_rng(len(values)).normal(size=len(values))
    ranks = np.argsort(np.argsort(predictions)).astype(float)
    found = numerai.corr(predictions, targets)
    assert found == numerai.corr(ranks, targets)
    assert found == pytest.approx(-(numerai.corr(-ranks, targets) or 0), abs=1e-9)


def test_trap_few_pairs_are_noise():
    """A worthless signal's CORR deviates by 0.36 over 8 pairs, 0.19 over 28, 0.07 over 200."""
    random = np.random.default_rng(11)
    spreads = []
    for n, wanted in ((8, 0.36), (28, 0.19), (200, 0.07)):
        found = [
            numerai.corr(random.normal(size=n), random.normal(size=n), target_pow15=False) or 0 for _ in range(400)
        ]
        spreads.append(float(np.std(found)))
        assert wanted == pytest.approx(spreads[-1], rel=0.15)
    assert all(later < earlier for earlier, later in pairwise(spreads))
