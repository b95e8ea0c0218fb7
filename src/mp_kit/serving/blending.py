"""The signals of a bar as a consensus model's input, and each voice's share in what comes out.

1. A voice speaks as sign times confidence: -1 (SELL) to 1 (BUY). One that the model names and nobody sent is silent.
2. A model that lists ``*`` among its features hears all voices that it does not name there, as their mean.
3. Shares are the model's weights over the voices that spoke; they sum to 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from mp_kit.contracts.inference import InferResponse
from mp_kit.errors import InvalidInputError

__all__ = ["OTHERS", "Blend", "blend"]

OTHERS = "*"
"""The feature that stands for every voice without a name in the model."""


@dataclass(frozen=True)
class Blend:
    """What the voices say together.

    Attributes:
        table: One row with a column per feature of the model.
        contributions: By voice: its decision, share and confidence.
        unheard: Voices that the model has no weight for.
    """

    table: pa.Table
    contributions: dict[str, dict[str, Any]]
    unheard: list[str]


def blend(signals: Mapping[str, InferResponse], card: Mapping[str, Any]) -> Blend:
    """Makes one row of scores out of a bar's signals.

    Args:
        signals: By the voice's name.
        card: The model's card, with ``features`` (names of voices) and ``weights`` (by the same names).

    Raises:
        InvalidInputError: Not one of the voices is known to the model.
    """
    names, weights = card["features"], card["weights"]
    strangers = [name for name in signals if name not in names]
    others = strangers if OTHERS in names else []
    shares = {name: float(weights[name]) for name in signals if name in names}
    shares |= {name: float(weights[OTHERS]) / len(others) for name in others}
    if not shares:
        known = ", ".join(names[:12])
        raise InvalidInputError(f"The model knows none of these voices: it listens to {known}.")
    scores = {name: one.decision.sign * one.confidence for name, one in signals.items()}
    columns = {name: scores.get(name, 0.0) for name in names}
    if others:
        columns[OTHERS] = sum(scores[name] for name in others) / len(others)
    total = sum(shares.values())
    even = 1.0 / len(shares)
    contributions = {
        name: {
            "decision": signals[name].decision,
            "weight": share / total if total > 0 else even,
            "confidence": signals[name].confidence,
        }
        for name, share in shares.items()
    }
    unheard = [] if others else strangers
    return Blend(pa.table({name: [value] for name, value in columns.items()}), contributions, unheard)
