"""Signing in with one-time codes, and programs that are approved in the browser (after RFC 8628).

1. A code is used once, by one statement: of any number of exchanges that race, one gets a key. A wrong secret uses
   none up.
2. A program that waits holds 256 random bits, of which a keyed digest is stored; a person sees eight letters that live
   for ten minutes. Approving gives the program a one-time code, anew for each question until one is exchanged.
3. Only an active vendor gets a code, and only an active vendor gets a key for one.
4. Who asks too often is told so, and waits longer from then on; so many programs may wait from one address, and in
   all, that guessing eight letters out of twenty is hopeless.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row

from mp_kit.contracts import DeviceAnswer, DeviceCode, DeviceStatus, IssuedKey
from mp_kit.errors import AuthError, ConflictError, ForbiddenError, NotFoundError, RateLimitedError
from mp_kit.server import clock
from mp_kit.server.services import audit, keys
from mp_kit.server.services.ids import new_id
from mp_kit.server.services.tokens import Principal, TokenBook, code_id
from mp_kit.server.store import keys as key_rows
from mp_kit.server.store import sign_in as rows
from mp_kit.server.store.engine import Tx
from mp_kit.server.store.scope import SIGN_IN, of_vendor, within

CODE_LIFE = timedelta(minutes=5)
DEVICE_LIFE = timedelta(minutes=10)
INTERVAL_SECONDS = 5
_SLACK, _STEP, _LONGEST = 1, 5, 60
_WAITING_HERE, _WAITING_EVERYWHERE = 20, 10_000
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # RFC 8628, 6.1: no vowels, so that no words come out; nothing that looks alike
_SPENT = "The code is unknown, used or has ended."
_AGAIN = "Codes live for 5 minutes and are good once. Begin again: mp login --device."


@dataclass(frozen=True)
class OneTimeCode:
    """A code as just made; it is shown this once."""

    code: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"OneTimeCode(expires_at={self.expires_at!r})"


@dataclass(frozen=True)
class Waiting:
    """A program that waits: what it calls itself, where it is, since when."""

    user_code: str
    client: str
    address: str
    created_at: datetime
    expires_at: datetime


def issue_code(tx: Tx, tokens: TokenBook, vendor_id: str, *, actor: str, device_id: str | None = None) -> OneTimeCode:
    """Makes a one-time code that is good for one API key of a vendor.

    Raises:
        NotFoundError: There is no such vendor.
        ConflictError: It is not active.
    """
    vendor = key_rows.lock_vendor(tx, vendor_id)
    if vendor is None:
        raise NotFoundError("There is no such vendor.")
    if vendor.status != "active":
        raise ConflictError(f"The vendor is {vendor.status}.", hint=f"First: mp admin vendor activate {vendor.id}")
    minted = tokens.mint("ac")
    expires_at = clock.now() + CODE_LIFE
    stored = {"id": minted.token_id, "vendor_id": vendor_id, "device_id": device_id, "token_hash": minted.token_hash}
    rows.insert_code(tx, stored | {"issued_by": actor, "expires_at": expires_at})
    audit.record(tx, actor, "code.issue", minted.token_id, vendor_id=vendor_id, device_id=device_id)
    return OneTimeCode(minted.token, expires_at)


def exchange(begin: Callable[[], AbstractContextManager[Tx]], tokens: TokenBook, code: str) -> IssuedKey:
    """Trades a one-time code for an API key. The hash is checked with no transaction open.

    Raises:
        AuthError: The code is unknown, wrong, used or has ended: which one is not told.
        ForbiddenError: Its vendor may not act.
    """
    wanted = code_id(code)
    with within(SIGN_IN), begin() as tx:
        found = rows.find_code(tx, wanted) if wanted is not None else None
    if wanted is None or found is None or not tokens.proves(code, found.token_hash):
        raise AuthError(_SPENT, hint=_AGAIN)
    with within(of_vendor(found.vendor_id)), begin() as tx:
        vendor = key_rows.lock_vendor(tx, found.vendor_id)
        taken = rows.take_code(tx, wanted)
        if vendor is None or taken is None:
            raise AuthError(_SPENT, hint=_AGAIN)
        if vendor.status != "active":
            raise ForbiddenError(f"The vendor is {vendor.status}.", hint="Ask the operator to activate it.")
        issued = keys.issue(tx, tokens, vendor, name=taken.client or "one-time code")
        audit.record(
            tx, f"vendor:{vendor.id}", "code.exchange", wanted, key_id=issued.key_id, issued_by=found.issued_by
        )
    return issued


def begin_device(tx: Tx, tokens: TokenBook, *, client: str, address: str, page: str) -> DeviceCode:
    """A program begins to wait for somebody's approval.

    Args:
        tx: One transaction.
        tokens: Makes the digest.
        client: What the program says that it is; whoever approves is shown it.
        address: Where it asks from.
        page: Where people type the code.

    Raises:
        RateLimitedError: Too many wait already.
    """
    rows.forget(tx)
    here, everywhere = rows.waiting(tx, address)
    if here >= _WAITING_HERE or everywhere >= _WAITING_EVERYWHERE:
        raise RateLimitedError("Too many programs wait for approval.", retry_after=60)
    device_code, user_code = secrets.token_urlsafe(32), "".join(secrets.choice(_LETTERS) for _ in range(8))
    stored = {"id": new_id("dev"), "code_digest": tokens.digest(device_code), "user_code": user_code}
    ends = {"interval_seconds": INTERVAL_SECONDS, "expires_at": clock.now() + DEVICE_LIFE}
    rows.insert_device(tx, stored | ends | {"client": client, "address": address})
    return DeviceCode(
        device_code=device_code,
        user_code=spelled(user_code),
        verification_uri=page,
        expires_in=int(DEVICE_LIFE.total_seconds()),
        interval=INTERVAL_SECONDS,
    )


def poll(begin: Callable[[], AbstractContextManager[Tx]], tokens: TokenBook, device_code: str) -> DeviceAnswer:
    """Whether a program was approved; with a fresh one-time code where it was, the former ones being void then.

    The question and the code are two transactions: the vendor's row is locked first wherever codes change.
    """
    digest = tokens.digest(device_code)
    with within(SIGN_IN), begin() as tx:
        row = rows.poll(tx, digest, slack=_SLACK, step=_STEP, longest=_LONGEST)
    if row is None or row.expired or row.state == "exchanged":
        return DeviceAnswer(status=DeviceStatus.EXPIRED, interval=INTERVAL_SECONDS)
    if row.too_soon:
        return DeviceAnswer(status=DeviceStatus.SLOW_DOWN, interval=row.interval_seconds)
    if row.state == "approved":
        with within(of_vendor(row.vendor_id)), begin() as tx:
            return _approved(tx, tokens, row)
    status = DeviceStatus.DENIED if row.state == "denied" else DeviceStatus.PENDING
    return DeviceAnswer(status=status, interval=row.interval_seconds)


def find_waiting(tx: Tx, user_code: str) -> Waiting:
    """The program that shows a code, for the person who is to approve it.

    Raises:
        NotFoundError: None waits under it.
    """
    row = rows.find_waiting(tx, plain(user_code))
    if row is None:
        raise _nothing_waits()
    return Waiting(spelled(row.user_code), row.client, row.address, row.created_at, row.expires_at)


def decide(tx: Tx, who: Principal, user_code: str, *, approve: bool) -> Waiting:
    """Approves a program for a vendor, or denies it; once.

    Raises:
        NotFoundError: None waits under this code.
        ForbiddenError: The vendor may not act.
        ConflictError: The session was opened with a key that was rotated since: it gives no program a key.
    """
    vendor_id = who.vendor_id or ""
    vendor = key_rows.lock_vendor(tx, vendor_id)
    if vendor is None or vendor.status != "active":
        raise ForbiddenError("This vendor may not act.", hint="Ask the operator to activate it.")
    if approve:
        keys.refuse_rotated(tx, who)
    found = find_waiting(tx, user_code)
    row = rows.decide(tx, plain(user_code), "approved" if approve else "denied", vendor_id if approve else None)
    if row is None:
        raise _nothing_waits()
    action = "device.approve" if approve else "device.deny"
    audit.record(tx, who.name, action, row.id, vendor_id=vendor_id, client=row.client, address=row.address)
    return found


def spelled(user_code: str) -> str:
    """A code as people are shown it: ``WDJB-MJHT``."""
    return f"{user_code[:4]}-{user_code[4:]}"


def plain(typed: str) -> str:
    """What a person typed, as the code is stored: capitals, without hyphens and spaces."""
    return "".join(letter for letter in typed.upper() if letter in _LETTERS)[:16]


def _approved(tx: Tx, tokens: TokenBook, row: Row[Any]) -> DeviceAnswer:
    vendor = key_rows.lock_vendor(tx, row.vendor_id)
    if vendor is None or vendor.status != "active" or not rows.is_approved(tx, row.id):
        return DeviceAnswer(status=DeviceStatus.DENIED, interval=row.interval_seconds)
    rows.void_codes(tx, device_id=row.id)
    made = issue_code(tx, tokens, vendor.id, actor=f"device:{row.id}", device_id=row.id)
    return DeviceAnswer(
        status=DeviceStatus.APPROVED,
        interval=row.interval_seconds,
        auth_code=made.code,
        auth_code_expires_at=made.expires_at,
        vendor_name=vendor.name,
    )


def _nothing_waits() -> NotFoundError:
    return NotFoundError("No program waits under this code.", hint="Codes live for 10 minutes; begin again over there.")
