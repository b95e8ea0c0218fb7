"""Accounts elsewhere that a vendor signs in with: linked, listed, unlinked; and the session that one opens.

1. Nobody signs up: an account opens a session of the vendor that it is linked to, and none where it is not.
2. An account belongs to one vendor, by a constraint of the database. It is known by the service's host and its
   number there, never by its name.
3. The vendor's row is locked before anything is decided, as wherever its keys change: no session and no link outlives
   a revocation that was under way.
4. A session opened this way names no key. It may what any session may, and unlinking ends it: all sessions of the
   vendor end then, because one of them may have been opened with that account. The last way in stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row
from sqlalchemy.exc import IntegrityError as ViolatedError

from mp_kit.contracts import Session
from mp_kit.errors import AuthError, ConflictError, ForbiddenError, NotFoundError
from mp_kit.server.providers.identity import Identity
from mp_kit.server.services import audit, keys, vendors
from mp_kit.server.services.ids import new_id
from mp_kit.server.services.tokens import Principal, TokenBook
from mp_kit.server.services.trips import Trip
from mp_kit.server.store import identities as rows
from mp_kit.server.store import keys as key_rows
from mp_kit.server.store import vendors as vendor_rows
from mp_kit.server.store.engine import Tx, violated

__all__ = ["LinkedAccount", "SignIn", "link", "link_by_operator", "list_of", "sign_in", "unlink"]

_MOST = 20


@dataclass(frozen=True)
class LinkedAccount:
    """An account that opens sessions of a vendor.

    Args:
        id: Of the link.
        provider: The service's host.
        subject: Its number there.
        login: Its name when it was last seen; empty where the operator linked it and it never came.
        linked_by: ``vendor:…`` or ``operator:…``.
        created_at: When it was linked.
        last_used_at: When it last signed in.
    """

    id: str
    provider: str
    subject: str
    login: str
    linked_by: str
    created_at: datetime
    last_used_at: datetime | None = None


@dataclass(frozen=True)
class SignIn:
    """What became of somebody's signing in.

    Args:
        session: The session; None where there is none.
        refused: Why not: ``unknown`` (the account is linked to nobody), ``pending`` or ``suspended`` (its vendor is).
    """

    session: Session | None = None
    refused: str = ""


def list_of(tx: Tx, vendor_id: str) -> list[LinkedAccount]:
    """A vendor's accounts, oldest link first."""
    return [_shown(row) for row in rows.list_of(tx, vendor_id)]


def link(tx: Tx, who: Principal, trip: Trip, identity: Identity) -> bool:
    """Links an account to the vendor whose session went to prove that it is its own; says whether it is a new link.

    Raises:
        AuthError: The session has ended on the way.
        ConflictError: The account is another vendor's, there are too many, or the session's key was rotated.
        ForbiddenError: The vendor may not act.
    """
    vendor = key_rows.lock_vendor(tx, trip.vendor_id or "")
    if vendor is None or who.vendor_id != vendor.id or vendor.session_epoch != trip.session_epoch:
        raise AuthError("The session has ended.")
    if vendor.status != "active":
        raise ForbiddenError(f"The vendor is {vendor.status}.", hint="Ask the operator to activate it.")
    keys.refuse_rotated(tx, who)
    return _link(tx, vendor.id, identity, actor=who.name)


def link_by_operator(tx: Tx, vendor_id: str, provider: str, number: int, *, actor: str) -> bool:
    """Links an account by its number, before or without the vendor's doing; says whether it is a new link.

    Raises:
        NotFoundError: There is no such vendor.
        ConflictError: The account is another vendor's, or there are too many.
    """
    if key_rows.lock_vendor(tx, vendor_id) is None:
        raise NotFoundError("There is no such vendor.")
    return _link(tx, vendor_id, Identity(provider, str(number), ""), actor=actor)


def unlink(tx: Tx, vendor_id: str, named: str, *, actor: str, force: bool = False) -> LinkedAccount:
    """Takes an account's way in, by the link's id or the account's number, and ends all sessions of the vendor.

    Raises:
        NotFoundError: The vendor has no such account.
        ConflictError: It is the last way in, because no key lives, and ``force`` is not set.
    """
    key_rows.lock_vendor(tx, vendor_id)
    linked = rows.list_of(tx, vendor_id)
    found = next((row for row in linked if named in {row.id, row.subject}), None)
    if found is None:
        raise NotFoundError("There is no such linked account.")
    if not force and len(linked) == 1 and not key_rows.living(tx, vendor_id):
        raise ConflictError("It is your last way in: no API key of yours lives.", hint="Make a key first.")
    rows.unlink(tx, vendor_id, found.id)
    vendor_rows.end_sessions(tx, vendor_id)
    facts = {"provider": found.provider, "account": found.subject, "login": found.login}
    audit.record(tx, actor, "identity.unlink", found.id, vendor_id=vendor_id, **facts)
    return _shown(found)


def sign_in(tx: Tx, tokens: TokenBook, identity: Identity) -> SignIn:
    """Opens a session for whoever proved to be that account; a refusal is a result, so that the audit log has it."""
    facts: dict[str, Any] = {"provider": identity.provider, "login": identity.login}
    who = f"account:{identity.subject}"
    row = rows.find_account(tx, identity.provider, identity.subject)
    vendor = key_rows.lock_vendor(tx, row.vendor_id) if row is not None else None
    row = rows.find_account(tx, identity.provider, identity.subject)  # again, now that nobody else changes it
    if row is None or vendor is None or row.vendor_id != vendor.id:
        audit.record(tx, who, "sign_in.refuse", identity.subject, outcome="refused", why="unknown", **facts)
        return SignIn(refused="unknown")
    if vendor.status != "active":
        facts |= {"why": vendor.status, "vendor_id": vendor.id}
        audit.record(tx, who, "sign_in.refuse", row.id, outcome="refused", **facts)
        return SignIn(refused=vendor.status)
    rows.note_use(tx, row.id, identity.login)
    audit.record(tx, f"vendor:{vendor.id}", "sign_in", row.id, account=identity.subject, **facts)
    return SignIn(session=vendors.open_session(tx, tokens, vendor.id))


def _link(tx: Tx, vendor_id: str, identity: Identity, *, actor: str) -> bool:
    """Links for a vendor whose row the caller has locked."""
    known = rows.find_account(tx, identity.provider, identity.subject)
    if known is not None and known.vendor_id == vendor_id:
        return False
    if len(rows.list_of(tx, vendor_id)) >= _MOST:
        raise ConflictError(f"There are {_MOST} linked accounts.", hint="Unlink one that nobody uses.")
    facts: dict[str, Any] = {"provider": identity.provider, "subject": identity.subject, "login": identity.login}
    row = {"id": new_id("idn"), "vendor_id": vendor_id, "linked_by": actor, **facts}
    try:
        rows.insert(tx, row)
    except ViolatedError as error:
        if violated(error) != rows.ONE_VENDOR:
            raise
        raise ConflictError("This account is linked to another vendor.", hint="Unlink it there first.") from error
    facts["account"] = facts.pop("subject")
    audit.record(tx, actor, "identity.link", str(row["id"]), vendor_id=vendor_id, **facts)
    return True


def _shown(row: Row[Any]) -> LinkedAccount:
    names = ("id", "provider", "subject", "login", "linked_by", "created_at", "last_used_at")
    return LinkedAccount(**{name: getattr(row, name) for name in names})
