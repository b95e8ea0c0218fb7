"""Artifacts of runs: announced, uploaded past us to the store, and taken in only as what was announced.

1. A run's artifact lies by run, never by content: a hash must not open somebody else's file.
2. Where the store cannot bind an upload, it lies in ``staged/`` under its SHA-256 until it was copied and checked.
3. Announcing again is always right: it renews URLs, and tells which parts of a large upload are missing.
4. Once a run's outcome is known, nothing is announced and nothing is uploaded any more.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row

from mp_kit.contracts.training import (
    ArtifactAnnouncement,
    ArtifactRequest,
    ArtifactTarget,
    PartPlan,
    PartTarget,
    RunOutcome,
)
from mp_kit.errors import ConflictError, NotFoundError
from mp_kit.server.services.runs_states import FINAL, State
from mp_kit.server.storage import STAGED, ObjectStore, UploadBound
from mp_kit.server.store import runs as rows
from mp_kit.server.store.engine import Tx

__all__ = ["MAX_ARTIFACTS", "announce", "artifact_key", "confirm"]

UPLOAD_TTL = timedelta(minutes=15)
MAX_ARTIFACTS = 500


def artifact_key(run_id: str, name: str) -> str:
    """Where a run's artifact lies."""
    return f"runs/{run_id}/{name}"


def announce(tx: Tx, row: Row[Any], request: ArtifactRequest, *, store: ObjectStore, now: datetime) -> ArtifactTarget:
    """Notes an artifact and says where to PUT exactly its bytes.

    Args:
        tx: Holds the run's row locked.
        row: The run.
        request: What is to come; one that may come in parts gets a plan where the store takes parts.
        store: Where to.
        now: An aware instant.

    Raises:
        ConflictError: The run's outcome is known, or it has announced too many.
    """
    _check_open(tx, row, request.name)
    key = artifact_key(row.id, request.name)
    if not store.binds_uploads:
        key = f"{STAGED}/runs/{row.id}/{request.sha256}/{request.name}"
    expires_at = now.replace(microsecond=0) + UPLOAD_TTL
    url = store.presign("PUT", key, expires_at, UploadBound(request.size_bytes, request.sha256))
    fields = request.model_dump(include=set(ArtifactRequest.model_fields))
    rows.upsert_artifact(tx, {"run_id": row.id, "object_key": key, **fields})
    parts = _plan(store, key, request, expires_at)
    return ArtifactTarget(name=request.name, url=url, expires_at=expires_at, parts=parts)


def _check_open(tx: Tx, row: Row[Any], name: str) -> None:
    if State(row.state) in FINAL or row.progress.get("outcome"):
        raise ConflictError(f"Run {row.id} has told its outcome: it takes no more artifacts.")
    known = {artifact.name for artifact in rows.list_artifacts(tx, row.id)}
    if name not in known and len(known) >= MAX_ARTIFACTS:
        raise ConflictError(
            f"Run {row.id} has announced {MAX_ARTIFACTS} artifacts, the most that a run may have.",
            hint="Pack them: one archive is one artifact.",
        )


def _plan(store: ObjectStore, key: str, request: ArtifactRequest, expires_at: datetime) -> PartPlan | None:
    if not isinstance(request, ArtifactAnnouncement) or not request.multipart or not request.size_bytes:
        return None
    plan = store.plan_parts(key, request.size_bytes, expires_at)
    if plan is None:
        return None
    missing = [
        PartTarget(number=part.number, offset=part.offset, size_bytes=part.size_bytes, url=part.url)
        for part in plan.missing
    ]
    return PartPlan(complete=plan.complete, missing=missing)


def confirm(tx: Tx, run_id: str, outcome: RunOutcome, store: ObjectStore, now: datetime) -> list[dict[str, Any]]:
    """Takes in the artifacts of an outcome.

    Raises:
        ConflictError: One of them was never uploaded as announced.
    """
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
