"""The scores as a straight pandas script has them: what ``mp_kit.scoring`` is compared with.

It takes the bars of each symbol as one run without gaps.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

YEAR = 365.25 * 86_400 * 1e6


def reference(
    signals: pd.DataFrame, bars: dict[str, pd.DataFrame], length: int, horizon: int, cost: float
) -> pd.DataFrame:
    """One row per deployment.

    Args:
        signals: deployment, symbol, event_time, received_at (microseconds), late, direction, confidence, batch, row.
        bars: Symbol to time (microseconds) and close.
        length: Of a bar in microseconds.
        horizon: Bars that a signal is held.
        cost: Of trading one unit of capital.
    """
    told = signals[~signals.late].sort_values(["received_at", "batch", "row"], kind="stable")
    told = told.drop_duplicates(["deployment", "symbol", "event_time"])
    met = pd.concat([_meet(told[told.symbol == name], frame, length, horizon) for name, frame in bars.items()])
    met["x"] = met.direction * met.confidence
    contribution = _contribution(met)
    rows = {
        name: _measure(group, bars, length, horizon, cost) | {"contribution": contribution.get(name, np.nan)}
        for name, group in met.groupby("deployment")
    }
    return pd.DataFrame.from_dict(rows, orient="index").sort_index()


def _meet(told: pd.DataFrame, frame: pd.DataFrame, length: int, horizon: int) -> pd.DataFrame:
    numbered = pd.DataFrame({"event_time": frame.time, "bar": np.arange(len(frame))})
    met = told.merge(numbered, on="event_time")
    ends = frame.time.to_numpy() + length
    stored = pd.Series(np.searchsorted(ends, met.received_at), index=met.index)
    met["entry"] = np.maximum(met.bar, stored)
    met = met[met.entry + horizon < len(frame)].copy()
    close = frame.close.to_numpy()
    met["r"] = close[met.entry + horizon] / close[met.entry] - 1
    met["began"], met["ended"] = ends[met.entry], ends[met.entry + horizon]
    return met.sort_values(["entry", "event_time"])


def _measure(
    met: pd.DataFrame, bars: dict[str, pd.DataFrame], length: int, horizon: int, cost: float
) -> dict[str, float]:
    calls = met[met.direction != 0]
    apart = pd.concat([_apart(group, horizon) for _, group in met.groupby("symbol")])
    legs = {
        name: _leg(group, bars[name], length, horizon, met.began.min(), met.ended.max())
        for name, group in met.groupby("symbol")
    }
    held = pd.DataFrame({name: leg.held for name, leg in legs.items()})
    moved = pd.DataFrame({name: leg.moved for name, leg in legs.items()})
    traded = pd.DataFrame({name: leg.traded for name, leg in legs.items()})
    y = ((held * moved).fillna(0) - cost * traded.fillna(0)).sum(axis=1) / len(legs)
    capital = pd.concat([pd.Series([1.0]), (1 + y).cumprod()])
    return {
        "scored": float(len(met)),
        "hit_rate": float((calls.direction * calls.r > 0).mean()),
        "profit_per_signal": float((calls.x * calls.r - 2 * cost * calls.confidence).mean()),
        "brier": float(((calls.confidence - (calls.direction * calls.r > 0)) ** 2).mean()),
        "avg_confidence": float(met.confidence.mean()),
        "ic": float(apart.x.corr(apart.r)),
        "rank_ic": float(apart.x.rank().corr(apart.r.rank())),
        "sharpe": float(y.mean() / y.std() * np.sqrt(_per_year([bars[name] for name in legs]))),
        "total_return": float(capital.iloc[-1] - 1),
        "max_drawdown": float((1 - capital / capital.cummax()).max()),
        "turnover": float(traded.fillna(0).sum(axis=1).mean() / len(legs)),
    }


def _per_year(frames: list[pd.DataFrame]) -> float:
    """Different instants a year of these symbols, all of whose bars span the same time without a gap."""
    grid = pd.concat([frame.time.iloc[1:] for frame in frames]).nunique()
    span = max(frame.time.iloc[-1] for frame in frames) - min(frame.time.iloc[0] for frame in frames)
    return float(grid / (span / YEAR))


def _apart(group: pd.DataFrame, horizon: int) -> pd.DataFrame:
    kept, free = [], -1
    for place, entry in enumerate(group.entry):
        if entry >= free:
            kept.append(place)
            free = entry + horizon
    return group.iloc[kept]


def _leg(group: pd.DataFrame, frame: pd.DataFrame, length: int, horizon: int, began: int, ended: int) -> pd.DataFrame:
    said = group.drop_duplicates("entry", keep="last").set_index("entry").x
    said = said.reindex(np.arange(len(frame)), fill_value=0.0)
    moved = frame.close.shift(-1) / frame.close - 1
    leg = pd.DataFrame({"held": said.rolling(horizon, min_periods=1).sum() / horizon, "moved": moved})
    leg.index = frame.time.shift(-1)
    leg = leg[((frame.time + length >= began) & (frame.time + length < ended)).to_numpy()]
    leg["traded"] = leg.held.diff().fillna(leg.held).abs()
    leg.iloc[-1, leg.columns.get_loc("traded")] += abs(leg.held.iloc[-1])
    return leg


def _contribution(met: pd.DataFrame) -> dict[str, float]:
    """Profit of the consensus with a deployment, less without it, over the bars that it shares with others.

    The others at a bar are those that were entered no later.
    """
    voices = met.assign(weight=met.confidence, said=met.confidence * met.x, speaks=met.confidence > 0)
    close = ["symbol", "event_time", "began"]
    summed = voices.groupby(close)[["weight", "said", "speaks"]].sum().groupby(level=[0, 1]).cumsum()
    bars = voices[close].join(summed, on=close)
    shared = bars.speaks > voices.speaks
    everyone = (bars.said / bars.weight)[shared]
    without = ((bars.said - voices.said) / (bars.weight - voices.weight))[shared]
    added = (everyone - without) * voices.r[shared]
    means: pd.Series = added.groupby(voices.deployment[shared]).mean()
    return {str(name): float(value) for name, value in means.items()}
