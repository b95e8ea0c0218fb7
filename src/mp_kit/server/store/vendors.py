"""Queries about vendors."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Row, exists, func, select, text, update

from mp_kit.server.store.engine import Tx
from mp_kit.server.store.tables import deployments, marketplace_vendors, vendor_keys


def insert(tx: Tx, vendor_id: str, name: str, status: str = "active") -> None:
    """Stores a vendor; a taken name violates ``uq_marketplace_vendors_name``."""
    tx.execute(marketplace_vendors.insert().values(id=vendor_id, name=name, status=status))


def find(tx: Tx, vendor_id: str) -> Row[Any] | None:
    """A vendor with the end of its longest living key."""
    ends = (
        select(func.max(vendor_keys.c.expires_at))
        .where(vendor_keys.c.vendor_id == vendor_id, vendor_keys.c.revoked_at.is_(None))
        .scalar_subquery()
    )
    statement = select(marketplace_vendors, ends.label("key_expires_at")).where(marketplace_vendors.c.id == vendor_id)
    return tx.execute(statement).one_or_none()


def names(tx: Tx, ids: Collection[str]) -> dict[str, str]:
    """What vendors are called, by their ids; what is no vendor's id is left out."""
    table = marketplace_vendors
    return dict(tx.execute(select(table.c.id, table.c.name).where(table.c.id.in_(ids))).tuples().all())


def list_all(tx: Tx) -> list[Row[Any]]:
    """Every vendor, oldest first."""
    return list(tx.execute(select(marketplace_vendors).order_by(marketplace_vendors.c.created_at)))


def deployed(tx: Tx) -> list[Row[Any]]:
    """Active vendors that have a deployment, oldest first."""
    table = marketplace_vendors
    has_one = exists().where(deployments.c.vendor_id == table.c.id)
    return list(tx.execute(select(table).where(table.c.status == "active", has_one).order_by(table.c.created_at)))


def find_by_id_or_name(tx: Tx, wanted: str) -> Row[Any] | None:
    """A vendor by its id or its name."""
    table = marketplace_vendors
    return tx.execute(select(table).where((table.c.id == wanted) | (table.c.name == wanted))).one_or_none()


def set_status(tx: Tx, vendor_id: str, status: str) -> None:
    """Changes a vendor's status and ends its sessions."""
    table = marketplace_vendors
    tx.execute(
        update(table)
        .where(table.c.id == vendor_id)
        .values(status=status, updated_at=text("now()"), session_epoch=table.c.session_epoch + 1)
    )


def now(tx: Tx) -> datetime:
    """The database's clock, which all processes share."""
    instant: datetime = tx.execute(select(func.clock_timestamp())).scalar_one()
    return instant


def end_sessions(tx: Tx, vendor_id: str) -> None:
    """Moves a vendor's epoch on, which ends every session of before."""
    table = marketplace_vendors
    tx.execute(update(table).where(table.c.id == vendor_id).values(session_epoch=table.c.session_epoch + 1))
