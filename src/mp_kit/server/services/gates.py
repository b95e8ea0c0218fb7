"""Gates: what a version must have shown before a stage is open to it.

1. The database judges (``missing_gates``), here and in its own triggers: there is no second opinion. Services only
   put its findings into words.
2. What the gates stand on is stored and only grows: validations, heartbeats, scores, the operator's approval.
3. A validation is the vendor's own word, checked for being whole; the operator's approval is the one that counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row

from mp_kit.contracts import ApprovalNote, Gate, Stage, ValidationNote, ValidationReport
from mp_kit.errors import ConflictError, InvalidInputError, NotFoundError
from mp_kit.server.services import audit
from mp_kit.server.store import gates as rows
from mp_kit.server.store import models as model_rows
from mp_kit.server.store.engine import Tx
from mp_kit.server.store.tables import model_approvals, model_validations

__all__ = ["HOW", "approve", "gates_of", "note_validation", "require"]

HOW: Mapping[str, str] = {
    "validated": "Validate its server and store the report: "
    "`mp validate --report report.json`, then `mp models validated MODEL VERSION --report report.json`.",
    "heartbeats": "Have a deployment of this version say ready within the last 150 s: `mp deploy`.",
    "scores": "Let a deployment say enough about bars of the newest round while it runs this version, and without a "
    "record of another one: see `mp leaderboard`.",
    "approval": "Ask the operator: `mp admin model approve MODEL VERSION --why TEXT`.",
}
"""How to meet each gate, in the order of their asking."""


def gates_of(tx: Tx, version_ids: Sequence[str], stage: Stage = Stage.PROD) -> dict[str, list[Gate]]:
    """The gates of a stage, and which of them each of several versions has met."""
    missing = rows.missing_of(tx, version_ids, stage.value)
    return {
        version_id: [Gate(name=name, met=name not in missing[version_id], how=how) for name, how in HOW.items()]
        for version_id in version_ids
    }


def require(tx: Tx, version_id: str, version: str, stage: Stage) -> None:
    """Lets pass only a version that has met all gates of a stage.

    Raises:
        ConflictError: It has not; every missing gate is named, with how to meet it.
    """
    missing = rows.missing(tx, version_id, stage.value)
    if missing:
        raise ConflictError(
            f"Version {version} cannot go to {stage.value}: not met: {', '.join(missing)}.",
            hint=HOW[missing[0]],
            details=[{"loc": [name], "msg": HOW[name]} for name in missing],
        )


def note_validation(
    tx: Tx, vendor_id: str, model_id: str, version: str, report: ValidationReport, *, actor: str
) -> ValidationNote:
    """Stores a validation's report with a version; the same report again changes nothing.

    Raises:
        NotFoundError: No such version of this vendor.
        InvalidInputError: The report is not what its digest names, or speaks of another task.
    """
    row = model_rows.find_version(tx, vendor_id, model_id, version, lock=True)
    model = model_rows.find_model(tx, vendor_id, model_id)
    if row is None or model is None:
        raise NotFoundError(f"There is no version {version!r} of model {model_id}.")
    if not report.holds or report.digest is None:
        raise InvalidInputError(
            "The report is not what its digest names, or does not follow from its checks.",
            hint="Send the report as `mp validate --report` wrote it.",
        )
    if report.task.value != model.task:
        raise InvalidInputError(f"The report is about a {report.task.value} server, the model is for {model.task}.")
    values = {"version_id": row.id, "digest": report.digest, "passed": report.passed, "actor": actor}
    if rows.add_validation(tx, {**values, "report": json.dumps(report.model_dump(mode="json"))}):
        audit.record(tx, actor, "model.validated", row.id, digest=report.digest, passed=report.passed)
    stored = [one for one in rows.of_versions(tx, model_validations, [row.id]) if one.digest == report.digest]
    return ValidationNote.model_validate(_facts(stored[0]))


def approve(tx: Tx, model_id: str, version: str, why: str, *, actor: str, granted: bool = True) -> ApprovalNote:
    """The operator's word on a version; the newest one counts. It moves nothing by itself.

    Raises:
        NotFoundError: No such version.
        InvalidInputError: No reason was given.
    """
    if not why.strip():
        raise InvalidInputError("An approval needs its reason.", hint="Say why: --why TEXT.")
    row = rows.find_any_version(tx, model_id, version)
    if row is None:
        raise NotFoundError(f"There is no version {version!r} of model {model_id}.")
    rows.add_approval(tx, {"version_id": row.id, "granted": granted, "actor": actor, "why": why.strip()})
    audit.record(tx, actor, "model.approve" if granted else "model.refuse", row.id, why=why.strip())
    return ApprovalNote.model_validate(_facts(rows.of_versions(tx, model_approvals, [row.id])[-1]))


def _facts(row: Row[Any]) -> dict[str, Any]:
    return dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public way to a row's mapping
