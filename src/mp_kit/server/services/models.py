"""Models and their versions: registration, stages, the catalogue."""

from __future__ import annotations

from collections.abc import Mapping

from mp_kit.contracts import CatalogEntry, ModelRegistration, OwnModel, RegisteredModel, Stage, WebhookEventType
from mp_kit.errors import ConflictError, InvalidInputError, NotFoundError
from mp_kit.server.services import audit, gates
from mp_kit.server.services.ids import new_id
from mp_kit.server.services.webhook_events import emit
from mp_kit.server.store import deployments as deployment_rows
from mp_kit.server.store import models as rows
from mp_kit.server.store import runs as run_rows
from mp_kit.server.store.engine import Tx

NEXT_STAGES: Mapping[Stage, frozenset[Stage]] = {
    Stage.SHADOW: frozenset({Stage.PILOT, Stage.RETIRED}),
    Stage.PILOT: frozenset({Stage.SHADOW, Stage.PROD, Stage.RETIRED}),
    Stage.PROD: frozenset({Stage.RETIRED}),
    Stage.RETIRED: frozenset(),
}
"""Where a version may go from each stage."""


def register(tx: Tx, vendor_id: str, wanted: ModelRegistration) -> RegisteredModel:
    """Registers a version of a model, the model itself with its first version.

    Registering the same version of the same run again gives the ids of the first time. A description replaces the
    model's; none leaves it.

    Raises:
        NotFoundError: The run or the deployment is not the vendor's.
        ConflictError: The version exists and came from another run, or the model has another task.
    """
    _check_origin(tx, vendor_id, wanted)
    model = rows.upsert_model(
        tx,
        {
            "id": new_id("mod"),
            "vendor_id": vendor_id,
            "name": wanted.name,
            "description": wanted.description,
            "task": wanted.task.value,
        },
    )
    if model.task != wanted.task.value:
        said = f"Model {wanted.name!r} is a {model.task} model already."
        raise ConflictError(said, hint="Choose another name.", details=[{"loc": ["name"], "msg": said}])
    registered = _add_version(tx, vendor_id, model.id, wanted)
    if wanted.deployment_id is not None:
        deployment_rows.set_model(tx, wanted.deployment_id, model.id, registered.version_id)
    return registered


def change_stage(
    tx: Tx, vendor_id: str, model_id: str, version: str, stage: Stage, *, actor: str, reason: str | None
) -> RegisteredModel:
    """Moves a version to another stage; a new prod version retires the old one.

    Raises:
        NotFoundError: No such model or version of this vendor.
        ConflictError: The step is not allowed from the present stage, or its gates are not met.
    """
    row = rows.find_version(tx, vendor_id, model_id, version, lock=True)
    if row is None:
        raise NotFoundError(f"There is no version {version!r} of model {model_id}.")
    present = Stage(row.stage)
    if stage is not present:
        if stage not in NEXT_STAGES[present]:
            allowed = ", ".join(sorted(NEXT_STAGES[present])) or "nothing"
            raise ConflictError(f"A version in {present} cannot go to {stage}.", hint=f"It can go to: {allowed}.")
        gates.require(tx, row.id, row.version, stage)
        if stage is Stage.PROD:
            for old in rows.retire_prod(tx, model_id):
                _note(tx, old, Stage.PROD, Stage.RETIRED, actor, f"replaced by {row.id}")
        rows.set_stage(tx, row.id, stage.value)
        _note(tx, row.id, present, stage, actor, reason)
        audit.record(tx, actor, "model.stage", row.id, from_stage=present.value, to_stage=stage.value, reason=reason)
        told = {"model_id": model_id, "version": version, "from_stage": present.value, "to_stage": stage.value}
        emit(tx, WebhookEventType.MODEL_PROMOTED, vendor_id, **told)
    return RegisteredModel(model_id=model_id, version_id=row.id, stage=stage)


def list_of(tx: Tx, vendor_id: str) -> list[OwnModel]:
    """A vendor's models, newest first."""
    return [OwnModel.model_validate(dict(row._mapping)) for row in rows.list_of(tx, vendor_id)]  # noqa: SLF001 - SQLAlchemy's public way


def catalog(tx: Tx) -> list[CatalogEntry]:
    """What the public may see: models in pilot or prod."""
    entries = []
    for row in rows.catalog(tx):
        facts = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public way to a row's mapping
        facts["supported_symbols"] = facts["supported_symbols"] or []
        facts["supported_timeframes"] = facts["supported_timeframes"] or []
        entries.append(CatalogEntry.model_validate(facts))
    return entries


def _check_origin(tx: Tx, vendor_id: str, wanted: ModelRegistration) -> None:
    if wanted.run_id is not None:
        run = run_rows.find(tx, wanted.run_id, vendor_id)
        if run is None:
            raise NotFoundError(f"There is no training run {wanted.run_id!r}.")
        if run.status != "succeeded":
            raise InvalidInputError(
                f"Run {wanted.run_id} is {run.status}: only a succeeded run gives a model.",
                hint=f"Wait for it: mp train wait {wanted.run_id}",
            )
    if wanted.deployment_id is not None and deployment_rows.find(tx, wanted.deployment_id, vendor_id) is None:
        raise NotFoundError(f"There is no deployment {wanted.deployment_id!r}.")


def _add_version(tx: Tx, vendor_id: str, model_id: str, wanted: ModelRegistration) -> RegisteredModel:
    version_id = rows.insert_version(
        tx,
        {
            "id": new_id("ver"),
            "model_id": model_id,
            "version": wanted.version,
            "run_id": wanted.run_id,
            "hf_repo_id": wanted.hf_repo_id,
        },
    )
    if version_id is not None:
        _note(tx, version_id, None, Stage.SHADOW, f"vendor:{vendor_id}", "registered")
        return RegisteredModel(model_id=model_id, version_id=version_id)
    there = rows.find_version(tx, vendor_id, model_id, wanted.version)
    if there is None or there.run_id != wanted.run_id:
        said = f"Version {wanted.version!r} of {wanted.name!r} is registered already, from another run."
        hint = "A version never changes: choose a new one."
        raise ConflictError(said, hint=hint, details=[{"loc": ["version"], "msg": said}])
    return RegisteredModel(model_id=model_id, version_id=there.id, stage=Stage(there.stage))


def _note(tx: Tx, version_id: str, old: Stage | None, new: Stage, actor: str, reason: str | None) -> None:
    rows.append_history(
        tx,
        {
            "version_id": version_id,
            "from_stage": old.value if old else None,
            "to_stage": new.value,
            "actor": actor,
            "reason": reason,
        },
    )
