"""Versions before the gates of prod: what opens each of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import text

from mp_kit.contracts import (
    CheckStatus,
    DeploymentRequest,
    HeartbeatWrite,
    ModelRegistration,
    Stage,
    Task,
    ValidationCheck,
    ValidationReport,
)
from mp_kit.server.house import House
from mp_kit.server.services import deployments, gates, models, vendors
from mp_kit.server.services.tokens import Principal
from mp_kit.server.store.engine import Tx


def report(*, passed: bool = True, task: Task = Task.SIGNAL) -> ValidationReport:
    """What `mp validate` could have found."""
    status = CheckStatus.PASSED if passed else CheckStatus.FAILED
    check = ValidationCheck(name="infer", status=status, where="POST /infer", what="said", mend="Mend it.")
    facts = {"server": "http://server.test", "bars": "made-up", "contracts_version": "0.2.0", "code_version": "0"}
    return ValidationReport.model_validate(
        {**facts, "task": task, "checked_at": datetime.now(UTC), "checks": [check], "passed": passed}
    ).sealed()


@dataclass(frozen=True)
class Candidate:
    """A version, its deployment, and its vendor."""

    vendor: str
    model: str
    version: str
    deployment: str
    number: str = "1"

    @property
    def who(self) -> Principal:
        """The bearer of the deployment's token."""
        return Principal(kind="deployment", vendor_id=self.vendor, deployment_id=self.deployment, model_id=self.model)


def candidate(tx: Tx, house: House, name: str = "ACME", stage: Stage = Stage.PILOT) -> Candidate:
    """A version with a deployment and none of prod's gates met."""
    vendor = vendors.create(tx, house.tokens, name, actor="test").vendor_id
    wanted = DeploymentRequest(name="live", provider="byoc")
    placed = deployments.create(tx, house.tokens, vendor, wanted, actor="test").deployment_id
    made = models.register(
        tx, vendor, ModelRegistration(name="trend", task=Task.SIGNAL, version="1", deployment_id=placed)
    )
    if stage is not Stage.SHADOW:
        models.change_stage(tx, vendor, made.model_id, "1", stage, actor="test", reason=None)
    return Candidate(vendor, made.model_id, made.version_id, placed)


def validated(tx: Tx, who: Candidate) -> None:
    """Opens the gate ``validated``."""
    gates.note_validation(tx, who.vendor, who.model, who.number, report(), actor="test")


def heard(tx: Tx, who: Candidate) -> None:
    """Opens the gate ``heartbeats``."""
    beat = HeartbeatWrite(deployment_id=who.deployment, status="ready", timestamp=datetime.now(UTC))  # type: ignore[arg-type]
    deployments.heartbeat(tx, who.who, beat)


def scored(tx: Tx, who: Candidate, round_id: str = "r", *, enough: bool = True) -> None:
    """Opens the gate ``scores``, by the row that the flow ``score`` writes; each round is newer than those before."""
    tx.execute(text("INSERT INTO signing_keys (id, public_key) VALUES ('k', '') ON CONFLICT DO NOTHING"))
    tx.execute(
        text(
            "INSERT INTO dataset_rounds (id, name, fingerprint, manifest, manifest_sha256, manifest_key_id,"
            " manifest_signature, created_at) VALUES (:round, 'r', :round, '', '', 'k', '', clock_timestamp())"
            " ON CONFLICT DO NOTHING"
        ),
        {"round": round_id},
    )
    tx.execute(
        text(
            "INSERT INTO model_scores (round_id, deployment_id, timeframe, enough_data, bars, card, standing,"
            " tries_by_round) VALUES (:round, :id, '1h', :enough, 500,"
            " jsonb_build_object('basis', jsonb_build_object('first', clock_timestamp())), '{}', '{}')"
        ),
        {"id": who.deployment, "round": round_id, "enough": enough},
    )


def approved(tx: Tx, who: Candidate) -> None:
    """Opens the gate ``approval``."""
    gates.approve(tx, who.model, who.number, "looked at it", actor="operator:test")


GATES = {"validated": validated, "heartbeats": heard, "scores": scored, "approval": approved}
"""What opens each."""


def open_all(tx: Tx, who: Candidate) -> None:
    """Opens all of them."""
    for meet in GATES.values():
        meet(tx, who)
