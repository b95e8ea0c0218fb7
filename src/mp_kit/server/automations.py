"""Automations in Prefect: what happens by itself when a round is published, a run fails, a worker or a flow run dies.

1. They are made by name, and made again changes nothing: `mp up` and ``mp admin flow automations`` run this same code.
2. Whether one is switched on is a person's to say: one that was switched off in Prefect's pages stays off.
3. The deployments that they run must be there first.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mp_kit.errors import InvalidInputError
from mp_kit.server.prefect_api import PrefectApi

__all__ = ["NAMES", "RUN_FAILED", "Made", "ensure"]

RUN_FAILED = "mp.run.failed"
"""The event that the mirror of training runs sends."""

_ROUND_PUBLISHED = "mp.round.published"
_BEATS = 4
_LEAST_SILENCE_SECONDS = 10  # Prefect takes no shorter one
_BEAT_SECONDS = 180  # Prefect's own, where PREFECT_FLOWS_HEARTBEAT_FREQUENCY says nothing
_BIRTH_SECONDS = 900  # a cluster may have to fetch an image first
_SETTLE_SECONDS = 60
_POOL = "mp"
_PAGE = 200
_DEPLOYED = {"match_related": {"prefect.resource.role": "deployment", "prefect.resource.id": "prefect.deployment.*"}}
"""Not the flow runs that only show a training run: no process of ours belongs to them."""
_ENDS = [f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")]

NAMES = REPORT, FAILURES, SWEEP, CRASH, CRASH_EARLY, CRASH_UNBORN = (
    "mp: report on a published round",
    "mp: tell of failed training runs",
    "mp: sweep when workers are lost",
    "mp: crash flow runs without heartbeat",
    "mp: crash flow runs that died at their start",
    "mp: crash flow runs that never began",
)


@dataclass(frozen=True)
class Made:
    """An automation.

    Args:
        name: Its name.
        id: Prefect's id.
        created: It was not there before.
        enabled: It is switched on.
    """

    name: str
    id: str
    created: bool
    enabled: bool


def ensure(prefect: PrefectApi, *, block: str | None = None) -> list[Made]:
    """Makes the automations, or brings them up to date.

    Args:
        prefect: A server that the flows are deployed on.
        block: A notification block, as ``slack-webhook/ops``, that is told of failed runs too.

    Raises:
        NotFoundError: A deployment or the block is not there.
        InvalidInputError: ``block`` is no ``type/name``.
        UnavailableError: The server does not answer.
    """
    wanted = _wanted(prefect, block)
    query = {"automations": {"name": {"any_": list(NAMES)}}, "limit": _PAGE}
    there: dict[str, list[dict[str, Any]]] = {}
    for each in prefect.send("POST", "/automations/filter", query):
        there.setdefault(each["name"], []).append(each)
    return [_one(prefect, body, there.get(body["name"], [])) for body in wanted]


def _one(prefect: PrefectApi, body: dict[str, Any], there: list[dict[str, Any]]) -> Made:
    for twin in there[1:]:  # made by two at once
        prefect.send("DELETE", f"/automations/{twin['id']}")
    if not there:
        made = prefect.send("POST", "/automations/", {**body, "enabled": True})
        return Made(body["name"], str(made["id"]), created=True, enabled=True)
    known = there[0]
    prefect.send("PUT", f"/automations/{known['id']}", {**body, "enabled": known["enabled"]})
    return Made(body["name"], str(known["id"]), created=False, enabled=bool(known["enabled"]))


def _wanted(prefect: PrefectApi, block: str | None) -> list[dict[str, Any]]:
    told = [_run(prefect, "tell-failures", {}, after=_SETTLE_SECONDS)]
    if block:
        told.append(_notify(_block_id(prefect, block)))
    round_id = {"__prefect_kind": "jinja", "template": "{{ event.resource['mp.round.id'] }}"}
    quality = {"order": {"name": "round_quality", "parameters": {"round_id": round_id}}}
    crash = {"type": "change-flow-run-state", "state": "CRASHED", "message": "Its process gave no sign of life."}
    return [
        {
            "name": REPORT,
            "description": "A round was published: its quality is reported on, with the round's id.",
            "trigger": _trigger(_ROUND_PUBLISHED, {"prefect.resource.id": "mp.round.*"}),
            "actions": [_run(prefect, "report", quality)],
        },
        {
            "name": FAILURES,
            "description": "A training run failed: a minute later the operator is told of it and of its likes.",
            "trigger": _trigger(RUN_FAILED, {"prefect.resource.id": "mp.run.*"}, within=_SETTLE_SECONDS, each=False),
            "actions": told,
        },
        {
            "name": SWEEP,
            "description": "No worker polls the pool any more: the first one that does sweeps machines and heartbeats.",
            "trigger": _trigger("prefect.work-pool.not-ready", _pool()),
            "actions": [_run(prefect, "maintain", {})],
        },
        {
            "name": CRASH,
            "description": "A flow run's process fell silent: the flow run is Crashed, and its slot is free.",
            "trigger": _silence("heartbeat", "heartbeat", _patience()),
            "actions": [crash],
        },
        {
            "name": CRASH_EARLY,
            "description": "A flow run's process died before its first sign of life: the flow run is Crashed.",
            "trigger": _silence("Running", "heartbeat", _patience()) | _DEPLOYED,
            "actions": [crash],
        },
        {
            "name": CRASH_UNBORN,
            "description": "A worker took a flow run and died before its process began: the flow run is Crashed.",
            "trigger": _silence("Pending", "Running", _BIRTH_SECONDS) | _DEPLOYED,
            "actions": [crash],
        },
    ]


def _pool() -> dict[str, str]:
    return {"prefect.resource.id": "prefect.work-pool.*", "prefect.resource.name": _POOL}


def _trigger(event: str, match: Mapping[str, str], *, within: int = 0, each: bool = True) -> dict[str, Any]:
    """Fires at once; with ``within`` once in so many seconds at most."""
    resource = ["prefect.resource.id"] if each else []
    posture = {"type": "event", "posture": "Reactive", "threshold": 1, "within": within, "for_each": resource}
    return {**posture, "match": dict(match), "expect": [event]}


def _patience() -> float:
    beat = float(os.environ.get("PREFECT_FLOWS_HEARTBEAT_FREQUENCY") or _BEAT_SECONDS)
    return max(_BEATS * beat, _LEAST_SILENCE_SECONDS)


def _silence(after: str, wanted: str, seconds: float) -> dict[str, Any]:
    """Fires where a flow run, after one event, shows neither another one nor its end for so long."""
    return {
        "type": "event",
        "posture": "Proactive",
        "match": {"prefect.resource.id": "prefect.flow-run.*"},
        "after": [f"prefect.flow-run.{after}"],
        "expect": [f"prefect.flow-run.{wanted}", *_ENDS],
        "for_each": ["prefect.resource.id"],
        "threshold": 1,
        "within": seconds,
    }


def _run(prefect: PrefectApi, name: str, parameters: Mapping[str, Any], *, after: int = 0) -> dict[str, Any]:
    deployment = prefect.send("GET", f"/deployments/name/{name}/{name}")
    action = {"type": "run-deployment", "source": "selected", "deployment_id": deployment["id"]}
    return {**action, "parameters": dict(parameters), "schedule_after": after}


def _notify(block_id: str) -> dict[str, Any]:
    subject = "Training run {{ event.resource.name }} failed"
    body = "{{ event.resource['mp.vendor'] }}, {{ event.resource['mp.run.provider'] }}: {{ event.payload.failure }}"
    return {"type": "send-notification", "block_document_id": block_id, "subject": subject, "body": body}


def _block_id(prefect: PrefectApi, block: str) -> str:
    kind, _, name = block.partition("/")
    if not kind or not name:
        raise InvalidInputError(f"{block!r} names no block.", hint="Say type/name, such as slack-webhook/ops.")
    return str(prefect.send("GET", f"/block_types/slug/{kind}/block_documents/name/{name}")["id"])
