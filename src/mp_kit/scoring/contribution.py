"""What a deployment adds to the others: the consensus with it and without it.

The consensus of a bar is ``C = sum c_i c_i s_i / sum c_i``: signs ``s`` times confidences ``c``, weighted by
confidence, as the method ``confidence`` of the consensus scores it. Without deployment i it is ``C_i``, and 0 if
nobody else spoke. A perfect copy of the others adds about nothing, and so does noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
    """The consensus at one deployment's bars, columns of shape (n,).

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
    names = sorted(met)
    bars = _bars([met[name] for name in names])
    before = _sums_before([met[name] for name in names], bars)
    after = _sums_before([met[name] for name in reversed(names)], bars[::-1])[::-1]
    return {
        name: _others(met[name], one[0] + other[0], one[1] + other[1])
        for name, one, other in zip(names, before, after, strict=True)
    }


def _sums_before(met: list[Outcomes], bars: list[Ints]) -> list[tuple[Floats, Floats]]:
    """At each deployment's bars, what those before it weigh and say; added up, because a difference would cancel."""
    count = max((int(numbers.max(initial=-1)) for numbers in bars), default=-1) + 1
    weight, said = np.zeros(count), np.zeros(count)
    found = []
    for one, numbers in zip(met, bars, strict=True):
        found.append((weight[numbers], said[numbers]))
        weight[numbers] += one.confidence
        said[numbers] += one.confidence * one.positions
    return found


def _bars(met: list[Outcomes]) -> list[Ints]:
    """A number for each symbol and bar, the same for all deployments."""
    symbols = {name: number for number, name in enumerate(sorted({name for one in met for name in one.names}))}
    codes = [np.asarray([symbols[name] for name in one.names], np.int64)[one.symbol] for one in met]
    instants = np.unique(np.concatenate([one.event_time for one in met])) if met else np.zeros(0, np.int64)
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
