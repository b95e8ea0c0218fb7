"""The fake's models: versions, their stages, and what was said of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from mp_kit import errors
from mp_kit.contracts import (
    ApprovalNote,
    Gate,
    ModelRegistration,
    OwnModel,
    RegisteredModel,
    RunStatus,
    Stage,
    StageChange,
    StageStep,
    Task,
    TrainingRun,
    ValidationNote,
    ValidationReport,
)

NEXT: Mapping[Stage, frozenset[Stage]] = {
    Stage.SHADOW: frozenset({Stage.PILOT, Stage.RETIRED}),
    Stage.PILOT: frozenset({Stage.SHADOW, Stage.PROD, Stage.RETIRED}),
    Stage.PROD: frozenset({Stage.RETIRED}),
    Stage.RETIRED: frozenset(),
}
COUNTED = frozenset({Stage.PILOT, Stage.PROD})
_BY_PROGRESS = (Stage.PROD, Stage.PILOT, Stage.SHADOW, Stage.RETIRED)
_ACTOR = "vendor:fake"


@dataclass
class Version:
    """A version of a model, with all that was said of it."""

    id: str
    name: str
    model: FakeModel
    run_id: str | None
    hf_repo_id: str | None
    created_at: datetime
    stage: Stage = Stage.SHADOW
    history: list[StageStep] = field(default_factory=list)
    validations: list[ValidationNote] = field(default_factory=list)
    approvals: list[ApprovalNote] = field(default_factory=list)

    def move(self, stage: Stage, at: datetime, reason: str | None, *, first: bool = False) -> None:
        """Notes a step."""
        facts = {"seq": len(self.history) + 1, "from_stage": None if first else self.stage, "to_stage": stage}
        self.history.append(StageStep.model_validate(facts | {"actor": _ACTOR, "reason": reason, "at": at}))
        self.stage, self.model.updated_at = stage, at

    def stage_at(self, at: datetime) -> Stage | None:
        """Its stage at an instant."""
        steps = [step.to_stage for step in self.history if step.at <= at]
        return steps[-1] if steps else None


@dataclass
class FakeModel:
    """A model; its versions are in the order of their registration."""

    id: str
    name: str
    description: str
    task: Task
    created_at: datetime
    updated_at: datetime
    versions: list[Version] = field(default_factory=list)

    @property
    def stage(self) -> Stage:
        """That of its most advanced version."""
        return min((version.stage for version in self.versions), key=_BY_PROGRESS.index)


class ModelDesk:
    """All models.

    Args:
        run: A training run as it was last seen.
        now: The clock.

    Attributes:
        gates: The gates of prod as they stand for a version; whoever knows deployments and scores sets it.
    """

    def __init__(self, run: Callable[[str], TrainingRun], now: Callable[[], datetime]) -> None:
        self.gates: Callable[[Version], list[Gate]] = lambda _: []
        self._run = run
        self._now = now
        self._models: dict[str, FakeModel] = {}
        self._versions: dict[str, Version] = {}

    def all(self) -> list[FakeModel]:
        """Each of them, newest first."""
        return [*reversed(self._models.values())]

    def list(self) -> list[OwnModel]:
        """The same as the vendor's list shows them."""
        names = ("id", "name", "description", "task", "stage", "created_at", "updated_at")
        return [
            OwnModel.model_validate({name: getattr(one, name) for name in names} | {"versions": len(one.versions)})
            for one in self.all()
        ]

    def get(self, model_id: str) -> FakeModel:
        """One of them."""
        if model_id not in self._models:
            raise errors.NotFoundError(f"There is no model {model_id!r}.")
        return self._models[model_id]

    def by_id(self, version_id: str) -> Version | None:
        """A version by its own id."""
        return self._versions.get(version_id)

    def version(self, model_id: str, version: str) -> Version:
        """A version of a model by id or by name."""
        for one in self.get(model_id).versions:
            if version in {one.id, one.name}:
                return one
        raise errors.NotFoundError(f"There is no version {version!r} of model {model_id}.")

    def register(self, wanted: ModelRegistration) -> Version:
        """Registers a version; the same version of the same run again changes nothing."""
        if wanted.run_id is not None and self._run(wanted.run_id).status is not RunStatus.SUCCEEDED:
            raise errors.InvalidInputError(
                f"Run {wanted.run_id} has not succeeded: only a succeeded run gives a model."
            )
        named = [one for one in self._models.values() if one.name == wanted.name]
        if named and named[0].task is not wanted.task:
            raise errors.ConflictError(f"Model {wanted.name!r} is a {named[0].task.value} model already.")
        model = named[0] if named else self._new(wanted)
        for one in model.versions:
            if one.name == wanted.version and one.run_id != wanted.run_id:
                raise errors.ConflictError(f"Version {one.name!r} of {model.name!r} is there, from another run.")
            if one.name == wanted.version:
                return one
        return self._add(model, wanted)

    def change(self, model_id: str, version: str, change: StageChange) -> RegisteredModel:
        """Moves a version to another stage; a new prod version retires the old one."""
        one, now = self.version(model_id, version), self._now()
        if change.stage is not one.stage:
            if change.stage not in NEXT[one.stage]:
                raise errors.ConflictError(f"A version in {one.stage.value} cannot go to {change.stage.value}.")
            if change.stage is Stage.PROD:
                self._require(one)
                for old in [other for other in one.model.versions if other.stage is Stage.PROD]:
                    old.move(Stage.RETIRED, now, f"replaced by {one.id}")
            one.move(change.stage, now, change.reason)
        return registered(one)

    def validate(self, model_id: str, version: str, report: ValidationReport) -> ValidationNote:
        """Stores a validation; the same report again changes nothing."""
        one = self.version(model_id, version)
        if not report.holds or report.digest is None:
            raise errors.InvalidInputError(
                "The report is not what its digest names, or does not follow from its checks."
            )
        if report.task is not one.model.task:
            raise errors.InvalidInputError(f"The report is about a {report.task.value} server.")
        for note in one.validations:
            if note.digest == report.digest:
                return note
        one.validations.append(ValidationNote(digest=report.digest, passed=report.passed, actor=_ACTOR, at=self._now()))
        return one.validations[-1]

    def approve(self, model_id: str, version: str, why: str = "a test", *, granted: bool = True) -> ApprovalNote:
        """The operator's word, which a test says in the operator's place."""
        note = ApprovalNote(granted=granted, actor="operator", why=why, at=self._now())
        self.version(model_id, version).approvals.append(note)
        return note

    def _require(self, one: Version) -> None:
        missing = [gate for gate in self.gates(one) if not gate.met]
        if missing:
            raise errors.ConflictError(
                f"Version {one.name} cannot go to prod: not met: {', '.join(gate.name for gate in missing)}.",
                hint=missing[0].how,
                details=[{"loc": [gate.name], "msg": gate.how} for gate in missing],
            )

    def _new(self, wanted: ModelRegistration) -> FakeModel:
        now, model_id = self._now(), f"mod_{len(self._models) + 1}"
        self._models[model_id] = FakeModel(model_id, wanted.name, wanted.description, wanted.task, now, now)
        return self._models[model_id]

    def _add(self, model: FakeModel, wanted: ModelRegistration) -> Version:
        version_id = f"ver_{len(self._versions) + 1}"
        made = Version(version_id, wanted.version, model, wanted.run_id, wanted.hf_repo_id, self._now())
        made.move(Stage.SHADOW, made.created_at, "registered", first=True)
        model.versions.append(made)
        self._versions[version_id] = made
        return made


def registered(one: Version) -> RegisteredModel:
    """A version's ids and stage."""
    return RegisteredModel(model_id=one.model.id, version_id=one.id, stage=one.stage)
