"""The consensus as a straight pandas script has it: what ``mp_kit.scoring`` is compared with."""

from __future__ import annotations

import numpy as np
import pandas as pd

SIDES = {-1: "sell", 0: "hold", 1: "buy"}


def voices(signals: pd.DataFrame) -> pd.DataFrame:
    """One row per bar and deployment: in time before late, then the newest; late ones only where nobody was in time."""
    ordered = signals.sort_values(["late", "received_at", "batch", "row"], ascending=[True, False, False, False])
    told = ordered.drop_duplicates(["symbol", "event_time", "deployment"])
    all_late = told.groupby(["symbol", "event_time"]).late.transform("min")
    told = told[~told.late | all_late].sort_values(["symbol", "event_time", "deployment"])
    bar = told.groupby(["symbol", "event_time"], sort=True).ngroup()
    return told.assign(bar=bar, sign=told.direction).reset_index(drop=True)


def reference(told: pd.DataFrame, method: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Blends by bar, and by bar and voice left out.

    Args:
        told: bar, deployment, sign, confidence, skill.
        method: equal, confidence or confidence_skill.

    Returns:
        A row per bar, and a row per voice in the order given: weight, value, swing, without.
    """
    raw = {"equal": 1.0, "confidence": told.confidence, "confidence_skill": told.confidence * told.skill}[method]
    told = told.assign(raw=raw, voice=np.arange(len(told)))
    whole, weight = _blend(told, "bar", capped=method == "confidence_skill")
    pairs = told[["bar", "voice"]].rename(columns={"voice": "out"}).merge(told, on="bar")
    left, _ = _blend(pairs[pairs.out != pairs.voice], "out", capped=method == "confidence_skill")
    mine = whole.loc[told.bar].reset_index(drop=True)
    left = left.reindex(np.arange(len(told))).fillna(0.0)
    parts = pd.DataFrame({"weight": weight.to_numpy(), "value": mine.score - left.score, "without": left.decision})
    parts["swing"] = [0.0] * len(told)
    for sign, side in SIDES.items():
        chosen = mine.decision == sign
        parts.loc[chosen, "swing"] = (mine[side] - left[side])[chosen]
    return whole, parts


def _blend(told: pd.DataFrame, by: str, *, capped: bool) -> tuple[pd.DataFrame, pd.Series]:
    told = told.copy()
    group = told.groupby(by)
    told.loc[group.raw.transform("sum") <= 0, "raw"] = 1.0
    if capped:
        others = told.groupby(by).raw.transform("sum") - told.raw
        over = (told.groupby(by).raw.transform("size") > 2) & (told.raw > others) & (others > 0)
        told.loc[over, "raw"] = others[over]
    told["weight"] = told.raw / told.groupby(by).raw.transform("sum")
    told["strength"] = told.weight * told.confidence
    made = pd.DataFrame(index=np.sort(told[by].unique()))
    for sign, side in SIDES.items():
        part = told[told.sign == sign].groupby(by)
        made[side] = part.weight.sum().reindex(made.index).fillna(0.0)
        made[f"{side}_strength"] = part.strength.sum().reindex(made.index).fillna(0.0)
    shares = made[list(SIDES.values())].to_numpy()
    leads = shares >= shares.max(axis=1, keepdims=True) - 1e-12
    made["decision"] = np.where(leads.sum(axis=1) == 1, leads.argmax(axis=1) - 1, 0)
    made["score"] = (made.buy_strength - made.sell_strength).clip(-1, 1)
    net = np.select([made.decision == 1, made.decision == -1], [made.score, -made.score], made.hold_strength)
    made["confidence"] = net.clip(0, 1)
    return made, told.weight
