"""A vendor's own API keys: listed, made, rotated one by one, revoked.

1. A key's secret is in the answer that made it and nowhere else.
2. All changes of a vendor's keys stand in a line (its row is locked): of two that revoke the last two keys at once, the
   second one hears that its key is the last.
3. A key in the overlap after a rotation, and a session that was opened with one, make no keys.
4. Revoking ends the vendor's sessions too, because one of them may have been opened with that key; rotating does not.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import Row

from mp_kit.contracts import ApiKey, IssuedKey, KeyRequest, RevokedKeys
from mp_kit.errors import ConflictError, NotFoundError
from mp_kit.server.services import audit, vendors
from mp_kit.server.services.tokens import VENDOR_KEY_DAYS, Principal, TokenBook
from mp_kit.server.store import identities
from mp_kit.server.store import keys as rows
from mp_kit.server.store import sign_in as codes
from mp_kit.server.store import tokens as token_rows
from mp_kit.server.store import vendors as vendor_rows
from mp_kit.server.store.engine import Tx

MOST_LIVING = 20
_SHOWN_DAYS = 30
_LAST = "It is your last living key: without it nobody of yours gets in but by the operator."


def list_of(tx: Tx, who: Principal) -> list[ApiKey]:
    """The caller's vendor's keys: living ones, then those that ended in the last 30 days."""
    own = who.token_id or who.opened_by
    return [_shown(row, own) for row in rows.list_of(tx, who.vendor_id or "", _SHOWN_DAYS)]


def create(tx: Tx, tokens: TokenBook, who: Principal, wanted: KeyRequest) -> IssuedKey:
    """Makes a further key.

    Raises:
        ConflictError: There are as many as there may be, or the caller's own key is on its way out.
    """
    vendor = _vendor(tx, who)
    refuse_rotated(tx, who)
    if len(rows.living(tx, vendor.id)) >= MOST_LIVING:
        raise ConflictError(f"There are {MOST_LIVING} living keys.", hint="Revoke one that nobody uses: mp keys list.")
    issued = issue(tx, tokens, vendor, name=wanted.name, days=wanted.days)
    audit.record(tx, who.name, "key.create", issued.key_id or "", vendor_id=vendor.id, name=wanted.name)
    return issued


def rotate(tx: Tx, tokens: TokenBook, who: Principal, key_id: str, *, overlap: timedelta) -> IssuedKey:
    """Makes a key in place of another, which lives on for the overlap.

    Raises:
        NotFoundError: The vendor has no such key.
        ConflictError: It has ended or was rotated before, or the caller's own key is on its way out.
    """
    vendor = _vendor(tx, who)
    refuse_rotated(tx, who)
    old = _find(tx, vendor.id, key_id)
    if not old.lives:
        raise ConflictError("This key has ended.", hint="Make a new one: mp keys create.")
    if old.revoked_at is not None:
        raise ConflictError("This key was rotated already.", hint="Rotate the one that took its place: mp keys list.")
    until = min(vendor_rows.now(tx) + overlap, old.expires_at)
    rows.end(tx, old.id, until)
    issued = issue(tx, tokens, vendor, name=old.name)
    audit.record(tx, who.name, "key.rotate", old.id, vendor_id=vendor.id, by=issued.key_id)
    return issued.model_copy(update={"previous_key_valid_until": until})


def revoke(tx: Tx, who: Principal, key_id: str, *, force: bool = False) -> RevokedKeys:
    """Ends a key at once, in every process, and all sessions of the vendor; again changes nothing.

    Raises:
        NotFoundError: The vendor has no such key.
        ConflictError: It is the last one that lives, and ``force`` is not set.
    """
    vendor = _vendor(tx, who)
    key = _find(tx, vendor.id, key_id)
    if not key.lives:
        return RevokedKeys(revoked=[])
    if not force and rows.living(tx, vendor.id) in ([key.id], []):
        raise ConflictError(_LAST, hint="Make another one first (mp keys create), or say --force.")
    rows.end(tx, key.id, vendor_rows.now(tx))
    vendor_rows.end_sessions(tx, vendor.id)
    audit.record(tx, who.name, "key.revoke", key.id, vendor_id=vendor.id)
    return RevokedKeys(revoked=[key.id])


def revoke_all(tx: Tx, vendor_id: str, *, actor: str, force: bool = False) -> RevokedKeys:
    """Ends every key, session, one-time code, approval and linked account of a vendor; deployments' tokens live on.

    Raises:
        ConflictError: ``force`` is not set: the operator alone could let the vendor in again.
    """
    if not force:
        raise ConflictError(
            "After this none of your keys lives: the operator alone could let you in again.",
            hint="Say --force, and ask for a code then: mp admin vendor code.",
        )
    rows.lock_vendor(tx, vendor_id)
    vendor_rows.end_sessions(tx, vendor_id)
    codes.void_codes(tx, vendor_id=vendor_id)
    codes.deny_approved(tx, vendor_id)
    unlinked = identities.unlink_all(tx, vendor_id)
    ended = token_rows.end_vendor_keys(tx, vendor_id, vendor_rows.now(tx))
    audit.record(tx, actor, "key.revoke_all", vendor_id, keys=ended, accounts=unlinked)
    return RevokedKeys(revoked=ended)


def issue(tx: Tx, tokens: TokenBook, vendor: Row[Any], *, name: str, days: float = VENDOR_KEY_DAYS) -> IssuedKey:
    """A new key of a vendor, whose row the caller has locked."""
    minted, expires_at = vendors.store_key(tx, tokens, vendor.id, name=name, days=days)
    return IssuedKey(
        api_key=minted.token,
        vendor_id=vendor.id,
        vendor_name=vendor.name,
        expires_at=expires_at,
        permissions=vendors.PERMISSIONS,
        key_id=minted.token_id,
        name=name,
    )


def refuse_rotated(tx: Tx, who: Principal) -> None:
    """Whoever found an old key gets no lasting way in for it: no other key, no linked account.

    Raises:
        ConflictError: The caller's key, or the one that opened its session, was rotated.
    """
    own = who.token_id or who.opened_by
    if own and token_rows.is_rotated(tx, own):
        raise ConflictError("Your own key was rotated already.", hint="Use the key that took its place.")


def _vendor(tx: Tx, who: Principal) -> Row[Any]:
    vendor = rows.lock_vendor(tx, who.vendor_id or "")
    if vendor is None:
        raise NotFoundError("There is no such vendor.")
    return vendor


def _find(tx: Tx, vendor_id: str, key_id: str) -> Row[Any]:
    found = rows.find(tx, vendor_id, key_id.removeprefix("vk_").partition("_")[0])
    if found is None:
        raise NotFoundError("There is no such key.", hint="See them: mp keys list.")
    return found


def _shown(row: Row[Any], own: str) -> ApiKey:
    ends_at = min(row.expires_at, row.revoked_at or row.expires_at)
    facts = {name: getattr(row, name) for name in ("id", "name", "status", "created_at", "expires_at", "last_used_at")}
    return ApiKey(**facts, ends_at=ends_at, is_this=row.id == own)
