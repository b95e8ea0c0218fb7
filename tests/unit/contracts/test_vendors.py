"""Vendors, deployments and models on the wire: secrets stay hidden, credentials are refused."""

from __future__ import annotations

from typing import Any

import pytest

from mp_kit.contracts import (
    CatalogEntry,
    ConnectionWrite,
    DeploymentRequest,
    DeploymentStatus,
    ExchangeRequest,
    HeartbeatWrite,
    Introspection,
    IntrospectRequest,
    LoginRequest,
    Model,
    ModelRegistration,
    RegisteredModel,
    RotateRequest,
    Stage,
    StageChange,
    Vendor,
    VendorStatus,
)

SECRET = "vk_0123456789abcdef_do-not-show-me"
BEAT = {"deployment_id": "dep_1", "status": "ready", "timestamp": "2026-01-02T00:00:00Z"}
REGISTRATION = {"name": "Momentum", "task": "signal", "version": "1"}
BAD: dict[str, tuple[type[Model], dict[str, Any], str]] = {
    "provider key in a deployment": (DeploymentRequest, {"name": "a", "runpod_api_key": SECRET}, ""),
    "deployment without a name": (DeploymentRequest, {}, "name"),
    "deployment with a control character": (DeploymentRequest, {"name": "a\x1b[31m"}, "name"),
    "deployment with no cpu": (DeploymentRequest, {"name": "a", "cpu": 0}, "cpu"),
    "pod without a bound": (DeploymentRequest, {"name": "a", "kind": "pod"}, ""),
    "pod elsewhere": (
        DeploymentRequest,
        {"name": "a", "kind": "pod", "provider": "local", "max_price_per_hour": 1},
        "",
    ),
    "pod with workers": (
        DeploymentRequest,
        {"name": "a", "kind": "pod", "max_price_per_hour": 1, "workers_max": 2},
        "",
    ),
    "bound of an endpoint": (DeploymentRequest, {"name": "a", "max_price_per_hour": 1}, ""),
    "pod for nothing": (DeploymentRequest, {"name": "a", "kind": "pod", "max_price_per_hour": 0}, "max_price_per_hour"),
    "deployment somewhere else": (DeploymentRequest, {"name": "a", "provider": "aws"}, "provider"),
    "heartbeat of a dead one": (HeartbeatWrite, BEAT | {"status": "dead"}, "status"),
    "heartbeat of nobody": (HeartbeatWrite, BEAT | {"deployment_id": ""}, "deployment_id"),
    "heartbeat with a naive time": (HeartbeatWrite, BEAT | {"timestamp": "2026-01-02T00:00:00"}, "timestamp"),
    "heartbeat with a novel": (HeartbeatWrite, BEAT | {"message": "x" * 2_001}, "message"),
    "model without a name": (ModelRegistration, REGISTRATION | {"name": ""}, "name"),
    "model of no task": (ModelRegistration, REGISTRATION | {"task": "oracle"}, "task"),
    "model of no version": (ModelRegistration, REGISTRATION | {"version": ""}, "version"),
    "stage unknown": (StageChange, {"stage": "production"}, "stage"),
    "login without a key": (LoginRequest, {}, "api_key"),
    "login with a number": (LoginRequest, {"api_key": 5}, "api_key"),
    "rotation with a novel": (RotateRequest, {"current_api_key": SECRET, "reason": "x" * 501}, "reason"),
    "vendor of no status": (
        Vendor,
        {"id": "ven_1", "name": "a", "status": "deleted", "created_at": "2026-01-02T00:00:00Z"},
        "status",
    ),
}
HIDING: dict[str, Model] = {
    "login": LoginRequest(api_key=SECRET),
    "exchange": ExchangeRequest(auth_code=SECRET),
    "rotate": RotateRequest(current_api_key=SECRET),
    "connection": ConnectionWrite(value=SECRET),
    "introspect": IntrospectRequest(token=SECRET),
}


@pytest.mark.parametrize(("contract", "document", "place"), BAD.values(), ids=BAD)
def test_bad_document_names_the_place(contract: type[Model], document: dict[str, Any], place: str, refused: Any):
    """One finding, at the field that is wrong; the sentence never repeats a secret."""
    places = refused(contract, document)
    assert [place] == list(places)
    assert SECRET not in str(places)


@pytest.mark.parametrize("request_", HIDING.values(), ids=HIDING)
def test_secret_is_never_shown(request_: Model):
    """Not in repr, str, dump or JSON: what logs a request logs stars."""
    shown = f"{request_!r} {request_!s} {request_.model_dump()} {request_.model_dump_json()}"
    assert "do-not-show-me" not in shown
    assert "**" in shown


def test_refused_credential_says_where_it_belongs(refused: Any):
    """Old clients read this sentence."""
    sentence = refused(DeploymentRequest, {"name": "a", "runpod_api_key": SECRET})[""]
    assert "PUT /api/vendors/connections/runpod" in sentence


def test_unknown_token_is_an_answer():
    """Nothing but active: false."""
    assert {"active": False} == Introspection(active=False).model_dump(exclude_none=True)


def test_heartbeat_keeps_unknown_metrics():
    """Whatever a vendor measures."""
    metrics = {"gpu": 0.5, "queue": {"deep": [1, 2]}}
    assert metrics == HeartbeatWrite.model_validate(BEAT | {"metrics": metrics}).metrics


def test_statuses_are_the_wires():
    """Word by word."""
    assert ["pending", "ready", "error", "maintenance", "offline"] == [one.value for one in DeploymentStatus]
    assert ["pending", "active", "suspended"] == [one.value for one in VendorStatus]
    assert ["shadow", "pilot", "prod", "retired"] == [one.value for one in Stage]


def test_new_version_starts_in_the_shadow():
    """Nobody sees it before it is promoted."""
    assert Stage.SHADOW == RegisteredModel(model_id="m", version_id="v").stage


def test_catalog_has_the_wires_fields():
    """Old clients read each of them; the measured ones may be null; our own come last."""
    fields = (
        "id name description vendor task stage created_at updated_at last_heartbeat_at last_oos_sharpe avg_confidence"
        " total_predictions deployment_count status tags supported_symbols supported_timeframes"
    )
    assert [*fields.split(), "sharpe", "hit_rate"] == list(CatalogEntry.model_fields)
    measured = ("last_heartbeat_at", "last_oos_sharpe", "avg_confidence", "total_predictions")
    assert [None] * 4 == [CatalogEntry.model_fields[name].default for name in measured]
