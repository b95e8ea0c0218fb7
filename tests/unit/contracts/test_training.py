"""Training on the wire: specs, bounds, and what a job reports."""

from __future__ import annotations

from typing import Any

import pytest

from mp_kit.contracts import (
    ArtifactRequest,
    Budget,
    LogChunk,
    Model,
    Provider,
    RunOrders,
    RunOutcome,
    RunStatus,
    TrainingRequest,
    TrainingRun,
    TrainingSpec,
)

SPEC = {"round_id": "current", "task": "signal"}
RUN = {
    "run_id": "run_1",
    "provider": "local",
    "status": "queued",
    "created_at": "2026-01-02T00:00:00Z",
    "logs_url": "/",
}
ARTIFACT = {"name": "model.onnx", "size_bytes": 1, "sha256": "a" * 64}
LINE = {"at": "2026-01-02T00:00:00Z", "text": "x"}
BAD: dict[str, tuple[type[Model], dict[str, Any], str]] = {
    "no round": (TrainingSpec, {"task": "signal"}, "round_id"),
    "empty round": (TrainingSpec, SPEC | {"round_id": ""}, "round_id"),
    "unknown task": (TrainingSpec, SPEC | {"task": "signals"}, "task"),
    "urls as text": (TrainingSpec, SPEC | {"dataset_urls": "https://example.org"}, "dataset_urls"),
    "unknown format": (TrainingSpec, SPEC | {"output_format": "zip"}, "output_format"),
    "budget misspelt": (TrainingSpec, SPEC | {"budget": {"max_cost": 3}}, "budget.max_cost"),
    "budget zero": (TrainingSpec, SPEC | {"budget": {"max_hours": 0}}, "budget.max_hours"),
    "budget negative": (TrainingSpec, SPEC | {"budget": {"max_cost_usd": -1}}, "budget.max_cost_usd"),
    "budget endless": (TrainingSpec, SPEC | {"budget": {"max_hours": float("inf")}}, "budget.max_hours"),
    "wandb a word": (TrainingSpec, SPEC | {"wandb": {"enabled": "perhaps"}}, "wandb.enabled"),
    "unknown provider": (TrainingRequest, SPEC | {"provider": "aws"}, "provider"),
    "no cpu": (TrainingRequest, SPEC | {"cpu": 0}, "cpu"),
    "half a gibibyte": (TrainingRequest, SPEC | {"memory": 0.5}, "memory"),
    "no disk": (TrainingRequest, SPEC | {"disk": -1}, "disk"),
    "finer status": (TrainingRun, RUN | {"status": "launching"}, "status"),
    "naive creation": (TrainingRun, RUN | {"created_at": "2026-01-02T00:00:00"}, "created_at"),
    "artifact walks out": (ArtifactRequest, ARTIFACT | {"name": "../model.onnx"}, "name"),
    "artifact hidden": (ArtifactRequest, ARTIFACT | {"name": ".bashrc"}, "name"),
    "artifact without digest": (ArtifactRequest, ARTIFACT | {"sha256": "none"}, "sha256"),
    "artifact of negative size": (ArtifactRequest, ARTIFACT | {"size_bytes": -1}, "size_bytes"),
    "chunk before the first": (LogChunk, {"seq": -1, "lines": []}, "seq"),
    "line too long": (LogChunk, {"seq": 0, "lines": [LINE | {"text": "x" * 16_385}]}, "lines.0.text"),
    "line of no stream": (LogChunk, {"seq": 0, "lines": [LINE | {"stream": "log"}]}, "lines.0.stream"),
    "too many lines": (LogChunk, {"seq": 0, "lines": [LINE] * 5_001}, "lines"),
    "unknown order": (RunOrders, {"command": "pause"}, "command"),
    "outcome still running": (RunOutcome, {"status": "running"}, "status"),
    "outcome with a novel": (RunOutcome, {"status": "failed", "failure": "x" * 4_001}, "failure"),
}


@pytest.mark.parametrize(("contract", "document", "place"), BAD.values(), ids=BAD)
def test_bad_document_names_the_place(contract: type[Model], document: dict[str, Any], place: str, refused: Any):
    """One finding, at the field that is wrong."""
    assert [place] == list(refused(contract, document))


@pytest.mark.parametrize("value", [None, ["a"], {"a": 1}, float("nan")])
def test_hyperparameter_is_a_scalar(value: Any, refused: Any):
    """Whatever was tried of it, the place begins at the parameter."""
    places = refused(TrainingSpec, SPEC | {"hyperparams": {"lr": value}})
    assert places
    assert all(place.startswith("hyperparams.lr") for place in places)


@pytest.mark.parametrize("value", [True, False, 3, 0.1, "gbm", "3", 1.0])
def test_hyperparameter_keeps_its_type(value: Any):
    """True stays True, 3 stays 3, "3" stays text."""
    kept = TrainingSpec.model_validate(SPEC | {"hyperparams": {"x": value}}).hyperparams["x"]
    assert (type(value), value) == (type(kept), kept)


def test_budget_refuses_unknown_fields(refused: Any):
    """A misspelt bound is no bound."""
    assert {"hours": "Extra inputs are not permitted"} == refused(Budget, {"hours": 1})


def test_budget_may_be_open():
    """The operator's own ceilings still hold."""
    assert (None, None) == (Budget().max_hours, Budget().max_cost_usd)


def test_spec_drops_the_machine():
    """What goes to the trainer is a TrainingSpec and nothing more, with every field of it as ordered."""
    ordered = {
        "round_id": "rnd_1",
        "dataset_urls": ["https://example.org/a"],
        "task": "optimizer",
        "hyperparams": {"lr": 0.1, "deep": True},
        "hf_repo_id": "acme/model",
        "base_image": "acme/image:1",
        "output_format": "tarball",
        "wandb": {"enabled": True, "project": "p"},
        "budget": {"max_hours": 1.0, "max_cost_usd": 2.0},
    }
    machine = {"provider": "local", "gpu": "L4", "cpu": 4, "memory": 16, "disk": 50}
    spec = TrainingRequest.model_validate({**ordered, **machine}).spec
    assert TrainingSpec is type(spec)
    assert ordered == spec.model_dump(mode="json")


def test_request_runs_on_runpod_by_default():
    """As the guide says."""
    request = TrainingRequest.model_validate(SPEC)
    assert (Provider.RUNPOD, "huggingface", False) == (request.provider, request.output_format, request.wandb.enabled)


def test_wire_shows_five_statuses():
    """Of which three are final."""
    assert ["queued", "running", "succeeded", "failed", "cancelled"] == [one.value for one in RunStatus]
    assert ["succeeded", "failed", "cancelled"] == [one.value for one in RunStatus if one.is_final]
