"""What a deployment adds to the others: the consensus with it and without it.

The consensus of a bar is ``C = sum c_i c_i s_i / sum c_i``: signs ``s`` times confidences ``c``, weighted by
confidence, as the method ``confidence`` of the consensus scores it. Without deployment i it is ``C_i``, and 0 if
nobody else spoke. A perfect copy of the others adds about nothing, and so does noise.

1. Everybody is set against what could be heard when it spoke: against statements about the same bar that were entered
   at the same close or before. Nothing that is said later changes it, however well it knows the outcome by then.
2. The others are those that the consensus hears (``Outcomes.counts``); who is not heard is measured all the same, as
   if it were the one more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mp_kit.contracts.scores import Measured, Standing
from mp_kit.scoring import numerai
from mp_kit.scoring.bootstrap import interval_of_mean
from mp_kit.scoring.correlation import FEWEST_PAIRS, instants
from mp_kit.scoring.numbers import Booleans, Floats, Ints, mean
from mp_kit.scoring.outcomes import Outcomes

__all__ = ["ALONE", "Others", "against", "standings"]

ALONE = Measured(reason="nobody else spoke about the same bars")


@dataclass(frozen=True)
class Others:
    """The consensus at one deployment's bars, as it stood when it was entered there; columns of shape (n,).

    Attributes:
        everyone: With it.
        without: Without it.
        any: Whether anybody else spoke.
    """

    everyone: Floats
    without: Floats
    any: Booleans


def standings(met: Mapping[str, Outcomes], horizon: int) -> dict[str, Standing]:
    """Each deployment's standing among the others.

    Args:
        met: Deployment to its outcomes in the same market.
        horizon: Bars that a signal is held.
    """
    return {name: _standing(met[name], others, horizon) for name, others in against(met).items()}


def against(met: Mapping[str, Outcomes]) -> dict[str, Others]:
    """The consensus with and without each deployment, at its bars."""
    if not met:
        return {}
    ordered = [met[name] for name in sorted(met)]
    bar, began = np.concatenate(_bars(ordered)), np.concatenate([one.began for one in ordered])
    heard = np.concatenate([one.confidence * one.counts for one in ordered])
    said = np.concatenate([one.confidence * one.counts * one.positions for one in ordered])
    edges = np.cumsum([0, *(one.began.size for one in ordered)])
    order = np.lexsort((began, bar))  # stable: of those entered at one close, by name
    weight, voice = _heard_by(bar[order], began[order], heard[order]), _heard_by(bar[order], began[order], said[order])
    sums = np.empty((2, order.size))
    sums[:, order] = weight, voice
    return {
        name: _others(met[name], *sums[:, edges[number] : edges[number + 1]]) for number, name in enumerate(sorted(met))
    }


def _heard_by(bar: Ints, began: Ints, values: Floats) -> Floats:
    """For each statement, the sum over the others of its bar that were entered no later.

    It is added up from those before it and from those after it that share its close: a difference would cancel.

    Args:
        bar: Numbers of bars, ascending, shape (n,).
        began: Instants of entry, ascending within a bar, shape (n,).
        values: What to add up, shape (n,).
    """
    fresh = np.ones(bar.size, np.bool_)
    fresh[1:] = bar[1:] != bar[:-1]
    close = fresh.copy()
    close[1:] |= began[1:] != began[:-1]
    last = np.r_[close[1:], np.ones(min(bar.size, 1), np.bool_)]  # the last of each close, to begin at from behind
    return _sums_before(fresh, values) + _sums_before(last[::-1], values[::-1])[::-1]


def _sums_before(fresh: Booleans, values: Floats) -> Floats:
    """For each value, the sum of those before it in its group; a group begins where ``fresh`` is true."""
    first = np.flatnonzero(fresh)
    place = np.arange(fresh.size) - first[np.cumsum(fresh) - 1]
    order = np.argsort(place, kind="stable")
    edges = np.searchsorted(place[order], np.arange(int(place.max(initial=0)) + 2))
    sums = np.zeros(fresh.size)
    for low, high in pairwise(edges[1:].tolist()):  # the second of all groups, the third of all groups, ...
        mine = order[low:high]
        sums[mine] = sums[mine - 1] + values[mine - 1]
    return sums


def _bars(met: list[Outcomes]) -> list[Ints]:
    """A number for each symbol and bar, the same for all deployments."""
    symbols = {name: number for number, name in enumerate(sorted({name for one in met for name in one.names}))}
    codes = [np.asarray([symbols[name] for name in one.names], np.int64)[one.symbol] for one in met]
    instants = np.unique(np.concatenate([one.event_time for one in met]))
    return [
        code * max(instants.size, 1) + np.searchsorted(instants, one.event_time)
        for code, one in zip(codes, met, strict=True)
    ]


def _others(mine: Outcomes, weight: Floats, said: Floats) -> Others:
    everybody, anybody = weight + mine.confidence, weight > 0
    whole = said + mine.confidence * mine.positions
    return Others(
        everyone=np.divide(whole, everybody, out=np.zeros(weight.size), where=everybody > 0),
        without=np.divide(said, weight, out=np.zeros(weight.size), where=anybody),
        any=anybody,
    )


def _standing(mine: Outcomes, others: Others, horizon: int) -> Standing:
    shared = np.flatnonzero(others.any)
    if not shared.size:
        return Standing(contribution=ALONE, mmc=ALONE)
    order = shared[np.lexsort((mine.symbol[shared], mine.event_time[shared], mine.began[shared]))]
    added = (others.everyone[order] - others.without[order]) * mine.returns[order]
    low, high = interval_of_mean(added, horizon * max(1, np.unique(mine.symbol).size))
    contribution = Measured(value=mean(added), low=low, high=high, n=added.size)
    return Standing(contribution=contribution, mmc=_mmc(mine, others))


def _mmc(mine: Outcomes, others: Others) -> Measured:
    pairs = mine.separate[others.any[mine.separate]]
    n = instants(mine.began[pairs], mine.ended[pairs])
    if n < FEWEST_PAIRS:
        return Measured(n=n, reason=f"not enough data: {n} of {FEWEST_PAIRS} pairs that do not overlap")
    value = numerai.mmc(mine.positions[pairs], others.without[pairs], mine.returns[pairs])
    return Measured(value=value, n=n, reason="one of the two never changes" if value is None else None)
