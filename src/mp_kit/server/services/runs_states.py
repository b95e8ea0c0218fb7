"""A run's states, its lettered transitions, and the pure decision about what to do next (``docs/runs.md``).

1. ``decide`` knows no database, no provider and no clock: everything comes in as arguments.
2. A transition exists only if it is in ``TRANSITIONS``; ``Transition.leaves`` says from where it may start.
3. What costs money is never left behind: a run is final only when the provider says that nothing of it is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from mp_kit.server.providers.base import Observed, Phase

__all__ = ["FINAL", "TRANSITIONS", "Act", "Limits", "RunFacts", "State", "Step", "Transition", "decide"]


class State(StrEnum):
    """The eight states of a run."""

    QUEUED = "queued"  # ordered; nothing exists yet
    LAUNCHING = "launching"  # the provider is or was asked; no sign of life yet
    RUNNING = "running"  # the job has sent a heartbeat
    FINISHING = "finishing"  # the outcome is known; what it ran on may still exist
    SUCCEEDED = "succeeded"  # final: outcome good, nothing left
    FAILED = "failed"  # final: outcome bad, nothing left
    CANCELLING = "cancelling"  # its vendor wants it ended; what it runs on may still exist
    CANCELLED = "cancelled"  # final: ended on its vendor's wish, nothing left


FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})
"""Nothing happens after these."""

Outcome = Literal["succeeded", "failed", "cancelled"]


@dataclass(frozen=True)
class Transition:
    """An arrow of the state machine.

    Attributes:
        letter: Its name in ``docs/runs.md``.
        leaves: The states that it may start from.
        to: The state that it leads to.
        means: What happened.
    """

    letter: str
    leaves: frozenset[State]
    to: State
    means: str


def _arrows(*rows: tuple[str, tuple[State, ...], State, str]) -> Mapping[str, Transition]:
    return {letter: Transition(letter, frozenset(leaves), to, means) for letter, leaves, to, means in rows}


_Q, _L, _R, _F, _C = State.QUEUED, State.LAUNCHING, State.RUNNING, State.FINISHING, State.CANCELLING

TRANSITIONS = _arrows(
    ("a", (_Q,), _L, "The supervisor took the run; the attempt is counted before the provider is asked."),
    ("b", (_L,), _R, "The job sent its first heartbeat."),
    ("c", (_L,), _Q, "The provider has no place for it now; it is tried again later."),
    ("d", (_L,), State.FAILED, "It could not be launched; nothing was started."),
    ("e", (_R,), _F, "The job told its outcome."),
    ("f", (_L, _R), _F, "It is overdue, silent or stopped; it counts as failed and is being ended."),
    ("g", (_L, _R), State.FAILED, "It is gone and told no outcome."),
    ("h", (_L, _R), _F, "It is gone; its outcome was read from what it left behind."),
    ("i", (_F,), State.SUCCEEDED, "Nothing of it is left, and its outcome was good."),
    ("j", (_F,), State.FAILED, "Nothing of it is left, and its outcome was bad."),
    ("k", (_F,), State.CANCELLED, "Nothing of it is left; it had been told to stop."),
    ("l", (_Q,), State.CANCELLED, "Its vendor cancelled it before anything was started."),
    ("m", (_L, _R), _C, "Its vendor cancelled it; it is being ended."),
    ("n", (_C,), State.CANCELLED, "Nothing of the cancelled run is left."),
)
"""Every arrow there is, by letter."""

_SETTLES: Mapping[Outcome, str] = {"succeeded": "i", "failed": "j", "cancelled": "k"}


class Act(StrEnum):
    """What the supervisor does with the provider."""

    WAIT = "wait"
    LAUNCH = "launch"
    FIND = "find"  # a launch was begun and no handle was stored: did it start something?
    TERMINATE = "terminate"


@dataclass(frozen=True)
class RunFacts:
    """What a decision needs to know of a run.

    Attributes:
        state: Its state.
        launched: The provider's handle is stored.
        outcome: How it ended, once that is known.
        launching_since: When the present attempt began.
        deadline: When its budget of hours is over.
        heartbeat_at: When the job was last heard: a heartbeat, or its outcome.
        cancel_requested_at: When its vendor cancelled it.
    """

    state: State
    launched: bool = False
    outcome: Outcome | None = None
    launching_since: datetime | None = None
    deadline: datetime | None = None
    heartbeat_at: datetime | None = None
    cancel_requested_at: datetime | None = None


@dataclass(frozen=True)
class Step:
    """What to do now.

    Attributes:
        act: What to ask of the provider, after the transition is stored.
        letter: The transition to make; None for none.
        failure: One sentence, for a transition to a bad end.
        look_in: Seconds until the run is worth another look.
        uncounted: Of ``c``: nothing was ordered under this attempt, whose number the next one has again.
    """

    act: Act = Act.WAIT
    letter: str | None = None
    failure: str | None = None
    look_in: float = 2.0
    uncounted: bool = False


LAUNCH_PATIENCE = timedelta(minutes=30)
"""From the provider's yes to the first heartbeat: placing and pulling the image is in it."""

SILENCE = timedelta(minutes=30)
"""Without a heartbeat for this long a job is given up: longer than any outage of the edge that jobs must survive."""

OVERDUE_GRACE = timedelta(seconds=60)
"""The job's own watchdog has this long before the supervisor steps in."""

STOPPED_PATIENCE = timedelta(seconds=60)
"""A machine that has stopped is given up when its job was not heard for this long: an outcome may be on its way."""

SOFT_END = timedelta(seconds=10)
"""A job that is told to stop, or has told its outcome, has this long to end by itself."""


@dataclass(frozen=True)
class Limits:
    """How long a run may do what; rehearsals have shorter ones.

    Attributes:
        launch: From the provider's yes to the first heartbeat.
        silence: Without a heartbeat.
        overdue: Behind the deadline, for the job's own watchdog.
        stopped: On a machine that has stopped, without being heard.
        soft_end: To end by itself, once it was told to stop or has told its outcome.
    """

    launch: timedelta = LAUNCH_PATIENCE
    silence: timedelta = SILENCE
    overdue: timedelta = OVERDUE_GRACE
    stopped: timedelta = STOPPED_PATIENCE
    soft_end: timedelta = SOFT_END


_LIMITS = Limits()


def decide(run: RunFacts, observed: Observed | None, now: datetime, limits: Limits = _LIMITS) -> Step:
    """What to do with a run.

    Args:
        run: What is stored of it.
        observed: What the provider sees; None if it was not asked or could not tell.
        now: An aware instant.
        limits: How long a run may do what.

    Returns:
        The step; a run that only has to go on gets one that waits.
    """
    phase = observed.phase if observed else Phase.UNKNOWN
    if run.state in FINAL:
        return Step()
    if run.state is State.QUEUED:
        return Step(Act.LAUNCH, "a")
    if run.state in {State.FINISHING, State.CANCELLING}:
        return _ending(run, phase, now, limits)
    return _alive(run, observed, now, limits)


def _ending(run: RunFacts, phase: Phase, now: datetime, limits: Limits) -> Step:
    if not run.launched:
        return Step(Act.FIND)
    if phase is Phase.GONE:
        return Step(letter=settling(run))
    return Step(Act.WAIT if _ends_softly(run, now, limits.soft_end) else Act.TERMINATE, look_in=0.5)


def settling(run: RunFacts) -> str:
    """The letter that ends a run of which nothing is left."""
    return "n" if run.state is State.CANCELLING else _SETTLES[run.outcome or "failed"]


def _ends_softly(run: RunFacts, now: datetime, limit: timedelta) -> bool:
    """A job that is heard gets a moment to end by itself; one that never spoke has nobody to ask."""
    since = run.cancel_requested_at if run.state is State.CANCELLING else run.heartbeat_at
    return run.heartbeat_at is not None and since is not None and now - since < limit


def _alive(run: RunFacts, observed: Observed | None, now: datetime, limits: Limits) -> Step:
    failure = _overdue(run, now, limits) or _stopped(run, observed, now, limits.stopped)
    if not run.launched:
        return Step(letter="f", failure=failure) if failure else Step(Act.FIND)
    if observed and observed.phase is Phase.GONE:
        return _gone(observed)
    if failure:
        return Step(Act.TERMINATE, "f", failure, look_in=0.5)
    return Step(look_in=1.0 if run.state is State.LAUNCHING else 2.0)


def _gone(observed: Observed) -> Step:
    if observed.outcome:
        return Step(letter="h", look_in=0.0)
    code = "" if observed.exit_code is None else f" with exit code {observed.exit_code}"
    detail = f" Its last words: {observed.detail}" if observed.detail else ""
    return Step(letter="g", failure=f"The job ended{code} and told no outcome.{detail}")


def _stopped(run: RunFacts, observed: Observed | None, now: datetime, limit: timedelta) -> str | None:
    """Its main process has ended and its machine still costs money."""
    heard = run.heartbeat_at or run.launching_since
    if observed is None or observed.phase is not Phase.EXITED or heard is None or now - heard <= limit:
        return None
    return f"The job's machine has stopped, and the job told no outcome. {observed.detail}".strip()


def _overdue(run: RunFacts, now: datetime, limits: Limits) -> str | None:
    if run.deadline and now > run.deadline + limits.overdue:
        return "The hours of the budget are used up; the job was ended."
    if run.state is State.LAUNCHING and run.launching_since and now - run.launching_since > limits.launch:
        return f"The job gave no sign of life within {limits.launch.seconds // 60} minutes of its launch."
    if run.state is State.RUNNING and run.heartbeat_at and now - run.heartbeat_at > limits.silence:
        return f"The job was silent for {limits.silence.seconds // 60} minutes."
    return None
