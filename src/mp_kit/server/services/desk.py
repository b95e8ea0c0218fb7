"""What a vendor's own pages show, read from several rooms at once: the desk, lists of runs, one model, one deployment.

1. Everything is the vendor's own; another vendor's id is absent.
2. Nothing is computed that is not stored: what is unknown stays None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from mp_kit.contracts import Deployment, Lineage, OwnModel
from mp_kit.contracts.scores import LeaderboardEntry
from mp_kit.contracts.training import TrainingRun
from mp_kit.errors import NotFoundError
from mp_kit.server.services import deployments, models, runs_history, scores
from mp_kit.server.services.lineage import lineage
from mp_kit.server.services.runs_states import TRANSITIONS
from mp_kit.server.services.runs_view import to_wire
from mp_kit.server.store import desk as rows
from mp_kit.server.store import models as model_rows
from mp_kit.server.store import showcase as showcase_rows
from mp_kit.server.store import tokens as token_rows
from mp_kit.server.store.engine import Tx

__all__ = ["Desk", "Happening", "Held", "Placed", "RunPage", "deployable", "deployment", "model", "overview",
           "registered_from", "run_page"]  # fmt: skip

_RECENT = 12
_SCORES = 200
_BEATS = 50
_TOKENS = 50
_VERSIONS = 200


@dataclass(frozen=True)
class Happening:
    """Something that happened on the desk.

    Args:
        at: When.
        about: ``run``, ``version`` or ``deployment``.
        id: Of the run, the model or the deployment.
        name: As people call it.
        says: What happened, in a sentence.
        became: The state that it came to, if it did.
    """

    at: datetime
    about: str
    id: str
    name: str
    says: str
    became: str | None = None


@dataclass(frozen=True)
class Desk:
    """The vendor's first page.

    Args:
        models: Newest first.
        runs: How many, by status.
        deployments: Newest first.
        scores: The newest of each own deployment, those with enough data first.
        recent: Newest first.
    """

    models: Sequence[OwnModel]
    runs: Mapping[str, int]
    deployments: Sequence[Deployment]
    scores: Sequence[LeaderboardEntry]
    recent: Sequence[Happening]


@dataclass(frozen=True)
class RunPage:
    """A page of runs.

    Args:
        runs: With the name of each one's round.
        total: That fit the filters, on all pages.
        everything: Whatever the filters say.
    """

    runs: Sequence[tuple[TrainingRun, str]]
    total: int
    everything: int


@dataclass(frozen=True)
class Held:
    """A model of the vendor's.

    Args:
        description: As it was registered.
        lineage: Version by version, the newest first, with gates and history.
    """

    description: str
    lineage: Lineage


@dataclass(frozen=True)
class Placed:
    """A deployment with its signs of life.

    Args:
        deployment: Itself.
        model: The name of the model that it serves.
        hours: Per hour of the last day, which share was covered by signs of life.
        beats: The last ones, newest first: status, timestamp, received_at, metrics, message.
        scores: Its newest, one per timeframe.
        tokens: Those that live, newest first, without their secrets: id, hosted (the keeper's own), created_at,
            last_used_at, ends_at, ending (by a rotation).
    """

    deployment: Deployment
    model: str | None
    hours: Sequence[tuple[datetime, float]]
    beats: Sequence[Row[Any]]
    scores: Sequence[LeaderboardEntry]
    tokens: Sequence[Row[Any]]


def overview(tx: Tx, vendor_id: str) -> Desk:
    """The vendor's desk."""
    return Desk(
        models=models.list_of(tx, vendor_id),
        runs=rows.run_counts(tx, vendor_id),
        deployments=deployments.list_of(tx, vendor_id),
        scores=scores.leaderboard(tx, vendor_id=vendor_id, limit=_SCORES),
        recent=[_happening(row) for row in rows.activity(tx, vendor_id, _RECENT)],
    )


def run_page(
    tx: Tx, vendor_id: str, *, status: str = "", task: str = "", provider: str = "", offset: int = 0, limit: int = 50
) -> RunPage:
    """A vendor's runs, newest first.

    Args:
        tx: A transaction.
        vendor_id: Whose.
        status: Only these; empty for any. What no run has finds nothing.
        task: Only these.
        provider: Only these.
        offset: Runs before this page.
        limit: Runs on it.
    """
    filters = {"status": status, "task": task, "provider": provider}
    found = rows.runs(tx, vendor_id, filters, limit=limit, offset=offset)
    return RunPage(
        runs=[(to_wire(row), row.round_name or row.round_id) for row in found],
        total=found[0].fitting if found else 0,
        everything=sum(rows.run_counts(tx, vendor_id).values()),
    )


def model(tx: Tx, vendor_id: str, model_id: str) -> Held:
    """A model of the vendor's, with all that its versions stand on.

    Raises:
        NotFoundError: There is none, or it is another vendor's.
    """
    row = model_rows.find_model(tx, vendor_id, model_id)
    if row is None:
        raise NotFoundError(f"There is no model {model_id!r}.")
    return Held(description=row.description, lineage=lineage(tx, vendor_id, model_id))


def registered_from(tx: Tx, vendor_id: str, run_id: str) -> Sequence[Row[Any]]:
    """The versions that a run became: model_id, version_id, name, version; newest first."""
    return rows.registered_from(tx, vendor_id, run_id)


def deployable(tx: Tx, vendor_id: str) -> Sequence[Row[Any]]:
    """Versions that are not retired, the newest first: model_id, version_id, name, version, stage."""
    return rows.deployable(tx, vendor_id, _VERSIONS)


def deployment(tx: Tx, vendor_id: str, deployment_id: str) -> Placed:
    """A deployment of the vendor's, with its last day.

    Raises:
        NotFoundError: There is none, or it is another vendor's.
    """
    found = deployments.get(tx, vendor_id, deployment_id)
    served = model_rows.find_model(tx, vendor_id, found.model_id) if found.model_id else None
    told = scores.leaderboard(tx, vendor_id=vendor_id, model_id=found.model_id) if found.model_id else []
    return Placed(
        deployment=found,
        model=served.name if served is not None else None,
        hours=[(row.hour, float(row.covered)) for row in showcase_rows.heard(tx, [deployment_id])],
        beats=rows.heartbeats(tx, deployment_id, _BEATS),
        scores=[one for one in told if one.deployment_id == deployment_id],
        tokens=token_rows.living_of_deployment(tx, deployment_id, _TOKENS),
    )


def _happening(row: Row[Any]) -> Happening:
    return Happening(at=row.at, about=row.about, id=row.id, name=row.name, says=_says(row), became=row.became)


def _says(row: Row[Any]) -> str:
    if row.about == "deployment":
        return "It was registered."
    if row.about == "version":
        return f"It went from {row.was} to {row.became}." if row.was else f"It was registered in {row.became}."
    arrow = TRANSITIONS.get(row.letter or "")
    return arrow.means if arrow else runs_history.KINDS.get(row.kind, "Something happened to it.")
