"""Queries about hosted deployments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, select, text, update

from mp_kit.server.store.engine import Tx
from mp_kit.server.store.queries import named
from mp_kit.server.store.tables import deployments, hostings


def insert(tx: Tx, values: Mapping[str, Any]) -> Row[Any]:
    """Stores a hosting."""
    return tx.execute(hostings.insert().values(**values).returning(hostings)).one()


def find(tx: Tx, deployment_id: str, vendor_id: str, *, lock: bool = False) -> Row[Any] | None:
    """A vendor's hosting."""
    columns = hostings.c
    statement = select(hostings).where(columns.deployment_id == deployment_id, columns.vendor_id == vendor_id)
    return tx.execute(statement.with_for_update() if lock else statement).one_or_none()


def of_vendor(tx: Tx, vendor_id: str) -> dict[str, Row[Any]]:
    """A vendor's hostings by deployment."""
    return {row.deployment_id: row for row in tx.execute(select(hostings).where(hostings.c.vendor_id == vendor_id))}


def change(tx: Tx, deployment_id: str, values: Mapping[str, Any], *, lock_token: str | None = None) -> bool:
    """Changes a hosting; under a claim's token only while the claim holds. Says whether it did."""
    statement = update(hostings).where(hostings.c.deployment_id == deployment_id)
    if lock_token is not None:
        statement = statement.where(hostings.c.lock_token == lock_token)
    return tx.execute(statement.values(updated_at=text("now()"), **values)).rowcount == 1


def claim(tx: Tx, *, lock_token: str, limit: int, lease: float, places: Sequence[tuple[str, str]]) -> list[Row[Any]]:
    """Takes hostings that are due, of these providers and kinds."""
    known = [f"{provider}/{kind}" for provider, kind in places]
    values = {"lock_token": lock_token, "limit": limit, "lease": lease, "places": known}
    return list(tx.execute(text(named("claim_hostings")), values))


def release(tx: Tx, deployment_id: str, lock_token: str, *, wanted: str, look_in: float) -> None:
    """Gives a claim back."""
    values = {"deployment_id": deployment_id, "lock_token": lock_token, "wanted": wanted, "look_in": look_in}
    tx.execute(text(named("release_hosting")), values)


def set_endpoint(tx: Tx, deployment_id: str, endpoint: str | None, status: str | None = None) -> None:
    """Says where a deployment answers."""
    values = {"endpoint": endpoint} | ({"status": status} if status else {})
    tx.execute(update(deployments).where(deployments.c.id == deployment_id).values(updated_at=text("now()"), **values))


def accounts(tx: Tx, providers: Sequence[str]) -> list[tuple[str, str]]:
    """Provider and vendor wherever a server of ours may be."""
    return [
        (row.provider, row.vendor_id)
        for row in tx.execute(text(named("accounts_of_servers")), {"providers": list(providers)})
    ]


def facts_of(tx: Tx, provider: str, deployment_ids: Sequence[str]) -> dict[str, Row[Any]]:
    """What a provider's hostings are at, by deployment."""
    values = {"provider": provider, "deployment_ids": list(deployment_ids)}
    return {row.deployment_id: row for row in tx.execute(text(named("facts_of_hostings")), values)}


def served_model(tx: Tx, deployment_id: str, vendor_id: str) -> Row[Any] | None:
    """What a deployment serves."""
    values = {"deployment_id": deployment_id, "vendor_id": vendor_id}
    return tx.execute(text(named("served_model")), values).one_or_none()
