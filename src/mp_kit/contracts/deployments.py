"""Deployments: where a model runs, its scoped token, its heartbeats."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import Field, model_validator

from mp_kit.contracts.common import Instant, Model, Name, VersionText
from mp_kit.contracts.hosting import MOST_PRICE, MOST_WORKERS, Hosting, Liveness
from mp_kit.contracts.polling import Polling, PollWish


class DeploymentStatus(StrEnum):
    """What a deployment last said of itself, or what its silence says."""

    PENDING = "pending"
    READY = "ready"
    ERROR = "error"
    MAINTENANCE = "maintenance"
    OFFLINE = "offline"


class DeploymentRequest(PollWish):
    """Orders a deployment. A provider credential does not belong here: the server holds it already."""

    name: Name
    provider: Literal["runpod", "byoc", "local"] = "runpod"
    kind: Literal["endpoint", "pod"] = Field(default="endpoint", description="On RunPod: workers by request, or a pod.")
    max_price_per_hour: float | None = Field(
        default=None,
        gt=0,
        le=MOST_PRICE,
        description="US dollars that a pod may cost; it runs, and costs, at all hours.",
    )
    cpu: int = Field(default=2, gt=0, description="Virtual CPUs.")
    memory: int = Field(default=4, gt=0, description="GiB.")
    gpu: str | None = None
    image: str | None = Field(default=None, max_length=500)
    model_id: str | None = None
    version: VersionText | None = Field(default=None, description="Of the model; its newest by default.")
    workers_min: int = Field(default=0, ge=0, le=MOST_WORKERS, description="Of an endpoint; 0 lets it sleep.")
    workers_max: int = Field(default=1, ge=1, le=MOST_WORKERS)
    timeout_seconds: int = Field(default=120, ge=1, le=330, description="Longest answer of an endpoint.")
    idle_seconds: int = Field(default=60, ge=1, le=3600, description="After which an idle worker goes.")

    @model_validator(mode="after")
    def _workers_fit(self) -> DeploymentRequest:
        if self.workers_min > self.workers_max:
            msg = f"workers_min {self.workers_min} is above workers_max {self.workers_max}"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _pod_fits(self) -> DeploymentRequest:
        if self.kind != "pod" and self.max_price_per_hour is not None:
            msg = "max_price_per_hour bounds a pod's price: order kind pod, or leave it out"
            raise ValueError(msg)
        if self.kind != "pod":
            return self
        if self.provider != "runpod":
            msg = f"kind pod is RunPod's; {self.provider} has none"
            raise ValueError(msg)
        if self.max_price_per_hour is None:
            msg = "a pod costs at all hours: say what it may cost, max_price_per_hour in US dollars"
            raise ValueError(msg)
        if self.workers_max != 1:
            msg = "a pod is one worker: leave workers_max out, or order kind endpoint"
            raise ValueError(msg)
        return self

    @model_validator(mode="before")
    @classmethod
    def _refuse_credentials(cls, data: Any) -> Any:
        if isinstance(data, dict) and "runpod_api_key" in data:
            msg = "runpod_api_key is refused on purpose: store it once with PUT /api/vendors/connections/runpod"
            raise ValueError(msg)
        return data


class Deployment(Model):
    """A deployment as its vendor sees it."""

    deployment_id: str
    name: str
    provider: str
    status: DeploymentStatus
    endpoint: str | None = None
    created_at: Instant
    last_heartbeat_at: Instant | None = None
    model_id: str | None = None
    version_id: str | None = None
    liveness: Liveness | None = Field(default=None, description="By the age of the last heartbeat.")
    words: str | None = Field(default=None, description="How it stands, in a sentence.")
    hosting: Hosting | None = Field(default=None, description="Where the marketplace runs it.")
    polling: Polling | None = Field(default=None, description="Whether the marketplace asks it, once it was wanted.")
    infra_token: str | None = Field(default=None, description="Shown once, when the token is issued.")


class TokenRequest(Model):
    """Asks for the deployment's token."""

    signals_url: str | None = None
    consensus_url: str | None = None
    rotate: bool = False
    overlap_seconds: int = Field(
        default=0, ge=0, le=86_400, description="With rotate: how long the earlier tokens live on."
    )
    symbols: list[str] | None = None


class IssuedToken(Model):
    """A deployment token, shown this once."""

    infra_token: str
    expires_at: Instant
    scope: dict[str, Any]


class HeartbeatWrite(Model):
    """A deployment's sign of life; unknown metric keys are kept."""

    deployment_id: str = Field(min_length=1)
    status: DeploymentStatus
    timestamp: Instant
    metrics: dict[str, Any] | None = None
    message: str | None = Field(default=None, max_length=2_000)


class HeartbeatReceipt(Model):
    """The stored heartbeat."""

    heartbeat_id: str
    timestamp: Instant
