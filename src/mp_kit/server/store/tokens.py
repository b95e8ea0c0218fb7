"""Queries about tokens and keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, cast

from sqlalchemy import Row, delete, func, select, text, update

from mp_kit.server.store.engine import Tx
from mp_kit.server.store.tables import deployment_tokens, deployments, marketplace_vendors, vendor_keys


class TokenRow(Protocol):
    """What a token check reads."""

    token_hash: str
    vendor_id: str
    status: str
    expires_at: datetime
    revoked_at: datetime | None


class VendorRow(Protocol):
    """What a session check reads."""

    status: str
    session_epoch: int


def find_vendor_key(tx: Tx, key_id: str) -> TokenRow | None:
    """A vendor's API key with its vendor's status."""
    statement = (
        select(vendor_keys, marketplace_vendors.c.status)
        .join(marketplace_vendors, marketplace_vendors.c.id == vendor_keys.c.vendor_id)
        .where(vendor_keys.c.id == key_id)
    )
    return cast("TokenRow | None", tx.execute(statement).one_or_none())


def find_deployment_token(tx: Tx, token_id: str) -> TokenRow | None:
    """A deployment's token with its vendor's status and its deployment's model."""
    statement = (
        select(deployment_tokens, marketplace_vendors.c.status, deployments.c.model_id)
        .join(marketplace_vendors, marketplace_vendors.c.id == deployment_tokens.c.vendor_id)
        .join(deployments, deployments.c.id == deployment_tokens.c.deployment_id)
        .where(deployment_tokens.c.id == token_id)
    )
    return cast("TokenRow | None", tx.execute(statement).one_or_none())


def find_vendor(tx: Tx, vendor_id: str) -> VendorRow | None:
    """A vendor's status and session epoch."""
    statement = select(marketplace_vendors.c.status, marketplace_vendors.c.session_epoch)
    return cast("VendorRow | None", tx.execute(statement.where(marketplace_vendors.c.id == vendor_id)).one_or_none())


def touch(tx: Tx, prefix: str, token_id: str) -> None:
    """Notes that the token was used, at most once a minute."""
    table = vendor_keys if prefix == "vk" else deployment_tokens
    stale = text("last_used_at IS NULL OR last_used_at < now() - interval '1 minute'")
    tx.execute(update(table).where(table.c.id == token_id, stale).values(last_used_at=text("now()")))


def insert_vendor_key(tx: Tx, values: Mapping[str, Any]) -> None:
    """Stores a vendor's API key."""
    tx.execute(vendor_keys.insert().values(**values))


def insert_deployment_token(tx: Tx, values: Mapping[str, Any]) -> None:
    """Stores a deployment's token."""
    tx.execute(deployment_tokens.insert().values(**values))


def end_vendor_keys(tx: Tx, vendor_id: str, at: datetime) -> list[str]:
    """Ends every key of a vendor at ``at``, unless it ends before, and returns the ids of those that it changed."""
    columns = vendor_keys.c
    statement = (
        update(vendor_keys)
        .where(columns.vendor_id == vendor_id, columns.revoked_at.is_(None) | (columns.revoked_at > at))
        .values(revoked_at=at)
        .returning(vendor_keys.c.id)
    )
    return list(tx.execute(statement).scalars())


def is_rotated(tx: Tx, key_id: str) -> bool:
    """Whether a vendor's key lives on only for the overlap after a rotation; its row stays locked."""
    statement = select(vendor_keys.c.revoked_at).where(vendor_keys.c.id == key_id).with_for_update()
    return tx.execute(statement).scalar_one_or_none() is not None


def end_deployment_tokens(tx: Tx, deployment_id: str, at: datetime) -> list[str]:
    """Ends every token of a deployment at ``at``, unless it ends before; the ids of those that it changed.

    Those that the marketplace minted for itself stay: of servers that it runs, which end with their launch, and passes.
    """
    columns = deployment_tokens.c
    statement = (
        update(deployment_tokens)
        .where(
            columns.deployment_id == deployment_id,
            columns.scope["label"].astext.is_(None),
            columns.revoked_at.is_(None) | (columns.revoked_at > at),
        )
        .values(revoked_at=at)
        .returning(deployment_tokens.c.id)
    )
    return list(tx.execute(statement).scalars())


def living_of_deployment(tx: Tx, deployment_id: str, limit: int) -> list[Row[Any]]:
    """A deployment's tokens that live, newest first: id, hosted, created_at, last_used_at, ends_at, ending."""
    columns = deployment_tokens.c
    ends_at = func.least(columns.expires_at, columns.revoked_at)
    statement = select(
        columns.id,
        func.coalesce(columns.scope["label"].astext == "hosted", text("false")).label("hosted"),
        columns.created_at,
        columns.last_used_at,
        ends_at.label("ends_at"),
        columns.revoked_at.is_not(None).label("ending"),
    ).where(
        columns.deployment_id == deployment_id,
        ends_at > func.now(),
        columns.scope["label"].astext.is_distinct_from("poll"),  # passes live for a minute, and nobody holds them
    )
    return list(tx.execute(statement.order_by(columns.created_at.desc(), columns.id).limit(limit)))


def end_hosted_tokens(tx: Tx, deployment_id: str, at: datetime) -> list[str]:
    """Ends the tokens that were minted for launches of a deployment, and returns their ids."""
    columns = deployment_tokens.c
    statement = (
        update(deployment_tokens)
        .where(
            columns.deployment_id == deployment_id,
            columns.scope["label"].astext == "hosted",
            columns.revoked_at.is_(None),
        )
        .values(revoked_at=at)
        .returning(columns.id)
    )
    return list(tx.execute(statement).scalars())


def forget_deployment_tokens(tx: Tx, token_ids: Sequence[str]) -> None:
    """Deletes tokens that nobody was ever handed."""
    tx.execute(delete(deployment_tokens).where(deployment_tokens.c.id.in_(token_ids)))


def revoke(tx: Tx, token_id: str, at: datetime) -> bool:
    """Ends one key or token by id; says whether there was one."""
    for table in (vendor_keys, deployment_tokens):
        if tx.execute(update(table).where(table.c.id == token_id).values(revoked_at=at)).rowcount:
            return True
    return False


def end_sessions(tx: Tx, key_id: str) -> None:
    """Ends the sessions of the vendor whose key this is; for a deployment's token there are none."""
    owner = select(vendor_keys.c.vendor_id).where(vendor_keys.c.id == key_id).scalar_subquery()
    columns = marketplace_vendors.c
    tx.execute(update(marketplace_vendors).where(columns.id == owner).values(session_epoch=columns.session_epoch + 1))
