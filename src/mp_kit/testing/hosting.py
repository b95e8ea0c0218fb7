"""The fake's servers: no process, only the states that looks at them show, and words for how they stand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from mp_kit import errors
from mp_kit.contracts import Deployment, DeploymentChange, DeploymentRequest, Hosting, HostingState, Liveness

_ONLINE_SECONDS = 60.0
_DEGRADED_SECONDS = 150.0
_RESTING = frozenset({HostingState.STOPPED, HostingState.FAILED})
_ENDS = {"stopped": HostingState.STOPPED, "removed": HostingState.REMOVED}


def is_hosted(wanted: DeploymentRequest) -> bool:
    """Whether the marketplace runs the server: on RunPod always, here where there is a model to run."""
    return wanted.provider == "runpod" or (wanted.provider == "local" and wanted.model_id is not None)


def ordered(wanted: DeploymentRequest, state: HostingState) -> Hosting:
    """A server that was ordered just now."""
    kind = "endpoint" if wanted.provider == "runpod" else "process"
    limits = {"workers_min": wanted.workers_min, "workers_max": wanted.workers_max}
    return Hosting.model_validate({"kind": kind, "state": state, "wanted": "running", **limits})


def changed(hosting: Hosting, change: DeploymentChange) -> Hosting:
    """What is wanted from now on.

    Raises:
        ConflictError: It is removed, or is to be.
        InvalidInputError: Fewest workers above most.
    """
    if hosting.wanted == "removed" and change.wanted != "removed":
        raise errors.ConflictError("The deployment is removed.", hint="Deploy anew: mp deploy.")
    update = change.model_dump(exclude_none=True)
    found = hosting.model_copy(update=update)
    if found.workers_min > found.workers_max:
        raise errors.InvalidInputError(f"workers_min {found.workers_min} is above workers_max {found.workers_max}.")
    if found.state in _RESTING and change.wanted == "running":
        return found.model_copy(update={"state": HostingState.QUEUED, "failure": None})
    if found.state in _RESTING and change.wanted == "removed":
        return found.model_copy(update={"state": HostingState.REMOVED})
    return found


def looked(hosting: Hosting, states: Sequence[HostingState], at: int, now: datetime) -> Hosting:
    """What the next look shows: on its way to run, or, if another end is wanted, ending and then ended."""
    if hosting.state is HostingState.REMOVED or (hosting.state in _RESTING and hosting.wanted != "removed"):
        return hosting
    if hosting.wanted != "running":
        state = _ENDS[hosting.wanted] if hosting.state is HostingState.ENDING else HostingState.ENDING
        return hosting.model_copy(update={"state": state, "workers": {}})
    state = states[min(at, len(states) - 1)]
    update: dict[str, object] = {"state": state}
    if state is HostingState.FAILED:
        update["failure"] = "The test said so."
    if state is HostingState.RUNNING:
        workers = {"running": _alive(hosting), "total": _alive(hosting)}
        told = f"{workers['running']} running" if workers["total"] else "no worker"
        since = hosting.launched_at or now
        update |= {"workers": workers, "detail": told, "launched_at": since, "attempt": max(1, hosting.attempt)}
    return hosting.model_copy(update=update)


def speaks(hosting: Hosting) -> bool:
    """Whether a server says that it lives: an endpoint that may sleep is asked by nobody here."""
    return hosting.state is HostingState.RUNNING and _alive(hosting) > 0


def stands(known: Deployment, now: datetime) -> Deployment:
    """How a deployment stands at an instant, in words too."""
    age = None if known.last_heartbeat_at is None else (now - known.last_heartbeat_at).total_seconds()
    alive = _liveness(age)
    hosting = known.hosting
    if hosting is not None and hosting.state is not HostingState.RUNNING:
        words = f"{known.name} is {hosting.state.value}" + (f": {hosting.failure}" if hosting.failure else "") + "."
    elif hosting is not None and not _alive(hosting):
        words = f"{known.name} sleeps: it has no worker until somebody asks it."
    elif age is None:
        words = f"{known.name} has not been heard of yet."
    else:
        words = f"{known.name} is {alive.value}; the last heartbeat, {age:.0f} s ago, said {known.status.value}."
    return known.model_copy(update={"liveness": alive, "words": words})


def _alive(hosting: Hosting) -> int:
    return hosting.workers_min if hosting.kind == "endpoint" else 1


def _liveness(age: float | None) -> Liveness:
    if age is None:
        return Liveness.SILENT
    if age <= _ONLINE_SECONDS:
        return Liveness.ONLINE
    return Liveness.DEGRADED if age <= _DEGRADED_SECONDS else Liveness.OFFLINE
