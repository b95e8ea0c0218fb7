"""Training: what a vendor orders, what it gets to see, and what a job reports from inside."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import ConfigDict, Field

from mp_kit.contracts.common import Instant, Model, Name, Task

HyperParam = bool | int | float | str
"""A hyperparameter's value."""


class RunStatus(StrEnum):
    """The five states that the wire shows; finer ones live inside."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Nothing happens after this state."""
        return self in {RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED}


class Provider(StrEnum):
    """Where a training runs."""

    RUNPOD = "runpod"
    BYOC = "byoc"
    LOCAL = "local"


class Budget(Model):
    """Bounds that hold whatever crashes. Unknown fields are refused here: a misspelt bound is no bound."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    max_hours: float | None = Field(default=None, gt=0, le=8_760)
    max_cost_usd: float | None = Field(default=None, gt=0, le=1_000_000)


class Wandb(Model):
    """Weights & Biases tracking."""

    enabled: bool = False
    project: str | None = None


class TrainingSpec(Model):
    """What to train, on what, within which bounds."""

    round_id: str = Field(min_length=1)
    dataset_urls: list[str] = Field(default_factory=list)
    task: Task
    hyperparams: dict[str, HyperParam] = Field(default_factory=dict)
    hf_repo_id: str | None = None
    base_image: str | None = None
    output_format: Literal["huggingface", "tarball"] = "huggingface"
    wandb: Wandb = Wandb()
    budget: Budget = Budget()


class TrainingRequest(TrainingSpec):
    """A spec and the machine to run it on."""

    provider: Provider = Provider.RUNPOD
    gpu: str | None = None
    cpu: int | None = Field(default=None, gt=0, description="Virtual CPUs.")
    memory: int | None = Field(default=None, gt=0, description="GiB.")
    disk: int | None = Field(default=None, gt=0, description="GB.")

    @property
    def spec(self) -> TrainingSpec:
        """The part that goes to the trainer."""
        return TrainingSpec.model_validate(self.model_dump(include=set(TrainingSpec.model_fields)))


class ArtifactFile(Model):
    """A file that a run produced."""

    name: str
    size_bytes: int = Field(ge=0)
    sha256: str
    url: str | None = None


class Artifacts(Model):
    """What a run produced, and where it lies."""

    hf_repo: str | None = None
    tarball_url: str | None = None
    commit: str | None = None
    files: list[ArtifactFile] | None = None


class RunProgress(Model):
    """How far a job is, as it told itself."""

    step: int | None = None
    total_steps: int | None = None


class TrainingRun(Model):
    """A training run as its vendor sees it. What has a default is absent until it is known."""

    run_id: str
    provider: Provider
    status: RunStatus
    created_at: Instant
    started_at: Instant | None = None
    finished_at: Instant | None = None
    logs_url: str
    artifacts: Artifacts = Artifacts()
    metrics: dict[str, Any] = Field(default_factory=dict)
    cost_usd: float | None = None
    failure: str | None = None
    task: Task | None = None
    round_id: str | None = None
    state: str | None = Field(
        default=None,
        description="Finer than status; docs/runs.md has the eight states.",
    )
    attempt: int | None = Field(default=None, ge=0, description="Launches so far.")
    deadline: Instant | None = Field(default=None, description="When the run is ended whatever it does.")
    max_cost_usd: float | None = None
    price_per_hour_usd: float | None = Field(default=None, description="Of the machine that it got.")
    progress: RunProgress | None = None
    machine: str | None = Field(default=None, description="The GPU that was launched.")


class RunEvent(Model):
    """One entry of a run's history. ``letter`` names an arrow of docs/runs.md; other entries have none."""

    seq: int = Field(ge=0)
    at: Instant
    kind: str
    means: str = Field(description="What happened, in a sentence.")
    letter: str | None = None
    from_state: str | None = None
    to_state: str | None = None
    detail: dict[str, Any] = Field(default_factory=dict)


class LogLine(Model):
    """One line of a run's log."""

    seq: int
    at: Instant
    stream: Literal["stdout", "stderr", "system"] = "stdout"
    text: str


class RunLogs(Model):
    """A page of a run's log; pass ``next`` as ``after`` to go on."""

    logs_url: str
    lines: list[LogLine]
    next: int
    complete: bool


class GpuUse(Model):
    """One GPU as its driver tells it; null where it does not."""

    percent: float | None = None
    used_mib: float | None = None
    total_mib: float | None = None


class MachineUse(Model):
    """The machine that a job runs on, as last seen from inside."""

    uptime_seconds: float | None = Field(default=None, description="Since the wrapper's present start.")
    rss_bytes: int | None = Field(default=None, description="Resident memory of the job's main process.")
    disk_free_bytes: int | None = Field(default=None, description="Room on the disk of the run's folder.")
    gpus: list[GpuUse] = Field(default_factory=list, max_length=64)


class RunHeartbeat(Model):
    """Progress from inside a job."""

    step: int | None = None
    total_steps: int | None = None
    metrics: dict[str, Any] = Field(default_factory=dict)
    started_count: int | None = Field(default=None, description="Times the container's main process was started.")
    machine: MachineUse | None = None
    renew_urls: bool = Field(default=False, description="Ask for fresh URLs of the round's files.")
    machine_ref: str | None = Field(default=None, max_length=200, description="The provider's id of the machine.")


class RunOrders(Model):
    """The answer to a heartbeat: go on or stop, and until when."""

    command: Literal["continue", "stop"]
    deadline: Instant | None = None
    heartbeat_seconds: float = 10.0
    dataset_urls: list[dict[str, Any]] | None = Field(
        default=None, description="The round's files as in DATASET_URLS, freshly signed; only when asked for."
    )


class RunEnvironment(Model):
    """What a job needs in its environment, for a vendor who runs it on a machine of their own."""

    run_id: str
    env: dict[str, str] = Field(repr=False, description="Holds the run token: treat it as a secret.")
    deadline: Instant


class LogChunkLine(Model):
    """One line as a job ships it; the chunk's number and the index make it unique."""

    at: Instant
    stream: Literal["stdout", "stderr", "system"] = "stdout"
    text: str = Field(max_length=16_384)


class LogChunk(Model):
    """Numbered lines, stored exactly once however often they are sent."""

    seq: int = Field(ge=0, description="Number of the chunk's first line, from 0.")
    lines: list[LogChunkLine] = Field(max_length=5_000)


class ArtifactRequest(Model):
    """Asks where to upload an artifact."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._\-]*$", max_length=200)
    size_bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class ArtifactAnnouncement(ArtifactRequest):
    """Asks where to upload an artifact, and says whether it may be sent in parts."""

    multipart: bool = Field(default=False, description="The sender can PUT parts, in any order and again.")


class PartTarget(Model):
    """Where to PUT one part of an artifact."""

    number: int = Field(ge=1)
    offset: int = Field(ge=0, description="Of its first byte in the file.")
    size_bytes: int = Field(gt=0)
    url: str


class PartPlan(Model):
    """An upload in parts. Announce the artifact again after the last part: the answer is then complete."""

    complete: bool
    missing: list[PartTarget]


class ArtifactTarget(Model):
    """Where to PUT an artifact's bytes: whole to ``url``, or in ``parts`` where there are any."""

    name: str
    url: str
    method: Literal["PUT"] = "PUT"
    expires_at: Instant
    parts: PartPlan | None = None


class RunOutcome(Model):
    """How a job ended, told by itself."""

    status: Literal["succeeded", "failed", "cancelled"]
    exit_code: int | None = None
    metrics: dict[str, Any] = Field(default_factory=dict)
    artifacts: list[ArtifactRequest] = Field(default_factory=list)
    failure: str | None = Field(default=None, max_length=4_000)
    machine_ref: str | None = Field(default=None, max_length=200, description="The provider's id of the machine.")
    title: Name | None = None
