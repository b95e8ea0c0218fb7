"""Deployments: their registration, their scoped tokens, their heartbeats."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import Row
from sqlalchemy.exc import IntegrityError as ViolatedError

from mp_kit.contracts import (
    Deployment,
    DeploymentChange,
    DeploymentRequest,
    DeploymentStatus,
    HeartbeatReceipt,
    HeartbeatWrite,
    IssuedToken,
    Poll,
    PollWish,
)
from mp_kit.errors import AttributionError, ConflictError, InvalidInputError, NotFoundError
from mp_kit.server import clock
from mp_kit.server.providers.hosting import Hosts
from mp_kit.server.services import audit, hostings, polling
from mp_kit.server.services.ids import new_id
from mp_kit.server.services.liveness import liveness_of, words
from mp_kit.server.services.tokens import DEPLOYMENT_TOKEN_DAYS, Principal, TokenBook, ends_in
from mp_kit.server.store import deployments as rows
from mp_kit.server.store import hostings as hosting_rows
from mp_kit.server.store import models as model_rows
from mp_kit.server.store import polling as poll_rows
from mp_kit.server.store import tokens as token_rows
from mp_kit.server.store import vendors as vendor_rows
from mp_kit.server.store.engine import Tx, violated

ROUTES = ["signals:store", "consensus:store", "heartbeats:write", "datasets:read"]
"""What a deployment token may do."""

_NOT_SPEC = {"name", "provider", "model_id", *PollWish.model_fields}


def create(
    tx: Tx,
    tokens: TokenBook,
    vendor_id: str,
    wanted: DeploymentRequest,
    *,
    actor: str,
    hosts: Hosts | None = None,
    with_token: bool = True,
) -> Deployment:
    """Registers a deployment and issues its token, shown this once; orders its server where the marketplace runs it.

    ``byoc`` deployments, and ``local`` ones without a model, are run by their vendor. A hosted server gets a token
    of its own from the keeper: who has no use for another one asks for none. An ``infer_url`` was checked by the caller
    (:func:`mp_kit.server.services.polling.check_url`).

    Raises:
        ConflictError: The vendor has a deployment of that name.
        NotFoundError: The model is not the vendor's.
        InvalidInputError: The marketplace is to run it and cannot, or to ask it and cannot.
    """
    if wanted.model_id is not None and model_rows.find_model(tx, vendor_id, wanted.model_id) is None:
        raise NotFoundError(f"There is no model {wanted.model_id!r}.")
    version = hostings.choose_version(tx, wanted)
    row = _insert(tx, vendor_id, wanted, version.id if version is not None else None)
    audit.record(tx, actor, "deployment.create", row.id, provider=wanted.provider)
    hosting = None
    if hostings.wants_hosting(wanted):
        hosting = hostings.order(tx, hosts or {}, row, version, wanted, actor=actor)
    if wanted.polling():
        polling.change(tx, row, hosting, wanted, actor=actor)
    made = get(tx, vendor_id, row.id)
    if not with_token:
        return made
    issued = issue_token(tx, tokens, vendor_id, row.id, actor=actor)
    return made.model_copy(update={"infra_token": issued.infra_token})


def _insert(tx: Tx, vendor_id: str, wanted: DeploymentRequest, version_id: str | None) -> Row[Any]:
    values = {
        "id": new_id("dep"),
        "vendor_id": vendor_id,
        "name": wanted.name,
        "provider": wanted.provider,
        "model_id": wanted.model_id,
        "version_id": version_id,
        "spec": wanted.model_dump(mode="json", exclude=_NOT_SPEC, exclude_none=True),
    }
    try:
        return rows.insert(tx, values)
    except ViolatedError as error:
        if violated(error) != "uq_deployments_vendor_id_name":
            raise
        said = f"You have a deployment called {wanted.name!r} already."
        raise ConflictError(said, details=[{"loc": ["name"], "msg": said}]) from error


def change(tx: Tx, vendor_id: str, deployment_id: str, wanted: DeploymentChange, *, actor: str) -> Deployment:
    """Says what is wanted of a deployment from now on: of its server, where the marketplace runs it, and of its polls.

    An ``infer_url`` was checked by the caller (:func:`mp_kit.server.services.polling.check_url`).

    Raises:
        NotFoundError: It is not the vendor's, or the marketplace does not run what is to be changed.
        ConflictError: It is removed, or is to be.
        InvalidInputError: Fewest workers above most, or it cannot be asked.
    """
    if wanted.changes_hosting:
        hostings.change(tx, vendor_id, deployment_id, wanted, actor=actor)
    if wanted.polling():
        row = get_row(tx, vendor_id, deployment_id)
        polling.change(tx, row, hosting_rows.find(tx, deployment_id, vendor_id), wanted, actor=actor)
    return get(tx, vendor_id, deployment_id)


def polls(tx: Tx, vendor_id: str, deployment_id: str, limit: int) -> list[Poll]:
    """The bars that a vendor's deployment was asked about in the last 30 days, the latest call first.

    Raises:
        NotFoundError: It is not the vendor's.
    """
    return polling.polls_of(tx, get_row(tx, vendor_id, deployment_id).id, limit)


def issue_token(  # noqa: PLR0913 - each is a fact of the token
    tx: Tx,
    tokens: TokenBook,
    vendor_id: str,
    deployment_id: str,
    *,
    actor: str,
    symbols: list[str] | None = None,
    rotate: bool = False,
    overlap: timedelta = timedelta(0),
    label: str | None = None,
) -> IssuedToken:
    """Issues a token scoped to a deployment; ``rotate`` ends the ones before it, at once or after the overlap.

    Raises:
        NotFoundError: The deployment is not the vendor's.
    """
    get_row(tx, vendor_id, deployment_id)
    if rotate:
        _end_tokens(tx, deployment_id, overlap)
    minted = tokens.mint("sit")
    scope: dict[str, Any] = {"routes": ROUTES, "deployment": deployment_id}
    if symbols is not None:
        scope["symbols"] = symbols
    if label is not None:
        scope["label"] = label
    expires_at = ends_in(DEPLOYMENT_TOKEN_DAYS)
    token_rows.insert_deployment_token(
        tx,
        {
            "id": minted.token_id,
            "deployment_id": deployment_id,
            "vendor_id": vendor_id,
            "token_hash": minted.token_hash,
            "scope": scope,
            "expires_at": expires_at,
        },
    )
    audit.record(tx, actor, "token.issue", deployment_id, token_id=minted.token_id, rotate=rotate)
    return IssuedToken(infra_token=minted.token, expires_at=expires_at, scope=scope)


def revoke_tokens(tx: Tx, vendor_id: str, deployment_id: str, *, actor: str) -> int:
    """Ends every token of a deployment at once; returns how many there were.

    Raises:
        NotFoundError: The deployment is not the vendor's.
    """
    get_row(tx, vendor_id, deployment_id)
    ended = _end_tokens(tx, deployment_id, timedelta(0))
    audit.record(tx, actor, "token.revoke", deployment_id, tokens=ended)
    return ended


def _end_tokens(tx: Tx, deployment_id: str, overlap: timedelta) -> int:
    return len(token_rows.end_deployment_tokens(tx, deployment_id, vendor_rows.now(tx) + overlap))


def get(tx: Tx, vendor_id: str, deployment_id: str) -> Deployment:
    """A vendor's deployment; NotFoundError when it is absent or another's."""
    row = get_row(tx, vendor_id, deployment_id)
    polled = poll_rows.seen(tx, vendor_id, deployment_id).get(deployment_id)
    return to_wire(row, hosting_rows.find(tx, deployment_id, vendor_id), polled)


def list_of(tx: Tx, vendor_id: str) -> list[Deployment]:
    """A vendor's deployments, newest first."""
    hosted, polled = hosting_rows.of_vendor(tx, vendor_id), poll_rows.seen(tx, vendor_id)
    listed = [to_wire(row, hosted.get(row.id), polled.get(row.id)) for row in rows.list_of(tx, vendor_id)]
    return [one for one in listed if one.hosting is None or one.hosting.state != "removed"]


def heartbeat(tx: Tx, who: Principal, sent: HeartbeatWrite) -> HeartbeatReceipt:
    """Stores a sign of life.

    Raises:
        AttributionError: A deployment token speaks for another deployment.
        NotFoundError: The deployment is not the vendor's.
        InvalidInputError: The metrics are no storable JSON.
    """
    if who.deployment_id is not None and who.deployment_id != sent.deployment_id:
        raise AttributionError(f"The token is for {who.deployment_id}, the heartbeat says {sent.deployment_id}.")
    if who.vendor_id is None:
        raise InvalidInputError("A heartbeat needs a vendor's or a deployment's token.")
    get_row(tx, who.vendor_id, sent.deployment_id)
    heartbeat_id = new_id("hb")
    rows.insert_heartbeat(
        tx,
        {
            "id": heartbeat_id,
            "deployment_id": sent.deployment_id,
            "status": sent.status.value,
            "timestamp": sent.timestamp,
            "metrics": sent.metrics or {},
            "message": sent.message,
        },
    )
    return HeartbeatReceipt(heartbeat_id=heartbeat_id, timestamp=sent.timestamp)


def get_row(tx: Tx, vendor_id: str, deployment_id: str) -> Row[Any]:
    """A vendor's deployment as stored; NotFoundError when it is absent or another's."""
    row = rows.find(tx, deployment_id, vendor_id)
    if row is None:
        raise NotFoundError(f"There is no deployment {deployment_id!r}.")
    return row


def to_wire(row: Row[Any], hosting: Row[Any] | None = None, polled: Row[Any] | None = None) -> Deployment:
    """A deployment as the wire shows it."""
    now = clock.now()
    asked = polling.to_wire(polled) if polled is not None else None
    said = [words(row, hosting, now), polling.sentence(asked) if asked is not None else ""]
    return Deployment(
        deployment_id=row.id,
        name=row.name,
        provider=row.provider,
        status=DeploymentStatus(row.status),
        endpoint=row.endpoint,
        created_at=row.created_at,
        last_heartbeat_at=row.last_heartbeat_at,
        model_id=row.model_id,
        version_id=row.version_id,
        liveness=liveness_of(row.last_heartbeat_at, now),
        words=" ".join(said).strip(),
        hosting=hostings.to_wire(hosting) if hosting is not None else None,
        polling=asked,
    )
