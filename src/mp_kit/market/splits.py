"""Purged and embargoed splits in time.

1. The cuts are instants, the same for every symbol, so that no symbol's train rows know another one's validation.
2. A train row's label window (the close of the bar ``horizon`` bars later, in its own symbol's bars) ends before the
   bar that lies ``embargo`` bars ahead of the validation's first; likewise between validation and test.
3. Test rows carry no label columns; their labels are held back, row for row.
4. Bars are counted on the union of all symbols' bars; label windows are measured row by row, because a symbol's next
   bar may lie behind a weekend or a gap.

Source: López de Prado, Advances in Financial Machine Learning, 2018, chapter 7.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from mp_kit.errors import BarsError, InvalidInputError
from mp_kit.market.bars import instant, times_of
from mp_kit.market.labels import LABEL_COLUMNS
from mp_kit.market.timeframes import distinct

__all__ = [
    "HELD_BACK",
    "ROLES",
    "Cuts",
    "PurgedWalkForward",
    "SplitSpec",
    "assign",
    "label_ends",
    "plan",
    "usable_needed",
]

ROLES = ("train", "validation", "test", "features")
"""The roles that are published."""

HELD_BACK = "labels"
"""The test's labels, kept for scoring."""

NEVER = np.iinfo(np.int64).max
_LARGEST_SHARE = 0.9

Times = NDArray[np.int64]


class SplitSpec(BaseModel):
    """How a round's bars are divided."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    horizon: int = Field(5, ge=1, le=500, description="Bars that a label looks ahead.")
    embargo: int = Field(5, ge=0, le=10_000, description="Bars between the last label of a role and the next role.")
    validation_fraction: float = Field(0.2, gt=0, lt=1, description="Share of the bars that validate.")
    test_fraction: float = Field(0.1, gt=0, lt=1, description="Share of the bars, the newest, that test.")

    @model_validator(mode="after")
    def _train_remains(self) -> SplitSpec:
        """Leaves at least a tenth of the bars to learn from."""
        if self.validation_fraction + self.test_fraction > _LARGEST_SHARE:
            raise ValueError("validation_fraction and test_fraction may add up to 0.9 at most")
        return self


@dataclass(frozen=True)
class Cuts:
    """Instants in microseconds since 1970, UTC, for all symbols.

    Attributes:
        train_ends: No train row's label window reaches this bar.
        validation_begins: First bar that may be a validation row.
        validation_ends: No validation row's label window reaches this bar.
        test_begins: First bar that may be a test row.
    """

    train_ends: int
    validation_begins: int
    validation_ends: int
    test_begins: int

    def to_json(self) -> dict[str, str]:
        """The instants as on the wire."""
        return {name: instant(value) for name, value in vars(self).items()}


def usable_needed(spec: SplitSpec) -> int:
    """How many labelled-or-not bars behind the warm-up give every role at least one row."""
    train = 1 - spec.validation_fraction - spec.test_fraction
    shares = (
        ((spec.horizon + spec.embargo + 2) / train),
        ((spec.horizon + spec.embargo + 2) / spec.validation_fraction),
        ((spec.horizon + 2) / spec.test_fraction),
    )
    return math.ceil(max(shares))


def plan(times: Mapping[str, Times], spec: SplitSpec) -> Cuts:
    """Chooses the cuts.

    Args:
        times: Per symbol the bar opens behind its warm-up, ascending, microseconds.
        spec: Shares, horizon and embargo.

    Returns:
        The cuts; they depend on the set of all instants only, not on the order of symbols.

    Raises:
        BarsError: The bars of all symbols together are too few for the shares.
    """
    union = reduce(_union, times.values(), np.zeros(0, dtype=np.int64))
    if union.size < usable_needed(spec):
        raise BarsError(
            f"{union.size} bars behind the warm-up are too few to split; {usable_needed(spec)} are needed.",
            hint="Take a longer history, a shorter horizon or embargo, or larger shares.",
        )
    validation = math.floor(union.size * (1 - spec.validation_fraction - spec.test_fraction))
    test = math.floor(union.size * (1 - spec.test_fraction))
    return Cuts(
        train_ends=int(union[validation - spec.embargo]),
        validation_begins=int(union[validation]),
        validation_ends=int(union[test - spec.embargo]),
        test_begins=int(union[test]),
    )


def _union(one: Times, other: Times) -> Times:
    return one if np.array_equal(one, other) else distinct(np.concatenate([one, other]))


def label_ends(times: Times, horizon: int) -> Times:
    """The last bar that each row's label looks at.

    Args:
        times: One symbol's bar opens, ascending, shape (n,).
        horizon: Bars ahead.

    Returns:
        Shape (n,): the open of the bar ``horizon`` bars later; the largest int64 where it is not there yet.
    """
    ends = np.full(times.size, NEVER, dtype=np.int64)
    ends[: max(times.size - horizon, 0)] = times[horizon:]
    return ends


def assign(table: pa.Table, cuts: Cuts, *, horizon: int, warm_up: int) -> dict[str, pa.Table]:
    """Divides one symbol's rows among the roles.

    Args:
        table: All bars of one symbol in order, with features and the columns of ``labels.LABEL_COLUMNS``.
        cuts: The round's cuts.
        horizon: Bars that the labels look ahead.
        warm_up: Rows at the start whose features still remember where the data begins: they get no role.

    Returns:
        ``train`` and ``validation`` with labels, ``test`` without, ``features`` (the last ``warm_up + horizon``
        bars without labels) and ``labels``: timestamp and labels of the test rows, in their order. Purged rows are
        in none.
    """
    times = times_of(table)
    ends = label_ends(times, horizon)
    usable = np.arange(times.size) >= warm_up
    masks = {
        "train": usable & (times < cuts.train_ends) & (ends < cuts.train_ends),
        "validation": usable & (times >= cuts.validation_begins) & (ends < cuts.validation_ends),
        "test": usable & (times >= cuts.test_begins) & (ends < NEVER),
    }
    parts = {role: _rows(table, mask) for role, mask in masks.items()}
    test = parts["test"]
    window = table.slice(max(times.size - warm_up - horizon, 0))
    return {
        **parts,
        "test": test.drop_columns(list(LABEL_COLUMNS)),
        "features": window.drop_columns(list(LABEL_COLUMNS)),
        HELD_BACK: test.select(["timestamp", *LABEL_COLUMNS]),
    }


def _rows(table: pa.Table, mask: NDArray[np.bool_]) -> pa.Table:
    """Each role is one run of rows in an ordered table: a slice, which copies nothing."""
    where = np.flatnonzero(mask)
    return table.slice(int(where[0]), int(where.size)) if where.size else table.slice(0, 0)


@dataclass(frozen=True)
class PurgedWalkForward:
    """Cross-validation that only ever tests on what comes after, purged and embargoed.

    Works as scikit-learn's splitters do: pass ``cv=splitter.split(timestamps, groups=symbols)``.

    Attributes:
        n_splits: Folds; the bars are cut into ``n_splits + 1`` blocks and each but the first tests once.
        horizon: Bars that the labels look ahead.
        embargo: Bars between the last train label and the fold's first test row.
    """

    n_splits: int = 5
    horizon: int = 5
    embargo: int = 5

    def get_n_splits(self) -> int:
        """How many folds there are."""
        return self.n_splits

    def split(
        self, timestamps: NDArray[np.generic], groups: NDArray[np.generic] | None = None
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Yields the folds.

        Args:
            timestamps: Bar opens of the rows, in any order; int64 or datetime64, shape (n,).
            groups: The symbol of each row, if there are several: label windows are measured in each one's bars.

        Yields:
            Positions of train rows and of test rows.

        Raises:
            InvalidInputError: Fewer than two folds' worth of bars, or a negative horizon or embargo.
        """
        times = np.asarray(timestamps).astype(np.int64)
        instants = np.unique(times)
        if self.n_splits < 1 or self.horizon < 0 or self.embargo < 0 or instants.size <= self.n_splits:
            raise InvalidInputError(f"{instants.size} bars cannot be divided by {self!r}.")
        ends = _grouped_ends(times, groups, self.horizon)
        edges = np.linspace(0, instants.size, self.n_splits + 2).astype(int)
        for first, last in pairwise(edges[1:]):
            limit = instants[max(first - self.embargo, 0)]
            train = np.flatnonzero((times < limit) & (ends < limit))
            test = np.flatnonzero((times >= instants[first]) & (times <= instants[last - 1]))
            yield train, test


def _grouped_ends(times: Times, groups: NDArray[np.generic] | None, horizon: int) -> Times:
    codes = np.zeros(times.size, dtype=np.int64) if groups is None else np.unique(groups, return_inverse=True)[1]
    ends = np.empty(times.size, dtype=np.int64)
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        instants, position = np.unique(times[rows], return_inverse=True)
        ends[rows] = label_ends(instants, horizon)[position]
    return ends
