"""What a job remembers on disk, so that a restart of its container neither renews its budget nor trains twice.

1. The first start fixes the deadline; later starts may only move it forward in time to an earlier instant. It stands
   there on two clocks, see :mod:`mp_kit.trainer.watchdog`.
2. Each start is counted before anything else happens.
3. The outcome is written before it is sent; a restarted wrapper that finds one only delivers it.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from mp_kit.contracts.training import RunOutcome
from mp_kit.trainer.environment import JobEnv
from mp_kit.trainer.watchdog import boot_clock, boot_id

__all__ = ["Exit", "JobState", "RunFolder", "process_start", "write_json"]

_START_FIELD = 19  # of /proc/PID/stat behind the command's name: start time in clock ticks since boot


@dataclass(frozen=True)
class JobState:
    """Counters of a job.

    Attributes:
        starts: Times the wrapper was started.
        first_started_at: When it was started first.
        deadline: When the job has to be over; None for no bound.
        boot: Which boot of the machine ``boot_end`` speaks of.
        boot_end: The deadline in seconds since that boot.
    """

    starts: int
    first_started_at: datetime
    deadline: datetime | None
    boot: str = ""
    boot_end: float | None = None


@dataclass(frozen=True)
class Exit:
    """A job's end as its folder tells it.

    Attributes:
        outcome: What the job says about itself.
        delivered: The marketplace has it.
    """

    outcome: RunOutcome
    delivered: bool


class RunFolder:
    """The files of one run.

    Args:
        path: The folder; made if missing, readable by its owner only.
    """

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = path
        self.artifacts = path / "artifacts"
        self.data = path / "data"
        self.report = path / "report.jsonl"
        self.logs = path / "logs.jsonl"
        self.log_base = path / "logs.base"
        self.urls = path / "urls.json"
        self._state = path / "state.json"
        self._exit = path / "exit.json"
        self._trained = path / "trained.json"

    def count_start(self, env: JobEnv, now: datetime) -> JobState:
        """Counts a start and fixes the deadline at the first one.

        Args:
            env: The job's environment.
            now: An aware instant.

        Returns:
            The state, which is on disk by then.
        """
        known = _read_json(self._state)
        state = JobState(
            starts=known["starts"] + 1 if known else 1,
            first_started_at=datetime.fromisoformat(known["first_started_at"]) if known else now,
            deadline=_earliest(datetime.fromisoformat(known["deadline"]) if known and known["deadline"] else None),
        )
        state = replace(state, deadline=_earliest(state.deadline, env.deadline, _budget_end(env, state)))
        state = _on_boot_clock(state, known, now)
        process = self.path / "process.json"
        me = {"pid": os.getpid(), "start": process_start(os.getpid())}
        write_json(process, (_read_json(process) or {}) | me)
        write_json(self._state, {key: _text(value) for key, value in asdict(state).items()})
        return state

    def note_trained(self) -> None:
        """Notes that the command has ended well: from here on only its artifacts and its outcome are missing."""
        write_json(self._trained, {"exit_code": 0})

    def has_trained(self) -> bool:
        """Whether the command has ended well before."""
        return self._trained.exists()

    def save_exit(self, outcome: RunOutcome, *, delivered: bool) -> None:
        """Writes the outcome down."""
        write_json(self._exit, {"delivered": delivered, "outcome": outcome.model_dump(mode="json")})

    def read_exit(self) -> Exit | None:
        """The outcome, if the job has ended."""
        known = _read_json(self._exit)
        return Exit(RunOutcome.model_validate(known["outcome"]), known["delivered"]) if known else None


def write_json(path: Path, document: Any) -> None:
    """Writes a JSON file so that a crash leaves the old one or the new one, never half of one."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with aside.open("w") as handle:
        json.dump(document, handle)
        handle.flush()
        os.fsync(handle.fileno())
    aside.replace(path)


def process_start(pid: int) -> int:
    """When a process was started, in clock ticks since boot: with the pid, it names a process for good.

    Returns:
        The ticks; 0 where the system has no ``/proc``, -1 if there is no such process.
    """
    if not Path("/proc/self/stat").exists():
        return 0
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return -1
    return int(text.rpartition(")")[2].split()[_START_FIELD])


def _read_json(path: Path) -> dict[str, Any] | None:
    return dict(json.loads(path.read_text())) if path.exists() else None


def _budget_end(env: JobEnv, state: JobState) -> datetime | None:
    hours = env.spec.budget.max_hours
    return state.first_started_at + timedelta(hours=hours) if hours else None


def _on_boot_clock(state: JobState, known: dict[str, Any] | None, now: datetime) -> JobState:
    """Adds the deadline on the clock that nobody sets; what an earlier start of this boot noted there stays."""
    if state.deadline is None:
        return state
    end, boot = boot_clock() + (state.deadline - now).total_seconds(), boot_id()
    if boot and known and known.get("boot") == boot and known.get("boot_end") is not None:
        end = min(end, float(known["boot_end"]))
    return replace(state, boot=boot, boot_end=end)


def _earliest(*ends: datetime | None) -> datetime | None:
    return min((end for end in ends if end), default=None)


def _text(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
