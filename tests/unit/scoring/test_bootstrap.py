"""The block bootstrap: always the same draws, honest about dependence, silent where it would guess."""

from __future__ import annotations

import numpy as np
import pytest

from mp_kit.errors import InvalidInputError
from mp_kit.scoring import bootstrap


def test_same_input_same_interval():
    """A score may not change from call to call."""
    values = np.random.default_rng(0).normal(size=400)
    assert bootstrap.interval_of_mean(values) == bootstrap.interval_of_mean(values.copy())


def test_too_few_blocks_give_no_interval():
    """Four blocks cannot say anything about a spread."""
    assert (None, None) == bootstrap.interval_of_mean(np.ones(99), 20)


@pytest.mark.parametrize("length", [0, 11])
def test_impossible_block(length: int):
    """A block is at most the whole series."""
    with pytest.raises(InvalidInputError, match="cannot be drawn"):
        bootstrap.resampled_means(np.ones(10), length)


def test_resample_of_a_constant_is_it():
    """Whatever is drawn."""
    assert np.allclose(0.25, bootstrap.resampled_means(np.full(50, 0.25), 7), rtol=0, atol=1e-15)


def test_interval_of_independent_values_is_the_textbooks():
    """About mean ± 1.96 s / sqrt(n)."""
    values = np.random.default_rng(1).normal(size=4_000)
    low, high = bootstrap.interval_of_mean(values)
    assert low is not None
    assert high is not None
    assert 2 * 1.96 / np.sqrt(4_000) == pytest.approx(high - low, rel=0.15)
    assert low < 0 < high


def test_trap_overlap_widens_the_interval():
    """Each value repeated 24 times holds no more news than once: blocks see it, single draws do not."""
    repeated = np.repeat(np.random.default_rng(2).normal(size=300), 24)
    wide, narrow = bootstrap.interval_of_mean(repeated, 48), bootstrap.interval_of_mean(repeated[::24])
    assert None not in {*wide, *narrow}
    assert 1.0 == pytest.approx((wide[1] - wide[0]) / (narrow[1] - narrow[0]), abs=0.35)
