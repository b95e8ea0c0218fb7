"""How a run looks from outside: the wire's model of it, its URLs, and the cursors of its list."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Row

from mp_kit.contracts.training import ArtifactFile, Artifacts, RunProgress, TrainingRun
from mp_kit.errors import InvalidInputError
from mp_kit.server import clock
from mp_kit.server.services.runs_moves import cost_so_far
from mp_kit.server.services.runs_reports import artifact_key
from mp_kit.server.services.runs_states import FINAL, State
from mp_kit.server.storage import ObjectStore

__all__ = ["View", "cursor_of", "logs_url", "read_cursor", "to_wire"]

DOWNLOAD_TTL = timedelta(minutes=15)


@dataclass(frozen=True)
class View:
    """How runs are shown.

    Attributes:
        base_url: Goes before the paths in answers, without a trailing slash.
        store: Signs the artifacts' URLs; without it they have none.
    """

    base_url: str = ""
    store: ObjectStore | None = None


def to_wire(row: Row[Any], view: View | None = None) -> TrainingRun:
    """A run as the wire shows it."""
    files = [_artifact(row, file, view) for file in row.artifacts.get("files", [])]
    return TrainingRun(
        run_id=row.id,
        provider=row.provider,
        status=row.status,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        logs_url=logs_url(row.id, view),
        artifacts=Artifacts(
            hf_repo=row.artifacts.get("hf_repo"), commit=row.artifacts.get("commit"), files=files or None
        ),
        metrics=row.metrics,
        cost_usd=_cost(row),
        failure=row.failure,
        task=row.task,
        round_id=row.round_id,
        state=row.state,
        attempt=row.attempt,
        deadline=row.deadline_at,
        max_cost_usd=_number(row.max_cost_usd),
        price_per_hour_usd=_number(row.price_per_hour),
        progress=_progress(row.progress),
        machine=row.provider_data.get("handle", {}).get("gpu"),
    )


def _cost(row: Row[Any]) -> float | None:
    """What it cost; of a run that goes on, what it has cost by now."""
    if State(row.state) in FINAL:
        return _number(row.cost_usd)
    return cost_so_far(row, clock.now()) or _number(row.cost_usd)


def _number(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def _progress(told: Mapping[str, Any]) -> RunProgress | None:
    step, total = told.get("step"), told.get("total_steps")
    return None if step is None and total is None else RunProgress(step=step, total_steps=total)


def _artifact(row: Row[Any], file: dict[str, Any], view: View | None) -> ArtifactFile:
    url = None
    if view is not None and view.store is not None:
        expires_at = (clock.now() + DOWNLOAD_TTL).replace(microsecond=0)
        url = view.store.presign("GET", artifact_key(row.id, file["name"]), expires_at)
    return ArtifactFile(**file, url=url)


def logs_url(run_id: str, view: View | None) -> str:
    """Where a run's log is read."""
    return f"{view.base_url if view else ''}/api/training/runs/{run_id}/logs"


def cursor_of(row: Row[Any]) -> str:
    """The cursor of the page behind this run."""
    return base64.urlsafe_b64encode(json.dumps([row.created_at.isoformat(), row.id]).encode()).decode()


def read_cursor(cursor: str | None) -> tuple[datetime, str] | None:
    """Creation time and id of the last run of the page before; InvalidInputError for a foreign cursor."""
    if cursor is None:
        return None
    try:
        at, run_id = json.loads(base64.urlsafe_b64decode(cursor))
        return datetime.fromisoformat(at), str(run_id)
    except (ValueError, TypeError, RecursionError):
        raise InvalidInputError("The cursor is none of this list's.", hint="Begin again without one.") from None
