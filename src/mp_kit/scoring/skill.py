"""What a deployment's past is worth as a weight: its hit rate, shrunken towards everybody's.

With hits ``h_i`` as a share of ``n_i`` independent calls, and the pooled mean ``m = sum n_i h_i / sum n_i``:

- shrunken: ``p_i = (n_i h_i + K m) / (n_i + K)``, the posterior mean of a binomial rate whose prior is worth ``K``
  calls (Efron and Morris, Journal of the American Statistical Association 70 (1975), for shrinking towards the common
  mean);
- skill: ``k_i = (odds(p_i) / odds(m)) ** B`` with ``odds(p) = p / (1 - p)``, kept between 1/4 and 4. Log odds are the
  best weights of independent voters (Nitzan and Paroush, International Economic Review 23 (1982)); as an exponent,
  as the exponentially weighted forecaster takes what was earned (Cesa-Bianchi and Lugosi, Prediction, Learning, and
  Games, 2006), they are positive, and nobody's past silences them.

``K`` = 500 calls: the standard error of a hit rate is 2.2 points there, as wide as what separates good from bad.
``B`` = 10: two points of hit rate are worth about a factor of 2.2.

1. Who has no record has ``k = 1`` exactly, and so has everybody where nobody has one.
2. Nobody weighs more than 16 times another of the same confidence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["HIGHEST", "LOWEST", "PRIOR_CALLS", "Record", "skills_of"]

PRIOR_CALLS = 500
SHARPNESS = 10.0
HIGHEST = 4.0
LOWEST = 1 / HIGHEST


class Record(NamedTuple):
    """What was known of a deployment before a bar.

    Attributes:
        value: Its hit rate, 0 to 1.
        n: Independent calls behind it.
    """

    value: float
    n: int


def skills_of(records: Mapping[str, Record]) -> dict[str, float]:
    """Skill of each deployment; see the module for the formula.

    Args:
        records: Deployment to its record; records without calls count as none.

    Raises:
        ValueError: A hit rate is not from 0 to 1, or a count is negative.
    """
    for name, record in records.items():
        if not 0 <= record.value <= 1 or record.n < 0:
            msg = f"the record of {name} is no hit rate: {record.value} of {record.n}"
            raise ValueError(msg)
    calls = sum(record.n for record in records.values())
    if not calls:
        return dict.fromkeys(records, 1.0)
    mean = math.fsum(record.value * record.n for record in records.values()) / calls
    return {name: _skill(record, mean) for name, record in records.items()}


def _skill(record: Record, mean: float) -> float:
    if not record.n or not 0 < mean < 1:
        return 1.0  # all right or all wrong: nothing tells them apart
    shrunken = (record.n * record.value + PRIOR_CALLS * mean) / (record.n + PRIOR_CALLS)
    apart = math.log(shrunken / (1 - shrunken)) - math.log(mean / (1 - mean))
    return min(HIGHEST, max(LOWEST, math.exp(min(SHARPNESS * apart, 10.0))))
