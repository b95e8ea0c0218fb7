"""Queries about the flow runs that show training runs."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, func, select, text
from sqlalchemy.dialects.postgresql import insert as upsert

from mp_kit.server.store.engine import Tx
from mp_kit.server.store.queries import named
from mp_kit.server.store.tables import run_mirrors, training_runs

_FINAL = ("succeeded", "failed", "cancelled")


def stale(tx: Tx, *, limit: int) -> list[Row[Any]]:
    """Runs whose state is not the one that is shown, with ``flow_run_id``, the oldest first."""
    return list(tx.execute(text(named("stale_mirrors")), {"limit": limit}))


def open_ones(tx: Tx) -> dict[str, Row[Any]]:
    """Runs that are not over nor being cancelled, with ``id`` and ``vendor_id``, by the flow run that shows each."""
    columns = training_runs.c
    statement = select(run_mirrors.c.flow_run_id, columns.id, columns.vendor_id).join_from(run_mirrors, training_runs)
    wanted = columns.state.not_in((*_FINAL, "cancelling"))
    return {row.flow_run_id: row for row in tx.execute(statement.where(wanted))}


def shown(tx: Tx, run_id: str, flow_run_id: str, state: str) -> None:
    """Notes what is shown."""
    values = {"flow_run_id": flow_run_id, "shown_state": state, "shown_at": func.now()}
    statement = upsert(run_mirrors).values(run_id=run_id, **values)
    tx.execute(statement.on_conflict_do_update(index_elements=["run_id"], set_=values))
