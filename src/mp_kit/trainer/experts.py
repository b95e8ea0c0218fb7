"""Published trading rules as voices of a consensus, each a signed confidence per bar.

1. A score is from -1 (SELL with full confidence) over 0 (no opinion: HOLD) to 1 (BUY).
2. An expert reads the round's features of the same bar and nothing else, so that it knows no future.
3. Confidence is ``tanh`` of the rule's own strength, in the market's own units: the shape is ours, the rule is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["EXPERTS", "Expert", "needed", "score"]

Floats = NDArray[np.float64]

_TINY = 1e-12


@dataclass(frozen=True)
class Expert:
    """A rule with its source.

    Attributes:
        name: Its name as a voice.
        features: What it reads.
        rule: From features by name to scores, shape (n,).
        source: Where the rule was published.
    """

    name: str
    features: tuple[str, ...]
    rule: Callable[[Mapping[str, Floats]], Floats]
    source: str


def _bounded(strength: Floats) -> Floats:
    score: Floats = np.tanh(strength)
    return score


def _momentum(x: Mapping[str, Floats]) -> Floats:
    return _bounded(x["ret_20"] / (x["vol_20"] * np.sqrt(20) + _TINY))


def _reversal(x: Mapping[str, Floats]) -> Floats:
    return -_bounded(x["ret_5"] / (x["vol_20"] * np.sqrt(5) + _TINY))


def _crossover(x: Mapping[str, Floats]) -> Floats:
    return _bounded(x["sma_5_20"] / (x["vol_20"] + _TINY))


def _bands(x: Mapping[str, Floats]) -> Floats:
    """Against the move once the price leaves the bands of two deviations, half as sure at one."""
    z = x["bb_z_20"]
    return np.where(np.abs(z) >= 1, -np.tanh(z / 2), 0.0)


def _breakout(x: Mapping[str, Floats]) -> Floats:
    """With the move in the outer tenths of the channel of 14 bars."""
    place = 2 * x["stoch_k_14"] - 1
    return np.where(np.abs(place) >= 0.8, np.tanh(place), 0.0)  # noqa: PLR2004 - the outer tenths


def _macd(x: Mapping[str, Floats]) -> Floats:
    return _bounded(4 * x["macd_hist_9"])


def _rsi(x: Mapping[str, Floats]) -> Floats:
    """Against the move beyond RSI 70 and 30, which ``rsi_14`` has at 0.4 and -0.4."""
    return np.where(np.abs(x["rsi_14"]) >= 0.4, -np.tanh(2 * x["rsi_14"]), 0.0)  # noqa: PLR2004 - 70 and 30


def _trend(x: Mapping[str, Floats]) -> Floats:
    """With the directional index while ADX is above 25."""
    return np.where(x["adx_14"] >= 0.25, np.tanh(2 * x["di_14"]), 0.0)  # noqa: PLR2004 - ADX 25


def _calm(x: Mapping[str, Floats]) -> Floats:
    """Momentum, sized by the inverse of the volatility's ratio to its longer mean, silent where it has doubled."""
    ratio = x["vol_5_60"]
    return np.where(ratio < 2, _momentum(x) * np.minimum(1.0, 1 / np.maximum(ratio, _TINY)), 0.0)  # noqa: PLR2004 - doubled


EXPERTS: tuple[Expert, ...] = (
    Expert(
        "momentum",
        ("ret_20", "vol_20"),
        _momentum,
        "Moskowitz, Ooi, Pedersen, Time series momentum, Journal of Financial Economics 104, 2012",
    ),
    Expert(
        "reversal", ("ret_5", "vol_20"), _reversal, "Lehmann, Fads, martingales, and market efficiency, QJE 105, 1990"
    ),
    Expert(
        "crossover",
        ("sma_5_20", "vol_20"),
        _crossover,
        "Brock, Lakonishok, LeBaron, Simple technical trading rules, Journal of Finance 47, 1992",
    ),
    Expert("bands", ("bb_z_20",), _bands, "Bollinger, Bollinger on Bollinger Bands, 2001"),
    Expert(
        "breakout",
        ("stoch_k_14",),
        _breakout,
        "trading range break of Brock, Lakonishok, LeBaron, Journal of Finance 47, 1992",
    ),
    Expert("macd", ("macd_hist_9",), _macd, "Appel, Technical Analysis: Power Tools for Active Investors, 2005"),
    Expert("rsi", ("rsi_14",), _rsi, "Wilder, New Concepts in Technical Trading Systems, 1978"),
    Expert("trend", ("di_14", "adx_14"), _trend, "Wilder, New Concepts in Technical Trading Systems, 1978"),
    Expert(
        "calm_momentum",
        ("ret_20", "vol_20", "vol_5_60"),
        _calm,
        "Moreira, Muir, Volatility-managed portfolios, Journal of Finance 72, 2017",
    ),
)
"""All built-in voices, in the order of their columns."""


def needed(experts: Sequence[Expert]) -> list[str]:
    """The features that these experts read, each once, in a fixed order."""
    return list(dict.fromkeys(name for expert in experts for name in expert.features))


def score(experts: Sequence[Expert], features: Mapping[str, Floats]) -> NDArray[np.float32]:
    """What the experts say, shape (rows, experts), float32 in -1 to 1; a feature that is not finite silences them."""
    with np.errstate(invalid="ignore", over="ignore"):
        columns = [np.asarray(expert.rule(features), dtype=np.float64) for expert in experts]
    stacked = np.stack(columns, axis=1) if columns else np.empty((0, 0))
    return np.clip(np.nan_to_num(stacked, nan=0.0, posinf=0.0, neginf=0.0), -1, 1).astype(np.float32)
