"""Queries about deployments and their heartbeats."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select, text, update

from mp_kit.server.store.engine import Tx
from mp_kit.server.store.queries import named
from mp_kit.server.store.tables import deployment_heartbeats, deployments


def insert(tx: Tx, values: Mapping[str, Any]) -> Row[Any]:
    """Stores a deployment; a name that the vendor uses violates ``uq_deployments_vendor_id_name``."""
    return tx.execute(deployments.insert().values(**values).returning(deployments)).one()


def find(tx: Tx, deployment_id: str, vendor_id: str) -> Row[Any] | None:
    """A vendor's deployment."""
    columns = deployments.c
    statement = select(deployments).where(columns.id == deployment_id, columns.vendor_id == vendor_id)
    return tx.execute(statement).one_or_none()


def list_of(tx: Tx, vendor_id: str) -> list[Row[Any]]:
    """A vendor's deployments, newest first."""
    statement = select(deployments).where(deployments.c.vendor_id == vendor_id)
    return list(tx.execute(statement.order_by(deployments.c.created_at.desc())))


def set_model(tx: Tx, deployment_id: str, model_id: str, version_id: str) -> None:
    """Says which version a deployment serves."""
    tx.execute(
        update(deployments)
        .where(deployments.c.id == deployment_id)
        .values(model_id=model_id, version_id=version_id, updated_at=text("now()"))
    )


def insert_heartbeat(tx: Tx, values: Mapping[str, Any]) -> None:
    """Stores a heartbeat and what it says of its deployment."""
    tx.execute(deployment_heartbeats.insert().values(**values))
    tx.execute(
        update(deployments)
        .where(deployments.c.id == values["deployment_id"])
        .values(status=values["status"], last_heartbeat_at=text("now()"), updated_at=text("now()"))
    )


def mark_silent(tx: Tx, seconds: float) -> list[Row[Any]]:
    """Marks deployments offline whose last heartbeat is older; gives those that were not marked before."""
    return list(tx.execute(text(named("mark_silent")), {"seconds": seconds}))


def forget_heartbeats(tx: Tx, before: datetime, most: int) -> int:
    """Deletes old heartbeats, so many at most; returns how many."""
    return tx.execute(text(named("forget_heartbeats")), {"before": before, "most": most}).rowcount
