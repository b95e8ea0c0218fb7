"""Queries of a vendor's own pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, text

from mp_kit.server.store.engine import Tx
from mp_kit.server.store.queries import named


def runs(tx: Tx, vendor_id: str, filters: Mapping[str, str], *, limit: int, offset: int) -> list[Row[Any]]:
    """A page of runs; filters are status, task and provider, each empty for any."""
    values = {"vendor_id": vendor_id, "limit": limit, "offset": offset, **filters}
    return list(tx.execute(text(named("desk_runs")), values))


def run_counts(tx: Tx, vendor_id: str) -> dict[str, int]:
    """Runs by status."""
    return {row.status: row.runs for row in tx.execute(text(named("desk_run_counts")), {"vendor_id": vendor_id})}


def activity(tx: Tx, vendor_id: str, limit: int) -> list[Row[Any]]:
    """What happened last."""
    return list(tx.execute(text(named("desk_activity")), {"vendor_id": vendor_id, "limit": limit}))


def heartbeats(tx: Tx, deployment_id: str, limit: int) -> list[Row[Any]]:
    """A deployment's last signs of life, newest first."""
    values = {"deployment_id": deployment_id, "limit": limit}
    return list(tx.execute(text(named("desk_heartbeats")), values))


def registered_from(tx: Tx, vendor_id: str, run_id: str) -> list[Row[Any]]:
    """A vendor's versions that came from a run."""
    return list(tx.execute(text(named("desk_registered")), {"vendor_id": vendor_id, "run_id": run_id}))


def deployable(tx: Tx, vendor_id: str, limit: int) -> list[Row[Any]]:
    """A vendor's versions that are not retired, newest first."""
    return list(tx.execute(text(named("desk_deployable")), {"vendor_id": vendor_id, "limit": limit}))
