"""What a job tells about its own run: heartbeats, log lines, artifacts, the outcome.

The caller is known by its run token: ``run_id`` is the token's subject, nothing else. Each verb may be repeated.
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
    RunHeartbeat,
    RunOrders,
    RunOutcome,
)
from mp_kit.errors import ConflictError, NotFoundError
from mp_kit.server.services.runs_moves import cost_so_far, move
from mp_kit.server.services.runs_states import FINAL, State
from mp_kit.server.storage import STAGED, ObjectStore, UploadBound
from mp_kit.server.store import runs as rows
from mp_kit.server.store.engine import Tx
from mp_kit.trainer.report import clean

__all__ = ["append_logs", "artifact_key", "finish", "heartbeat", "register_artifact"]

UPLOAD_TTL = timedelta(minutes=15)
HEARTBEAT_SECONDS: Mapping[str, float] = {"local": 2.0}
_HEARTBEAT_SECONDS = 10.0
_ALIVE = frozenset({State.LAUNCHING, State.RUNNING})


def heartbeat(tx: Tx, run_id: str, beat: RunHeartbeat, *, now: datetime) -> RunOrders:
    """Takes a sign of life; the first one makes the run ``running``.

    Args:
        tx: The caller's transaction.
        run_id: Of the run token.
        beat: Progress so far.
        now: An aware instant.

    Returns:
        Whether to go on, until when, and when to report again. A run that is cancelled or over is told to stop.

    Raises:
        NotFoundError: No such run.
    """
    row = _locked(tx, run_id)
    pause = HEARTBEAT_SECONDS.get(row.provider, _HEARTBEAT_SECONDS)
    if State(row.state) not in _ALIVE:
        return RunOrders(command="stop", deadline=row.deadline_at, heartbeat_seconds=pause)
    if State(row.state) is State.LAUNCHING:
        move(tx, row, "b", now, values={"started_at": row.started_at or now})
    progress = {"step": beat.step, "total_steps": beat.total_steps, "started_count": beat.started_count}
    rows.change(
        tx,
        run_id,
        {
            "last_heartbeat_at": now,
            "progress": {**row.progress, **progress},
            "metrics": {**row.metrics, **_tidy(beat.metrics)},
            "cost_usd": cost_so_far(row, now),
        },
    )
    return RunOrders(command="continue", deadline=row.deadline_at, heartbeat_seconds=pause)


def append_logs(tx: Tx, run_id: str, chunk: LogChunk) -> int:
    """Stores log lines exactly once, without gaps.

    Args:
        tx: The caller's transaction.
        run_id: Of the run token.
        chunk: Numbered lines. One that begins beyond the next number is not stored; an empty one only asks.

    Returns:
        The number of the line that is wanted next.

    Raises:
        NotFoundError: No such run.
    """
    _locked(tx, run_id)
    wanted = rows.next_log_number(tx, run_id)
    ends = chunk.seq + len(chunk.lines)
    if chunk.seq > wanted or ends <= wanted:
        return wanted
    rows.append_logs(tx, run_id, chunk)
    return ends


def register_artifact(
    tx: Tx, run_id: str, request: ArtifactRequest, *, store: ObjectStore, now: datetime
) -> ArtifactTarget:
    """Notes an artifact and says where to PUT exactly its bytes.

    Raises:
        NotFoundError: No such run.
        ConflictError: The run is over.
    """
    row = _locked(tx, run_id)
    if State(row.state) in FINAL:
        raise ConflictError(f"Run {run_id} is {row.state}: it takes no more artifacts.")
    key = artifact_key(run_id, request.name)
    if not store.binds_uploads:
        key = f"{STAGED}/{key}"
    expires_at = now.replace(microsecond=0) + UPLOAD_TTL
    url = store.presign("PUT", key, expires_at, UploadBound(request.size_bytes, request.sha256))
    rows.upsert_artifact(tx, {"run_id": run_id, "object_key": key, **request.model_dump()})
    return ArtifactTarget(name=request.name, url=url, expires_at=expires_at)


def artifact_key(run_id: str, name: str) -> str:
    """Where a run's artifact lies. By run, never by content: a hash must not open somebody else's file."""
    return f"runs/{run_id}/{name}"


def finish(
    tx: Tx, run_id: str, outcome: RunOutcome, *, store: ObjectStore, now: datetime, left_behind: bool = False
) -> None:
    """Takes a job's outcome; a second one changes nothing.

    Args:
        tx: The caller's transaction.
        run_id: Of the run token.
        outcome: How it ended, with what it measured and uploaded.
        store: Where the artifacts must lie by now.
        now: An aware instant.
        left_behind: The outcome was not told, but read from what the job left behind.

    Raises:
        NotFoundError: No such run.
        ConflictError: An artifact that the outcome names was never uploaded.
    """
    row = _locked(tx, run_id)
    state = State(row.state)
    if state in FINAL or row.progress.get("outcome"):
        return
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
    files = _confirmed(tx, row.id, outcome, store, now)
    return {
        "metrics": {**row.metrics, **_tidy(outcome.metrics)},
        "artifacts": {"files": files},
        "exit_code": outcome.exit_code,
        "failure": _failure(outcome),
        "progress": {**row.progress, "outcome": outcome.status},
        "last_heartbeat_at": now,
    }


def _failure(outcome: RunOutcome) -> str | None:
    if outcome.status != "failed":
        return None
    return str(_tidy(outcome.failure or "The job failed and gave no reason; its log may."))


def _confirmed(tx: Tx, run_id: str, outcome: RunOutcome, store: ObjectStore, now: datetime) -> list[dict[str, Any]]:
    known = {row.name: row for row in rows.list_artifacts(tx, run_id)}
    for artifact in outcome.artifacts:
        row = known.get(artifact.name)
        if row is None or row.sha256 != artifact.sha256 or not _taken_in(store, row):
            raise ConflictError(
                f"The artifact {artifact.name!r} of run {run_id} was never uploaded as announced.",
                hint="Announce it, PUT its bytes to the given URL, then send the outcome again.",
            )
    rows.confirm_artifacts(tx, run_id, [artifact.name for artifact in outcome.artifacts], now)
    return [artifact.model_dump() for artifact in outcome.artifacts]


def _taken_in(store: ObjectStore, row: Row[Any]) -> bool:
    """Whether the announced bytes lie where the artifact is given out."""
    key = artifact_key(row.run_id, row.name)
    try:
        if row.object_key == key:
            return bool(store.stat(key).size_bytes == row.size_bytes)
        return _promoted(store, row, key)
    except NotFoundError:
        return False


def _promoted(store: ObjectStore, row: Row[Any], key: str) -> bool:
    """Moves a staged upload; copied first and checked then, because its signed URL may still be written to."""
    try:
        if store.stat(row.object_key).size_bytes != row.size_bytes:
            return False
        store.copy(row.object_key, key)
    except NotFoundError:
        pass  # it was moved before, in a transaction that did not last: the digest tells
    if store.digest(key) != str(row.sha256):
        store.delete(key)
        return False
    store.delete(row.object_key)
    return True


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
