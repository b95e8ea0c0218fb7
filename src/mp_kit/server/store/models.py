"""Queries about models, their versions, and the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, func, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from mp_kit.server.store.engine import Tx
from mp_kit.server.store.queries import named
from mp_kit.server.store.tables import marketplace_vendors, model_stage_history, model_versions, models


def upsert_model(tx: Tx, values: Mapping[str, Any]) -> Row[Any]:
    """Stores a model, or finds the vendor's model of that name; says its id and task.

    An empty description leaves the one that is there.
    """
    statement = upsert(models).values(**values)
    described = func.coalesce(func.nullif(statement.excluded.description, ""), models.c.description)
    statement = statement.on_conflict_do_update(
        constraint="uq_models_vendor_id_name", set_={"updated_at": text("now()"), "description": described}
    )
    return tx.execute(statement.returning(models.c.id, models.c.task)).one()


def insert_version(tx: Tx, values: Mapping[str, Any]) -> str | None:
    """Stores a version; None when the model has one of that name."""
    statement = (
        upsert(model_versions)
        .values(**values)
        .on_conflict_do_nothing(constraint="uq_model_versions_model_id_version")
        .returning(model_versions.c.id)
    )
    return tx.execute(statement).scalar_one_or_none()


def find_version(tx: Tx, vendor_id: str, model_id: str, wanted: str, *, lock: bool = False) -> Row[Any] | None:
    """A vendor's version by id, else by its own name; ``lock`` holds the model to the transaction's end.

    The model is locked, and not the version, because a new prod version changes another version's row too.
    """
    if lock:
        tx.execute(
            select(models.c.id).where(models.c.id == model_id, models.c.vendor_id == vendor_id).with_for_update()
        )
    columns = model_versions.c
    statement = (
        select(model_versions)
        .join(models, models.c.id == columns.model_id)
        .where(
            models.c.vendor_id == vendor_id,
            models.c.id == model_id,
            (columns.id == wanted) | (columns.version == wanted),
        )
        .order_by((columns.id == wanted).desc())
        .limit(1)
    )
    return tx.execute(statement).one_or_none()


def find_model(tx: Tx, vendor_id: str, model_id: str) -> Row[Any] | None:
    """A vendor's model."""
    return tx.execute(select(models).where(models.c.id == model_id, models.c.vendor_id == vendor_id)).one_or_none()


def versions_everywhere(tx: Tx, wanted: str | None = None) -> list[Row[Any]]:
    """Versions of all vendors' models, newest first, for the operator; of one model by its id, else of those so named.

    A model has a version from its first day on.
    """
    statement = (
        select(
            models.c.id.label("model_id"),
            models.c.name,
            marketplace_vendors.c.id.label("vendor_id"),
            marketplace_vendors.c.name.label("vendor"),
            model_versions.c.version,
            model_versions.c.id.label("version_id"),
            model_versions.c.stage,
            model_versions.c.created_at,
        )
        .join(marketplace_vendors, marketplace_vendors.c.id == models.c.vendor_id)
        .join(model_versions, model_versions.c.model_id == models.c.id)
        .order_by(model_versions.c.created_at.desc(), model_versions.c.id)
    )
    if wanted is not None:
        statement = statement.where((models.c.id == wanted) | (models.c.name == wanted))
    return list(tx.execute(statement))


def retire_prod(tx: Tx, model_id: str) -> list[str]:
    """Retires the model's version in prod, if there is one, and says which."""
    statement = (
        update(model_versions)
        .where(model_versions.c.model_id == model_id, model_versions.c.stage == "prod")
        .values(stage="retired", updated_at=text("now()"))
        .returning(model_versions.c.id)
    )
    return list(tx.execute(statement).scalars())


def set_stage(tx: Tx, version_id: str, stage: str) -> None:
    """Changes a version's stage."""
    tx.execute(
        update(model_versions).where(model_versions.c.id == version_id).values(stage=stage, updated_at=text("now()"))
    )


def append_history(tx: Tx, values: Mapping[str, Any]) -> None:
    """Appends to a version's history of stages."""
    table = model_stage_history
    following = (
        select(func.coalesce(func.max(table.c.seq), 0) + 1)
        .where(table.c.version_id == values["version_id"])
        .scalar_subquery()
    )
    tx.execute(table.insert().values(seq=following, **values))


def catalog(tx: Tx) -> list[Row[Any]]:
    """Models in pilot or prod, with what was measured of them."""
    return list(tx.execute(text(named("catalog"))))


def list_of(tx: Tx, vendor_id: str) -> list[Row[Any]]:
    """A vendor's models, newest first."""
    return list(tx.execute(text(named("own_models")), {"vendor_id": vendor_id}))
