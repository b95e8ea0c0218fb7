"""What the fake knows of a model beyond its own desk: its gates, where it comes from, and what the public sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from mp_kit.contracts import (
    CatalogEntry,
    Deployment,
    DeploymentStatus,
    Gate,
    Lineage,
    Liveness,
    RunOrigin,
    ServedBy,
    Signal,
    Stage,
    TrainingRun,
    Vendor,
    VersionLineage,
)
from mp_kit.testing.deployments import DeploymentDesk
from mp_kit.testing.models import COUNTED, FakeModel, ModelDesk, Version
from mp_kit.testing.scores import ScoreDesk
from mp_kit.testing.signals import SignalBook

_HOW = {
    "validated": "Store a validation: m.models.note_validation(model, version, report).",
    "heartbeats": "Have a deployment of this version say ready within the last 150 s.",
    "scores": "Put an entry with enough_data into fake.scores.entries.",
    "approval": "Say the operator's word: fake.models.approve(model, version).",
}


class LineageDesk:
    """Joins the desks.

    Args:
        vendor: Whose models they are.
        models: The models.
        deployments: Where they run.
        book: What they said.
        scores: What it was worth.
        run: A training run as it was last seen.
    """

    def __init__(
        self,
        vendor: Vendor,
        models: ModelDesk,
        deployments: DeploymentDesk,
        book: SignalBook,
        scores: ScoreDesk,
        run: Callable[[str], TrainingRun],
    ) -> None:
        self._vendor = vendor
        self._models = models
        self._deployments = deployments
        self._book = book
        self._scores = scores
        self._run = run

    def gates(self, version: Version) -> list[Gate]:
        """The gates of prod, as they stand."""
        served = self._serving(version)
        met = {
            "validated": bool(version.validations) and version.validations[-1].passed,
            "heartbeats": any(_is_ready(one) for one in served),
            "scores": any(self._scores.is_enough(one.deployment_id) for one in served),
            "approval": bool(version.approvals) and version.approvals[-1].granted,
        }
        return [Gate(name=name, met=met[name], how=how) for name, how in _HOW.items()]

    def counted(self, deployment_id: str, model_version: str, at: datetime) -> bool:
        """Whether what a deployment said then counts for the consensus."""
        known = self._deployments.get(deployment_id)
        if known.model_id is None:
            return False
        named = [one for one in self._models.get(known.model_id).versions if one.name == model_version]
        version = named[0] if named else self._models.by_id(known.version_id or "")
        return version is not None and version.stage_at(at) in COUNTED

    def of(self, model_id: str) -> Lineage:
        """A model, version by version, the newest first."""
        model = self._models.get(model_id)
        versions = [self._version(version) for version in reversed(model.versions)]
        return Lineage(model_id=model.id, name=model.name, task=model.task, versions=versions)

    def catalog(self) -> list[CatalogEntry]:
        """What the public sees: models in pilot or prod."""
        return [self._entry(model) for model in self._models.all() if model.stage in COUNTED]

    def _version(self, version: Version) -> VersionLineage:
        return VersionLineage(
            version_id=version.id,
            version=version.name,
            stage=version.stage,
            created_at=version.created_at,
            hf_repo_id=version.hf_repo_id,
            run=self._origin(version.run_id) if version.run_id else None,
            validations=version.validations,
            approvals=version.approvals,
            history=version.history,
            gates=self.gates(version),
            deployments=[self._served(one) for one in self._serving(version)],
        )

    def _origin(self, run_id: str) -> RunOrigin:
        run = self._run(run_id)
        files = [file.model_dump(include={"name", "size_bytes", "sha256"}) for file in run.artifacts.files or []]
        facts = {"round_id": run.round_id, "task": run.task, "status": run.status.value, "artifacts": files}
        return RunOrigin.model_validate({"run_id": run_id, "finished_at": run.finished_at, **facts})

    def _serving(self, version: Version) -> list[Deployment]:
        return [one for one in self._deployments.known() if one.version_id == version.id]

    def _served(self, one: Deployment) -> ServedBy:
        bars = [signal.event_time for signal in self._said([one])]
        seen = {"signals": len(bars), "first_bar": min(bars, default=None), "last_bar": max(bars, default=None)}
        names = {"deployment_id", "name", "provider", "status", "liveness", "last_heartbeat_at"}
        return ServedBy.model_validate(one.model_dump(include=names) | seen)

    def _said(self, deployments: Sequence[Deployment]) -> list[Signal]:
        ids = {one.deployment_id for one in deployments}
        return [signal for signal in self._book.stored.values() if signal.deployment_id in ids]

    def _entry(self, model: FakeModel) -> CatalogEntry:
        placed = [one for one in self._deployments.known() if one.model_id == model.id]
        said = self._said(placed)
        beats = sorted((one.last_heartbeat_at, one.status.value) for one in placed if one.last_heartbeat_at)
        stage = Stage.PROD if any(one.stage is Stage.PROD for one in model.versions) else Stage.PILOT
        return CatalogEntry(
            id=model.id, name=model.name, description=model.description, vendor=self._vendor.name,
            task=model.task, stage=stage, created_at=model.created_at, updated_at=model.updated_at,
            last_heartbeat_at=beats[-1][0] if beats else None,
            status=beats[-1][1] if beats else placed[0].status.value if placed else None,
            avg_confidence=sum(one.confidence for one in said) / len(said) if said else None,
            total_predictions=len(said) or None,
            deployment_count=len(placed),
            supported_symbols=sorted({one.symbol for one in said}),
            supported_timeframes=sorted({one.timeframe.value for one in said}),
        )  # fmt: skip


def _is_ready(one: Deployment) -> bool:
    return one.status is DeploymentStatus.READY and one.liveness in {Liveness.ONLINE, Liveness.DEGRADED}
