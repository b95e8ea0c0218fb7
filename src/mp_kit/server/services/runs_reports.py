"""What a job tells about its own run: heartbeats, log lines, artifacts, the outcome.

1. The caller is known by its run token: run and attempt are the token's, nothing else. Each verb may be repeated, and
   an attempt that was given up is heard no more.
2. What a job may leave behind is bounded: names and bytes of metrics, bytes of log, number of artifacts.
3. An outcome closes the run's artifacts at once, and its log a quarter of an hour after the run is final.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row

from mp_kit.contracts.training import (
    ArtifactRequest,
    ArtifactTarget,
    LogChunk,
    LogChunkLine,
    RunHeartbeat,
    RunOrders,
    RunOutcome,
)
from mp_kit.errors import ConflictError, NotFoundError, TooLargeError
from mp_kit.server.redaction import redact
from mp_kit.server.services import runs_artifacts
from mp_kit.server.services.money import CHARGING
from mp_kit.server.services.runs_artifacts import artifact_key
from mp_kit.server.services.runs_files import job_files
from mp_kit.server.services.runs_moves import cost_so_far, move
from mp_kit.server.services.runs_states import FINAL, State
from mp_kit.server.storage import ObjectStore
from mp_kit.server.store import runs as rows
from mp_kit.server.store.engine import Tx
from mp_kit.trainer.limits import merged
from mp_kit.trainer.report import clean

__all__ = ["LOG_GRACE", "MAX_LOG_BYTES", "append_logs", "artifact_key", "finish", "heartbeat", "register_artifact"]

HEARTBEAT_SECONDS: Mapping[str, float] = {"local": 2.0}
_HEARTBEAT_SECONDS = 10.0

LOG_GRACE = timedelta(minutes=15)
"""A run that is over still takes log lines for this long: those that an outage held up."""

MAX_LOG_BYTES = 64 << 20
"""Text of a run's log. The wrapper stops at half of it, so this is met by jobs that speak for themselves."""

_LONGEST_NAME = 200
_ALIVE = frozenset({State.LAUNCHING, State.RUNNING})


def heartbeat(
    tx: Tx,
    run_id: str,
    beat: RunHeartbeat,
    *,
    now: datetime,
    store: ObjectStore | None = None,
    attempt: int | None = None,
) -> RunOrders:
    """Takes a sign of life; the first one makes the run ``running``.

    Args:
        tx: The caller's transaction.
        run_id: Of the run token.
        beat: Progress so far. Metrics beyond the bounds of :mod:`mp_kit.trainer.limits` are left out and counted.
        now: An aware instant.
        store: Signs fresh URLs of the round's files, for a job that asks for them.
        attempt: Of the run token.

    Returns:
        Whether to go on, until when, and when to report again. A run that is cancelled or over is told to stop, and
        so is the job of an attempt that was given up.

    Raises:
        NotFoundError: No such run.
    """
    row = _locked(tx, run_id)
    pause = HEARTBEAT_SECONDS.get(row.provider, _HEARTBEAT_SECONDS)
    if State(row.state) not in _ALIVE or _is_given_up(row, attempt):
        return RunOrders(command="stop", deadline=row.deadline_at, heartbeat_seconds=pause)
    if State(row.state) is State.LAUNCHING:
        move(tx, row, "b", now, values={"started_at": row.started_at or now})
    metrics, left_out = merged(row.metrics, _tidy(beat.metrics))
    values = {
        "last_heartbeat_at": now,
        "progress": row.progress | _progress(beat, left_out),
        "metrics": metrics,
        "cost_usd": cost_so_far(row, now),
    }
    rows.change(tx, run_id, values)
    urls = None
    if beat.renew_urls and store is not None:
        urls = job_files(tx, store, run_id=run_id, vendor_id=row.vendor_id, round_id=row.round_id)
    return RunOrders(command="continue", deadline=row.deadline_at, heartbeat_seconds=pause, dataset_urls=urls)


def _progress(beat: RunHeartbeat, left_out: int) -> dict[str, Any]:
    progress: dict[str, Any] = {"step": beat.step, "total_steps": beat.total_steps, "started_count": beat.started_count}
    if beat.machine_ref is not None:
        progress["machine_ref"] = _tidy(beat.machine_ref)
    if beat.machine is not None:
        progress["machine"] = _tidy(beat.machine.model_dump(mode="json"))
    return progress | ({"metrics_left_out": left_out} if left_out else {})


def append_logs(tx: Tx, run_id: str, chunk: LogChunk, *, now: datetime, attempt: int | None = None) -> int:
    """Stores log lines exactly once, without gaps.

    Args:
        tx: The caller's transaction.
        run_id: Of the run token.
        chunk: Numbered lines. One that begins beyond the next number is not stored; an empty one only asks.
        now: An aware instant.
        attempt: Of the run token.

    Returns:
        The number of the line that is wanted next.

    Raises:
        NotFoundError: No such run.
        ConflictError: The run has been over for too long, or the attempt was given up.
        TooLargeError: The run's log has its largest size; a line of the system's says so at its end.
    """
    row = _reporting(tx, run_id, attempt)
    wanted = rows.next_log_number(tx, run_id)
    ends = chunk.seq + len(chunk.lines)
    if chunk.seq > wanted or ends <= wanted:
        return wanted
    _check_log_open(row, now)
    chunk = chunk.model_copy(update={"lines": [_redacted(line) for line in chunk.lines]})
    rows.append_logs(tx, run_id, chunk)
    size = row.progress.get("log_bytes", 0) + sum(len(line.text.encode()) + 1 for line in chunk.lines)
    rows.change(tx, run_id, {"progress": {**row.progress, "log_bytes": size}})
    if size < MAX_LOG_BYTES:
        return ends
    note = f"The log ends here: the marketplace keeps {MAX_LOG_BYTES >> 20} MiB of a run's log."
    rows.append_logs(tx, run_id, LogChunk(seq=ends, lines=[LogChunkLine(at=now, stream="system", text=note)]))
    return ends + 1


def _redacted(line: LogChunkLine) -> LogChunkLine:
    """Our own wrapper masks what it knows; a job that reports by itself may print its whole environment."""
    text = redact(line.text)
    return line if text == line.text else line.model_copy(update={"text": text})


def _check_log_open(row: Row[Any], now: datetime) -> None:
    if State(row.state) in FINAL and now - row.finished_at > LOG_GRACE:
        minutes = int(LOG_GRACE.total_seconds() // 60)
        raise ConflictError(f"Run {row.id} has been {row.state} for over {minutes} minutes: its log is closed.")
    if row.progress.get("log_bytes", 0) >= MAX_LOG_BYTES:
        raise TooLargeError(f"The log of run {row.id} has its largest size, {MAX_LOG_BYTES >> 20} MiB.")


def register_artifact(
    tx: Tx,
    run_id: str,
    request: ArtifactRequest,
    *,
    store: ObjectStore,
    now: datetime,
    attempt: int | None = None,
) -> ArtifactTarget:
    """Notes an artifact and says where to PUT exactly its bytes; see :mod:`.runs_artifacts`.

    Raises:
        NotFoundError: No such run.
        ConflictError: The run's outcome is known, it has announced too many, or the attempt was given up.
    """
    return runs_artifacts.announce(tx, _reporting(tx, run_id, attempt), request, store=store, now=now)


def finish(
    tx: Tx,
    run_id: str,
    outcome: RunOutcome,
    *,
    store: ObjectStore,
    now: datetime,
    left_behind: bool = False,
    attempt: int | None = None,
) -> None:
    """Takes a job's outcome; a second one changes nothing.

    Args:
        tx: The caller's transaction.
        run_id: Of the run token.
        outcome: How it ended, with what it measured and uploaded.
        store: Where the artifacts must lie by now.
        now: An aware instant.
        left_behind: The outcome was not told, but read from what the job left behind.
        attempt: Of the run token.

    Raises:
        NotFoundError: No such run.
        ConflictError: An artifact that the outcome names was never uploaded, or the attempt was given up.
    """
    row = _reporting(tx, run_id, attempt)
    state = State(row.state)
    if state in FINAL or row.progress.get("outcome"):
        return
    outcome = _seen_from_outside(row, outcome)
    values = _outcome_values(tx, row, outcome, store, now)
    detail = {"outcome": outcome.status, "exit_code": outcome.exit_code}
    if state is State.LAUNCHING and not left_behind:
        move(tx, row, "b", now, values={"started_at": row.started_at or now})
        row = _locked(tx, run_id)
    if State(row.state) in _ALIVE:
        move(tx, row, "h" if left_behind else "e", now, values=values, detail=detail)
    else:
        rows.change(tx, run_id, values)
        rows.add_event(tx, run_id, "outcome", at=now, detail=detail)
    rows.wake(tx, run_id)


def _outcome_values(tx: Tx, row: Row[Any], outcome: RunOutcome, store: ObjectStore, now: datetime) -> dict[str, Any]:
    files = runs_artifacts.confirm(tx, row.id, outcome, store, now)
    metrics, left_out = merged(row.metrics, _tidy(outcome.metrics))
    extra: dict[str, Any] = {"metrics_left_out": left_out} if left_out else {}
    if outcome.machine_ref is not None:
        extra["machine_ref"] = _tidy(outcome.machine_ref)
    return {
        "metrics": metrics,
        "artifacts": {"files": files, **_published(outcome)},
        "exit_code": outcome.exit_code,
        "failure": _failure(outcome),
        "progress": {**row.progress, **extra, "outcome": outcome.status},
        "last_heartbeat_at": now,
    }


def _published(outcome: RunOutcome) -> dict[str, str]:
    """Where the job pushed its model to, which it tells among its metrics."""
    told = {"hf_repo": outcome.metrics.get("hf_repo"), "commit": outcome.metrics.get("hf_commit")}
    return {name: str(_tidy(value))[:_LONGEST_NAME] for name, value in told.items() if isinstance(value, str)}


def _failure(outcome: RunOutcome) -> str | None:
    if outcome.status != "failed":
        return None
    return str(_tidy(outcome.failure or "The job failed and gave no reason; its log may."))


def _seen_from_outside(row: Row[Any], outcome: RunOutcome) -> RunOutcome:
    """A job on a provider's machine that was stopped, and not by its vendor's cancel, has failed."""
    if outcome.status != "cancelled" or row.cancel_requested_at or row.provider not in CHARGING:
        return outcome
    why = "The job was stopped from outside: its machine was ended by the provider, or at the provider's console."
    return outcome.model_copy(update={"status": "failed", "failure": why})


def _is_given_up(row: Row[Any], attempt: int | None) -> bool:
    """What an earlier launch started may live on for a while; it speaks for the run no more."""
    return attempt is not None and (attempt != row.attempt or State(row.state) is State.QUEUED)


def _reporting(tx: Tx, run_id: str, attempt: int | None) -> Row[Any]:
    row = _locked(tx, run_id)
    if _is_given_up(row, attempt):
        raise ConflictError(f"Attempt {attempt} of run {run_id} was given up; it can report nothing any more.")
    return row


def _locked(tx: Tx, run_id: str) -> Row[Any]:
    row = rows.find(tx, run_id, lock=True)
    if row is None:
        raise NotFoundError(f"There is no run {run_id}.")
    return row


def _tidy(value: Any) -> Any:
    """A JSON value as Postgres takes it: finite numbers, no NUL characters."""
    if isinstance(value, Mapping):
        return {str(_tidy(key)): _tidy(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_tidy(item) for item in value]
    return value.replace("\x00", "") if isinstance(value, str) else clean(value)
