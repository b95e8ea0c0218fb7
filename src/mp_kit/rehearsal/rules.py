"""What the house's vendors go by: simple rules, published here, that look at closes only.

``z`` is the log return over the last ``lookback`` bars, in units of what so many independent bars would scatter:
``z = log(c[-1] / c[-1 - n]) / (std(log returns) * sqrt(n))``.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mp_kit.contracts.common import Decision

__all__ = ["BARS", "RULES", "Rule"]

Closes: TypeAlias = NDArray[np.float64]
Said: TypeAlias = tuple[Decision, float]

BARS = 241
"""So many closes the longest of them looks at."""

_QUIET = 0.25


@dataclass(frozen=True)
class Rule:
    """A house vendor's model.

    Attributes:
        name: Its name.
        about: What it does, in a sentence.
        say: Decision and confidence out of a symbol's last closes, the symbol, and the bar's open.
    """

    name: str
    about: str
    say: Callable[[Closes, str, datetime], Said]


def momentum(lookback: int) -> Callable[[Closes, str, datetime], Said]:
    """With the move: BUY where ``z > 0.25``, SELL where ``z < -0.25``, else HOLD; surer of larger moves."""

    def say(closes: Closes, _symbol: str, _bar: datetime) -> Said:
        return _leaning(_score(closes, lookback))

    return say


def reversal(lookback: int) -> Callable[[Closes, str, datetime], Said]:
    """Against the move: as :func:`momentum`, the other way round."""

    def say(closes: Closes, _symbol: str, _bar: datetime) -> Said:
        return _leaning(-_score(closes, lookback))

    return say


def noise(_closes: Closes, symbol: str, bar: datetime) -> Said:
    """Knows nothing: drawn from a hash of symbol and bar, so that it says the same in every rehearsal."""
    drawn = hashlib.sha256(f"{symbol} {bar.isoformat()}".encode()).digest()
    return list(Decision)[drawn[0] % 3], 0.5 + drawn[1] / 512


def _score(closes: Closes, lookback: int) -> float:
    steps = np.diff(np.log(closes[-lookback - 1 :]))
    scatter = float(np.std(steps)) * math.sqrt(steps.size) if steps.size > 1 else 0.0
    return float(np.sum(steps)) / scatter if scatter > 0 else 0.0


def _leaning(score: float) -> Said:
    if abs(score) < _QUIET:
        return Decision.HOLD, 0.5
    return Decision.BUY if score > 0 else Decision.SELL, round(min(0.5 + abs(score) / 6, 0.95), 4)


RULES = (
    Rule("momentum-24", "Goes with the move of the last 24 bars.", momentum(24)),
    Rule("reversal-6", "Goes against the move of the last 6 bars.", reversal(6)),
    Rule("noise", "Knows nothing: draws lots. What a leaderboard has to put last, given time.", noise),
    Rule("momentum-120", "Goes with the move of the last 120 bars.", momentum(120)),
    Rule("reversal-24", "Goes against the move of the last 24 bars.", reversal(24)),
    Rule("momentum-240", "Goes with the move of the last 240 bars.", momentum(240)),
)
"""In the order in which a sandbox takes them."""
