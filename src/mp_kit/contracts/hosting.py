"""Hosted deployments: how the marketplace runs a vendor's server, and how it stands."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field, model_validator

from mp_kit.contracts.common import Instant, Model, Sha256, Task
from mp_kit.contracts.polling import PollWish

HostingKind = Literal["endpoint", "pod", "process"]

MOST_WORKERS = 10
MOST_PRICE = 1_000.0
"""US dollars per hour; a price above it is a slip of the pen."""


class Liveness(StrEnum):
    """What a deployment's last heartbeat says of it by its age."""

    ONLINE = "online"  # at most 60 s old
    DEGRADED = "degraded"  # at most 150 s old
    OFFLINE = "offline"  # older
    SILENT = "silent"  # there has been none yet


class HostingState(StrEnum):
    """Where a hosted deployment is on its way."""

    QUEUED = "queued"  # to be launched
    LAUNCHING = "launching"  # ordered; whether it exists may not be known yet
    RUNNING = "running"  # it exists at its provider
    ENDING = "ending"  # asked to end, not gone yet
    STOPPED = "stopped"  # gone, and kept to be started again
    FAILED = "failed"  # given up; ``failure`` says why
    REMOVED = "removed"  # gone for good


class Hosting(Model):
    """A hosted deployment's server, as its vendor sees it."""

    kind: HostingKind
    state: HostingState
    wanted: Literal["running", "stopped", "removed"]
    workers_min: int
    workers_max: int
    workers: dict[str, int] = Field(default_factory=dict, description="Workers by state, as the provider last told.")
    attempt: int = 0
    detail: str | None = None
    failure: str | None = None
    launched_at: Instant | None = None
    price_per_hour: float | None = Field(default=None, description="US dollars, as its provider charges now.")
    max_price_per_hour: float | None = Field(default=None, description="US dollars, as ordered; above it, it is ended.")
    cost: float | None = Field(
        default=None, description="US dollars since its launch, price times time: the provider's bill is the truth."
    )


class DeploymentChange(PollWish):
    """Starts, stops, scales or removes a hosted deployment; says whether and where any deployment is asked."""

    wanted: Literal["running", "stopped", "removed"] | None = None
    workers_min: int | None = Field(default=None, ge=0, le=MOST_WORKERS)
    workers_max: int | None = Field(default=None, ge=1, le=MOST_WORKERS)

    @property
    def changes_hosting(self) -> bool:
        """Whether it says anything of the server itself."""
        return any(one is not None for one in (self.wanted, self.workers_min, self.workers_max))

    @model_validator(mode="after")
    def _says_something(self) -> DeploymentChange:
        if not self.changes_hosting and not self.polling():
            msg = f"nothing to change: give one of {', '.join(type(self).model_fields)}"
            raise ValueError(msg)
        return self


class ModelFile(Model):
    """A file of the model that a deployment serves, behind a URL that is fresh."""

    name: str
    url: str
    size_bytes: int
    sha256: Sha256


class ServedModel(Model):
    """What a deployment serves: for its server, which fetches it when it starts."""

    deployment_id: str
    model_id: str
    version: str
    task: Task
    files: list[ModelFile]


class DeploymentLogs(Model):
    """The last lines that a hosted server wrote."""

    lines: list[str]
