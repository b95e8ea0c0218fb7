"""Deployments: where a model runs, its scoped token, its heartbeats."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import Field, model_validator

from mp_kit.contracts.common import Instant, Model, Name


class DeploymentStatus(StrEnum):
    """What a deployment last said of itself, or what its silence says."""

    PENDING = "pending"
    READY = "ready"
    ERROR = "error"
    MAINTENANCE = "maintenance"
    OFFLINE = "offline"


class DeploymentRequest(Model):
    """Orders a deployment. A provider credential does not belong here: the server holds it already."""

    name: Name
    provider: Literal["runpod", "byoc", "local"] = "runpod"
    cpu: int = Field(default=2, gt=0, description="Virtual CPUs.")
    memory: int = Field(default=4, gt=0, description="GiB.")
    gpu: str | None = None
    image: str | None = Field(default=None, max_length=500)
    model_id: str | None = None

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
    infra_token: str | None = Field(default=None, description="Shown once, when the token is issued.")


class TokenRequest(Model):
    """Asks for the deployment's token."""

    signals_url: str | None = None
    consensus_url: str | None = None
    rotate: bool = False
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
