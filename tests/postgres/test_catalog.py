"""The public catalogue: what is measured over all of a model's deployments."""

from __future__ import annotations

import json
from typing import Any

from mp_kit.contracts import CatalogEntry, DeploymentRequest, ModelRegistration, Stage
from mp_kit.server.house import House
from mp_kit.server.services import deployments, models, signals, vendors
from mp_kit.server.services.tokens import Principal
from mp_kit.server.store.engine import Tx
from mp_kit.signing import Signer


def signal(**changes: Any) -> dict[str, Any]:
    row = {"symbol": "EURUSD", "timeframe": "1h", "decision": "BUY", "confidence": 0.5, "model_version": "1"}
    return row | {"timestamp": "2026-01-05T10:00:00Z"} | changes


def push(tx: Tx, vendor_id: str, deployment_id: str, *rows: dict[str, Any]) -> None:
    who = Principal("deployment", vendor_id=vendor_id, deployment_id=deployment_id, scope={"routes": ["signals:store"]})
    batch = signals.Batch(items=rows, body=json.dumps(rows).encode())
    signals.store(tx, who, batch, signer=Signer(bytes(32)))


def catalog_of(tx: Tx, vendor: str) -> dict[str, CatalogEntry]:
    return {entry.name: entry for entry in models.catalog(tx) if entry.vendor == vendor}


def test_catalogue_measures_each_model_by_its_own_deployments(house: House):
    """Mean over signals, not over deployments; a model without signals has nulls, one in shadow is not there."""
    with house.db.begin() as tx:
        vendor_id = vendors.create(tx, house.tokens, "measured", actor="test").vendor_id
        made = {}
        for name in ("loud", "mute", "hidden"):
            wanted = ModelRegistration(name=name, task="signal", version="1")
            made[name] = models.register(tx, vendor_id, wanted)
        for name in ("loud", "mute"):
            model, version = made[name].model_id, made[name].version_id
            models.change_stage(tx, vendor_id, model, version, Stage.PILOT, actor="test", reason=None)
        placed = []
        for name in ("a", "b"):
            order = DeploymentRequest(name=name, provider="byoc", model_id=made["loud"].model_id)
            placed.append(deployments.create(tx, house.tokens, vendor_id, order, actor="test").deployment_id)
        push(tx, vendor_id, placed[0], signal(confidence=1.0), signal(symbol="USDJPY", confidence=1.0))
        push(tx, vendor_id, placed[1], signal(timeframe="1d", confidence=0.25))
        found = catalog_of(tx, "measured")
    loud, mute = found["loud"], found["mute"]
    assert {"loud", "mute"} == set(found)
    assert (0.75, 3, 2) == (loud.avg_confidence, loud.total_predictions, loud.deployment_count)
    assert (["EURUSD", "USDJPY"], ["1d", "1h"]) == (loud.supported_symbols, loud.supported_timeframes)
    assert (None, None, [], 0) == (
        mute.avg_confidence,
        mute.total_predictions,
        mute.supported_symbols,
        mute.deployment_count,
    )
