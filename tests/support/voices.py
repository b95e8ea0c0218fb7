"""Deployments whose signals count: a vendor, a model in pilot, and a token's bearer."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from mp_kit.contracts import DeploymentRequest, ModelRegistration, Stage, Task
from mp_kit.server.house import House
from mp_kit.server.services import deployments, models, signals, vendors
from mp_kit.server.services.tokens import Principal
from mp_kit.server.store.deployments import set_model
from mp_kit.server.store.engine import Tx
from mp_kit.signing import Signer
from tests.support.gates import Candidate, open_all

BAR = datetime(2026, 1, 5, 10, tzinfo=UTC)
SIGNER = Signer(bytes(32))


def make_voice(tx: Tx, house: House, name: str, *stages: Stage, task: Task = Task.SIGNAL) -> Principal:
    """A deployment of a new vendor, with version 1 of a model that went through these stages after shadow."""
    vendor = vendors.create(tx, house.tokens, name, actor="test")
    made = models.register(tx, vendor.vendor_id, ModelRegistration(name="m", task=task, version="1"))
    wanted = DeploymentRequest(name="live", provider="byoc", model_id=made.model_id)
    placed = deployments.create(tx, house.tokens, vendor.vendor_id, wanted, actor="test")
    if Stage.PROD in stages:
        set_model(tx, placed.deployment_id, made.model_id, made.version_id)
        open_all(tx, Candidate(vendor.vendor_id, made.model_id, made.version_id, placed.deployment_id))
    for stage in stages:
        change = {"actor": "test", "reason": None}
        models.change_stage(tx, vendor.vendor_id, made.model_id, "1", stage, **change)  # type: ignore[arg-type]
    return Principal(
        kind="deployment",
        vendor_id=vendor.vendor_id,
        deployment_id=placed.deployment_id,
        model_id=made.model_id,
        scope={"routes": ["signals:store", "consensus:store"]},
    )


def signal(**changes: Any) -> dict[str, Any]:
    """A row about :data:`BAR`."""
    row = {"symbol": "EURUSD", "timeframe": "1h", "decision": "BUY", "confidence": 0.8, "model_version": "1"}
    return row | {"timestamp": BAR.isoformat(), "event_time": BAR.isoformat()} | changes


def say(tx: Tx, who: Principal, *rows: dict[str, Any]) -> None:
    """Stores signals, all of which are accepted."""
    given = signals.Batch(items=rows, body=json.dumps(rows).encode())
    assert len(rows) == signals.store(tx, who, given, signer=SIGNER).accepted
