"""Lineage: run -> artifacts -> version -> deployments -> signals, read from the rows that each step left."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row

from mp_kit.contracts import Lineage, RunOrigin, ServedBy, VersionLineage
from mp_kit.errors import NotFoundError
from mp_kit.server import clock
from mp_kit.server.services.gates import gates_of
from mp_kit.server.services.liveness import liveness_of
from mp_kit.server.store import gates as rows
from mp_kit.server.store import models as model_rows
from mp_kit.server.store.engine import Tx

__all__ = ["lineage"]


def lineage(tx: Tx, vendor_id: str, model_id: str) -> Lineage:
    """A vendor's model, version by version, with all that each stands on.

    Raises:
        NotFoundError: The model is not the vendor's.
    """
    model = model_rows.find_model(tx, vendor_id, model_id)
    if model is None:
        raise NotFoundError(f"There is no model {model_id!r}.")
    versions = rows.versions_of(tx, model_id)
    notes = _notes(tx, [row.id for row in versions])
    gates = gates_of(tx, [row.id for row in versions])
    runs = _runs(tx, [row.run_id for row in versions if row.run_id])
    served: dict[str, list[ServedBy]] = defaultdict(list)
    now = clock.now()
    for row in rows.served_by(tx, model_id, vendor_id):
        served[row.version_id].append(
            ServedBy.model_validate(_facts(row) | {"liveness": liveness_of(row.last_heartbeat_at, now)})
        )
    found = [
        VersionLineage.model_validate(
            {
                **_facts(row),
                **notes[row.id],
                "version_id": row.id,
                "run": runs.get(row.run_id),
                "deployments": served[row.id],
                "gates": gates[row.id],
            }
        )
        for row in versions
    ]
    return Lineage(model_id=model.id, name=model.name, task=model.task, versions=found)


def _notes(tx: Tx, version_ids: list[str]) -> Mapping[str, dict[str, list[Any]]]:
    notes: dict[str, dict[str, list[Any]]] = defaultdict(lambda: {name: [] for name in rows.NOTES})
    for name, table in rows.NOTES.items():
        for row in rows.of_versions(tx, table, version_ids):
            notes[row.version_id][name].append(_facts(row))
    return notes


def _runs(tx: Tx, run_ids: list[str]) -> Mapping[str, RunOrigin]:
    files: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows.artifacts_of(tx, run_ids):
        files[row.run_id].append({"name": row.name, "size_bytes": row.size_bytes, "sha256": row.sha256})
    return {
        row.id: RunOrigin.model_validate(_facts(row) | {"run_id": row.id, "artifacts": files[row.id]})
        for row in rows.runs_of(tx, run_ids)
    }


def _facts(row: Row[Any]) -> dict[str, Any]:
    return dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public way to a row's mapping
