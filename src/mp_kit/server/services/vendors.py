"""Vendors and their API keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row
from sqlalchemy.exc import IntegrityError as ViolatedError

from mp_kit.contracts import IssuedKey, Session, Vendor, VendorStatus
from mp_kit.errors import ConflictError, InvalidInputError, NotFoundError
from mp_kit.server import clock
from mp_kit.server.services import audit
from mp_kit.server.services.ids import new_id
from mp_kit.server.services.tokens import VENDOR_KEY_DAYS, Minted, TokenBook, ends_in
from mp_kit.server.store import tokens as token_rows
from mp_kit.server.store import vendors as rows
from mp_kit.server.store.engine import Tx, violated

PERMISSIONS = ["data:read", "training:write", "models:write", "deployments:write", "signals:read"]
OVERLAP = timedelta(hours=24)
"""How long an old key lives on after a rotation."""
SESSION_HOURS = 24
_MAX_NAME = 128


@dataclass(frozen=True)
class NewVendor:
    """A vendor as just created; the key is shown this once."""

    vendor_id: str
    name: str
    expires_at: datetime
    api_key: str = field(repr=False)


def create(tx: Tx, tokens: TokenBook, name: str, *, actor: str, pending: bool = False) -> NewVendor:
    """Creates a vendor with its first API key; a pending one can do nothing until the operator activates it.

    Raises:
        InvalidInputError: The name is empty, too long or unprintable.
        ConflictError: The name is taken.
    """
    clean = name.strip()
    if not clean or len(clean) > _MAX_NAME or not clean.isprintable():
        raise InvalidInputError(f"A vendor's name has 1 to {_MAX_NAME} printable characters.")
    vendor_id = new_id("ven")
    try:
        rows.insert(tx, vendor_id, clean, VendorStatus.PENDING if pending else VendorStatus.ACTIVE)
    except ViolatedError as error:
        if violated(error) != "uq_marketplace_vendors_name":
            raise
        raise ConflictError(f"A vendor called {clean!r} exists already.") from error
    audit.record(tx, actor, "vendor.create", vendor_id, name=clean, pending=pending)
    minted, expires_at = store_key(tx, tokens, vendor_id)
    return NewVendor(vendor_id, clean, expires_at, minted.token)


def me(tx: Tx, vendor_id: str) -> Vendor:
    """The vendor as it sees itself."""
    row = rows.find(tx, vendor_id)
    if row is None:
        raise NotFoundError("There is no such vendor.")
    return Vendor(
        id=row.id,
        name=row.name,
        status=VendorStatus(row.status),
        created_at=row.created_at,
        updated_at=row.updated_at,
        key_expires_at=row.key_expires_at,
        permissions=PERMISSIONS,
    )


def deployed(tx: Tx) -> list[Row[Any]]:
    """Active vendors that have a deployment, oldest first."""
    return rows.deployed(tx)


def named(tx: Tx, wanted: str) -> Row[Any]:
    """A vendor's row by id or name, for the operator; NotFoundError when there is none."""
    row = rows.find_by_id_or_name(tx, wanted)
    if row is None:
        raise NotFoundError(f"There is no vendor {wanted!r}.", hint="See them all: mp admin vendor list")
    return row


def rotate(
    tx: Tx,
    tokens: TokenBook,
    vendor_id: str,
    *,
    actor: str,
    key_id: str | None = None,
    reason: str | None = None,
    overlap: timedelta = OVERLAP,
) -> IssuedKey:
    """Issues a new API key; the old ones live on for the overlap.

    Args:
        tx: One transaction.
        tokens: Mints the key.
        vendor_id: Whose.
        actor: Who rotates, for the audit log.
        key_id: The key that asks for it; None for the operator.
        reason: Why, for the audit log.
        overlap: How long the old keys live on.

    Raises:
        ConflictError: The key was rotated before: whoever found an old key must not get a new one for it.
    """
    if key_id is not None and token_rows.is_rotated(tx, key_id):
        raise ConflictError("This key was rotated already.", hint="Use the key that took its place.")
    until = clock.now() + overlap
    token_rows.end_vendor_keys(tx, vendor_id, until)
    minted, expires_at = store_key(tx, tokens, vendor_id)
    audit.record(tx, actor, "vendor.rotate_key", vendor_id, reason=reason)
    return IssuedKey(
        api_key=minted.token,
        vendor_id=vendor_id,
        vendor_name=me(tx, vendor_id).name,
        expires_at=expires_at,
        permissions=PERMISSIONS,
        previous_key_valid_until=until,
    )


def set_status(tx: Tx, vendor_id: str, status: VendorStatus, *, actor: str) -> None:
    """Activates or suspends a vendor; every process forgets its tokens at once.

    Raises:
        ConflictError: It was erased: nobody stands behind its id any more.
    """
    row = rows.find(tx, vendor_id)
    if row is not None and row.erased_at is not None and status is not VendorStatus.SUSPENDED:
        raise ConflictError(f"Vendor {vendor_id} was erased on {row.erased_at:%Y-%m-%d}.", hint="Create a new one.")
    rows.set_status(tx, vendor_id, status.value)
    audit.record(tx, actor, f"vendor.{status.value}", vendor_id)


def open_session(tx: Tx, tokens: TokenBook, vendor_id: str, key_id: str = "") -> Session:
    """A JWT session for a vendor that has shown its key, the one of that id, or proved otherwise who it is."""
    row = rows.find(tx, vendor_id)
    if row is None:
        raise NotFoundError("There is no such vendor.")
    expires_at = clock.now() + timedelta(hours=SESSION_HOURS)
    token = tokens.session(vendor_id, row.session_epoch, expires_at, key_id)
    return Session(token=token, vendor_id=vendor_id, vendor_name=row.name, expires_at=expires_at)


def end_sessions(tx: Tx, vendor_id: str, *, actor: str) -> None:
    """Ends every session of a vendor; its API keys live on."""
    rows.end_sessions(tx, vendor_id)
    audit.record(tx, actor, "vendor.end_sessions", vendor_id)


def store_key(
    tx: Tx, tokens: TokenBook, vendor_id: str, *, name: str = "", days: float = VENDOR_KEY_DAYS
) -> tuple[Minted, datetime]:
    """Makes and stores an API key; gives it with its end."""
    minted = tokens.mint("vk")
    expires_at = ends_in(days)
    stored = {"id": minted.token_id, "vendor_id": vendor_id, "name": name, "token_hash": minted.token_hash}
    token_rows.insert_vendor_key(tx, stored | {"permissions": PERMISSIONS, "expires_at": expires_at})
    return minted, expires_at
