"""From stored voices to rows of the consensus, by columns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Row

from mp_kit.contracts import Decision
from mp_kit.scoring.blending import BlendedBars, Method, blend_bars
from mp_kit.scoring.consensus import DECISIONS
from mp_kit.scoring.numbers import Booleans, Floats, Ints
from mp_kit.server.services.skills import Skills, by_day
from mp_kit.server.store.engine import Tx

Told = Sequence[Row[Any]]


def blended(tx: Tx, told: Told, method: Method, skills: Skills) -> dict[str, list[Any]]:
    """Columns of the consensus out of voices.

    Args:
        tx: An open transaction, for the skills.
        told: Voices in order of bar and deployment, one a deployment and bar.
        method: How to weigh them.
        skills: What was known of deployments before a bar.
    """
    bar, firsts = _numbers(told)
    counts = _weighed(bar, np.asarray([row.late for row in told], np.bool_))
    spoke = np.flatnonzero(counts)
    made = blend_bars(
        bar[spoke],
        np.asarray([Decision(told[at].decision).sign for at in spoke.tolist()], np.int64),
        np.asarray([told[at].confidence for at in spoke.tolist()], np.float64),
        _skills(tx, [told[at] for at in spoke.tolist()], skills) if method is Method.SKILL else None,
        method=method,
    )
    contributions = _contributions(told, bar, counts, made)
    heads = [told[at] for at in firsts.tolist()]
    late = [bool(told[at].late) for at in spoke[np.searchsorted(bar[spoke], np.arange(firsts.size))].tolist()]
    return {
        "event_time": [row.event_time for row in heads],
        "symbol": [row.symbol for row in heads],
        "timeframe": [row.timeframe for row in heads],
        "method": [method.value] * len(heads),
        "decision": [DECISIONS[sign].value for sign in made.decision.tolist()],
        "confidence": made.confidence.tolist(),
        "score": made.score.tolist(),
        "signals": np.bincount(bar[spoke], minlength=firsts.size).tolist(),
        "late": late,
        "deployment_id": [None] * len(heads),
        "vendor_id": [None] * len(heads),
        "contributions": contributions,
    }


def vendors_own(said: Told) -> dict[str, list[Any]]:
    """Columns of the consensus out of what vendors' models said; the score is sign times confidence."""
    return {
        **{
            name: [getattr(row, name) for row in said]
            for name in ("event_time", "symbol", "timeframe", "method", "decision", "confidence", "late")
        },
        "score": [Decision(row.decision).sign * row.confidence for row in said],
        "signals": [len(row.contributions) for row in said],
        "deployment_id": [row.deployment_id for row in said],
        "vendor_id": [row.vendor_id for row in said],
        "contributions": [json.dumps(row.contributions) for row in said],
    }


def _numbers(told: Told) -> tuple[Ints, Ints]:
    """A number for each voice's bar, and where each bar begins."""
    fresh = np.ones(len(told), np.bool_)
    keys = [(row.symbol, row.timeframe, row.event_time) for row in told]
    fresh[1:] = [one != other for one, other in zip(keys[1:], keys, strict=False)]
    return np.cumsum(fresh) - 1, np.flatnonzero(fresh)


def _weighed(bar: Ints, late: Booleans) -> Booleans:
    """Voices in time, and late ones where nobody was in time."""
    in_time = np.bincount(bar, weights=~late) if bar.size else np.zeros(0)
    return np.asarray(~late | (in_time[bar] == 0), np.bool_)


def _skills(tx: Tx, told: Told, skills: Skills) -> Floats:
    weights = by_day(tx, skills)
    return np.asarray([weights(row.event_time, row.timeframe).get(row.deployment_id, 1.0) for row in told], np.float64)


def _contributions(told: Told, bar: Ints, counts: Booleans, made: BlendedBars) -> list[str]:
    """A JSON document a bar: every voice, those without weight too."""
    numbers: Mapping[str, list[Any]] = {
        name: getattr(made, name).tolist() for name in ("weight", "value", "swing", "without", "others")
    }
    documents: list[dict[str, dict[str, Any]]] = [{} for _ in range(int(bar[-1]) + 1 if bar.size else 0)]
    place = (np.cumsum(counts) - 1).tolist()
    for at, (number, weighed) in enumerate(zip(bar.tolist(), counts.tolist(), strict=True)):
        row = told[at]
        part = _measured(numbers, place[at]) if weighed else {"weight": 0.0, "value": 0.0, "swing": 0.0}
        documents[number][row.deployment_id] = _attributed(row) | part
    return [json.dumps(document) for document in documents]


def _attributed(row: Row[Any]) -> dict[str, Any]:
    facts = {"decision": row.decision, "confidence": row.confidence, "deployment_id": row.deployment_id}
    facts |= {"vendor_id": row.vendor_id} if row.vendor_id is not None else {}  # its name is found when it is read
    return facts | ({"late": True} if row.late else {})


def _measured(numbers: Mapping[str, list[Any]], at: int) -> dict[str, Any]:
    part = {name: numbers[name][at] for name in ("weight", "value", "swing")}
    return part | ({"without": DECISIONS[numbers["without"][at]].value} if numbers["others"][at] else {})
