"""Where a model comes from and what came of it: run, artifacts, version, deployments, signals; and its gates."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from mp_kit.contracts.common import Instant, Model, Name, Sha256, Task, VersionText
from mp_kit.contracts.hosting import Liveness
from mp_kit.contracts.models import Stage


class Gate(Model):
    """A condition of a stage, and how to meet it."""

    name: str
    met: bool
    how: str


class StageStep(Model):
    """A change of a version's stage: who, when, why."""

    seq: int
    from_stage: Stage | None = None
    to_stage: Stage
    actor: str
    reason: str | None = None
    at: Instant


class ValidationNote(Model):
    """A validation that was stored with a version."""

    digest: Sha256
    passed: bool
    actor: str
    at: Instant


class ApprovalNote(Model):
    """The operator's word on a version."""

    granted: bool
    actor: str
    why: str
    at: Instant


class RunOrigin(Model):
    """The training run that made a version."""

    run_id: str
    round_id: str
    task: Task
    status: str
    finished_at: Instant | None = None
    artifacts: list[dict[str, Any]] = Field(default_factory=list)


class ServedBy(Model):
    """A deployment of a version, and what it said."""

    deployment_id: str
    name: str
    provider: str
    status: str
    liveness: Liveness
    last_heartbeat_at: Instant | None = None
    signals: int = 0
    first_bar: Instant | None = None
    last_bar: Instant | None = None


class VersionLineage(Model):
    """A version with all that it stands on."""

    version_id: str
    version: VersionText
    stage: Stage
    created_at: Instant
    hf_repo_id: str | None = None
    run: RunOrigin | None = None
    validations: list[ValidationNote] = Field(default_factory=list)
    approvals: list[ApprovalNote] = Field(default_factory=list)
    history: list[StageStep] = Field(default_factory=list)
    gates: list[Gate] = Field(default_factory=list, description="Those of prod, as they stand now.")
    deployments: list[ServedBy] = Field(default_factory=list)


class Lineage(Model):
    """A model, version by version, the newest first."""

    model_id: str
    name: Name
    task: Task
    versions: list[VersionLineage]
