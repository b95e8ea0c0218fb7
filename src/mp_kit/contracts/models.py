"""Models, their versions, and the public catalogue."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from mp_kit.contracts.common import Instant, Model, Name, Task, VersionText
from mp_kit.contracts.measured import Measured


class Stage(StrEnum):
    """How far a model version has come."""

    SHADOW = "shadow"
    PILOT = "pilot"
    PROD = "prod"
    RETIRED = "retired"


class ModelRegistration(Model):
    """Registers a version of a model; the model itself is made with its first version."""

    name: Name
    description: str = Field(default="", max_length=10_000)
    task: Task
    version: VersionText
    deployment_id: str | None = None
    run_id: str | None = None
    hf_repo_id: str | None = None


class RegisteredModel(Model):
    """The ids of a registered version."""

    model_id: str
    version_id: str
    stage: Stage = Stage.SHADOW


class StageChange(Model):
    """Moves a version to another stage."""

    stage: Stage
    reason: str | None = Field(default=None, max_length=500)


class CatalogEntry(Model):
    """A model in the public catalogue; measured fields are null until there is something to measure."""

    id: str
    name: str
    description: str
    vendor: str
    task: Task
    stage: Stage
    created_at: Instant
    updated_at: Instant
    last_heartbeat_at: Instant | None = None
    last_oos_sharpe: float | None = None
    avg_confidence: float | None = None
    total_predictions: int | None = None
    deployment_count: int = 0
    status: str | None = None
    tags: list[str] = Field(default_factory=list)
    supported_symbols: list[str] = Field(default_factory=list)
    supported_timeframes: list[str] = Field(default_factory=list)
    sharpe: Measured | None = Field(
        default=None, description="``last_oos_sharpe`` with its interval, or why it is null."
    )
    hit_rate: Measured | None = None


class OwnModel(Model):
    """A model as its vendor's list shows it, with the stage of its most advanced version."""

    id: str
    name: str
    description: str = ""
    task: Task
    stage: Stage
    versions: int
    created_at: Instant
    updated_at: Instant
