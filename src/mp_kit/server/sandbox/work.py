"""What a sandbox's marketplace is asked to do: the operator's verbs, and what the schedules would have started.

A verb takes plain JSON values and returns some; each stands by itself, in transactions of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from mp_kit.errors import InvalidInputError
from mp_kit.server import clock
from mp_kit.server.sandbox.parts import Parts
from mp_kit.server.services import consensus, drops, gates, liveness, publication, scores, skills, upkeep, vendors
from mp_kit.server.services.publication import RoundOrder

__all__ = ["VERBS", "do"]

_ACTOR = "sandbox"


def vendor(parts: Parts, name: str) -> dict[str, Any]:
    """Makes a vendor; its key is told this once."""
    with parts.house.db.begin() as tx:
        made = vendors.create(tx, parts.house.tokens, name, actor=_ACTOR)
    return {"vendor_id": made.vendor_id, "api_key": made.api_key}


def approve(parts: Parts, model_id: str, version: str, why: str) -> dict[str, Any]:
    """The operator's word on a version: a gate of prod."""
    with parts.house.db.begin() as tx:
        noted = gates.approve(tx, model_id, version, why, actor=_ACTOR)
    return noted.model_dump(mode="json")


def step(parts: Parts, to: str, *, blending: bool = True) -> dict[str, Any]:
    """Blends what was said, where that is wanted, then moves the clock on."""
    blended = blend(parts) if blending else {}
    parts.move(datetime.fromisoformat(to))
    return blended


def blend(parts: Parts) -> dict[str, Any]:
    """What the flow ``ingest-signals`` does: takes up drops, blends every bar that something was said about."""
    house, bars = parts.house, 0
    grace = timedelta(seconds=house.settings.late_grace_seconds)
    drops.take_in(house.db, house.store, signer=house.signer, now=clock.now(), grace=grace)
    while True:
        with house.db.begin() as tx:
            found = consensus.refresh(tx, skills=skills.measured)
        if not found:
            return {"bars": bars}
        bars += found


def publish(parts: Parts, source: str, name: str) -> dict[str, Any]:
    """What the flow ``publish-round`` does, without Prefect."""
    house = parts.house
    order = RoundOrder(source=source, name=name, leakage="flag")
    done = publication.run(house.db.begin, house.store, house.signer, order, actor=_ACTOR)
    return {"round_id": done.round_id, "created": done.created}


def score(parts: Parts) -> dict[str, Any]:
    """What the flow ``score`` does: counts signals for the catalogue, and scores them against the newest rounds."""
    counted = scores.count_all(parts.house.db)
    return {"counted": counted, "scored": scores.run(parts.house.db, parts.house.store)}


def maintain(parts: Parts) -> dict[str, Any]:
    """What the flow ``maintain`` does here: opens months of signals, tells of deployments that fell silent."""
    opened = upkeep.keep_months(parts.house.db, clock.now())
    with parts.house.db.begin() as tx:
        liveness.forget(tx, clock.now())
        return {"months": len(opened), "offline": len(liveness.flip(tx))}


VERBS: Mapping[str, Callable[..., dict[str, Any]]] = {
    verb.__name__: verb for verb in (vendor, approve, step, blend, publish, score, maintain)
}


def do(parts: Parts, verb: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Does it, and says how far the clock is from the machine's.

    Raises:
        InvalidInputError: There is no such verb.
    """
    if verb not in VERBS:
        raise InvalidInputError(f"A sandbox knows no {verb!r}.", hint=f"It knows {', '.join(VERBS)}.")
    return {**VERBS[verb](parts, **given), "shift": clock.shift().total_seconds()}
