"""Queries about gates, validations, approvals, and what a version stands on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, Table, select, text

from mp_kit.server.store.engine import Tx
from mp_kit.server.store.queries import named
from mp_kit.server.store.tables import (
    model_approvals,
    model_stage_history,
    model_validations,
    model_versions,
    models,
    run_artifacts,
    training_runs,
)


def missing(tx: Tx, version_id: str, stage: str) -> list[str]:
    """Gates of a stage that a version has not met."""
    return list(tx.execute(text(named("missing_gates")), {"version_id": version_id, "stage": stage}).scalars())


def missing_of(tx: Tx, version_ids: Sequence[str], stage: str) -> dict[str, list[str]]:
    """Gates of a stage that each of several versions has not met."""
    values = {"version_ids": list(version_ids), "stage": stage}
    return {row.id: row.missing for row in tx.execute(text(named("missing_gates_of")), values)}


def add_validation(tx: Tx, values: Mapping[str, Any]) -> bool:
    """Stores a report; False where the version has it already."""
    return tx.execute(text(named("add_validation")), values).rowcount == 1


def add_approval(tx: Tx, values: Mapping[str, Any]) -> None:
    """Stores the operator's word."""
    tx.execute(text(named("add_approval")), values)


def find_any_version(tx: Tx, model: str, version: str) -> Row[Any] | None:
    """A version of any vendor's model, by id or by the model's id and the version's name; the model is locked."""
    statement = (
        select(model_versions, models.c.vendor_id, models.c.name.label("model"))
        .join(models, models.c.id == model_versions.c.model_id)
        .where(models.c.id == model, (model_versions.c.id == version) | (model_versions.c.version == version))
        .order_by((model_versions.c.id == version).desc())
        .limit(1)
        .with_for_update(of=models)
    )
    return tx.execute(statement).one_or_none()


def models_of(tx: Tx, version_ids: Sequence[str]) -> dict[str, str]:
    """The model of each version."""
    columns = model_versions.c
    rows = tx.execute(select(columns.id, columns.model_id).where(columns.id.in_(version_ids)))
    return {row.id: row.model_id for row in rows}


def versions_of(tx: Tx, model_id: str) -> list[Row[Any]]:
    """A model's versions, the newest first."""
    columns = model_versions.c
    return list(
        tx.execute(
            select(model_versions).where(columns.model_id == model_id).order_by(columns.created_at.desc(), columns.id)
        )
    )


def of_versions(tx: Tx, table: Table, version_ids: Sequence[str]) -> list[Row[Any]]:
    """Rows of validations, approvals or history, in their order."""
    return list(
        tx.execute(select(table).where(table.c.version_id.in_(version_ids)).order_by(table.c.version_id, table.c.seq))
    )


def runs_of(tx: Tx, run_ids: Sequence[str]) -> list[Row[Any]]:
    """Training runs by id."""
    return list(tx.execute(select(training_runs).where(training_runs.c.id.in_(run_ids))))


def artifacts_of(tx: Tx, run_ids: Sequence[str]) -> list[Row[Any]]:
    """Artifacts that were taken in, of several runs."""
    columns = run_artifacts.c
    statement = select(run_artifacts).where(columns.run_id.in_(run_ids), columns.uploaded_at.is_not(None))
    return list(tx.execute(statement.order_by(columns.run_id, columns.name)))


def served_by(tx: Tx, model_id: str, vendor_id: str) -> list[Row[Any]]:
    """Deployments of a model with the sum of their signals."""
    return list(tx.execute(text(named("served_by")), {"model_id": model_id, "vendor_id": vendor_id}))


NOTES = {"validations": model_validations, "approvals": model_approvals, "history": model_stage_history}
"""What grows with a version."""
