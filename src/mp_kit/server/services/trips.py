"""Trips to a service elsewhere where a person proves who they are: begun here, and ended here once, by whoever began.

1. A trip is known by its state: 256 random bits, of which a keyed digest is stored. Coming back takes it away, in one
   statement; ten minutes take it, too.
2. To sign in, it is bound to the browser (a cookie that no script reads); to link an account, to the very session that
   began. So nobody is signed in by a link of somebody else's, and nobody's account lands at another vendor.
3. So many trips may be under way from one address, and in all: nobody fills the table.
4. The PKCE verifier is a keyed digest of the state: it need not be stored, and the state, which GitHub and the
   browser's history see, does not give it away.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from mp_kit.errors import ForbiddenError, RateLimitedError
from mp_kit.server import clock
from mp_kit.server.services import keys
from mp_kit.server.services.tokens import Principal, TokenBook
from mp_kit.server.store import identities as rows
from mp_kit.server.store import keys as key_rows
from mp_kit.server.store.engine import Tx

__all__ = ["FRESH", "LIFE", "Departure", "Trip", "begin_link", "begin_login", "come_back", "is_fresh"]

LIFE = timedelta(minutes=10)
FRESH = timedelta(minutes=15)
"""So old may a session be that links an account."""
_UNDER_WAY_HERE, _UNDER_WAY_EVERYWHERE = 50, 10_000


@dataclass(frozen=True)
class Departure:
    """What the service elsewhere is told."""

    state: str = field(repr=False)
    challenge: str = field(repr=False)


@dataclass(frozen=True)
class Trip:
    """A trip that came back.

    Args:
        target: The page that was asked for.
        verifier: Proves to the service that it was begun here.
        vendor_id: To link: whose session began it. None: somebody signs in.
        session_epoch: To link: the vendor's epoch then.
    """

    target: str
    verifier: str = field(repr=False)
    vendor_id: str | None = None
    session_epoch: int | None = None


def is_fresh(who: Principal) -> bool:
    """Whether a session was opened just now: an old cookie that somebody found must not open a lasting way in."""
    return who.opened_at is not None and clock.now() - who.opened_at < FRESH


def begin_login(tx: Tx, tokens: TokenBook, *, browser: str, target: str, address: str) -> Departure:
    """Somebody goes to prove who they are.

    Args:
        tx: One transaction.
        tokens: Makes the digests.
        browser: The random cookie of the browser.
        target: The page to go to afterwards.
        address: Where they go from.

    Raises:
        RateLimitedError: Too many from there, or in all, have not come back yet.
    """
    trip = {"purpose": "login", "holder_digest": _browser(tokens, browser), "target": target}
    return _begin(tx, tokens, trip | {"address": address})


def begin_link(tx: Tx, tokens: TokenBook, who: Principal, *, session: str, target: str, address: str) -> Departure:
    """A vendor goes to prove that an account elsewhere is its own.

    Raises:
        ForbiddenError: The session is not fresh.
        ConflictError: It was opened with a key that was rotated.
        RateLimitedError: Too many from this address, or in all, have not come back yet.
    """
    vendor = key_rows.lock_vendor(tx, who.vendor_id or "")
    if vendor is None or not is_fresh(who):
        raise ForbiddenError("Sign in again before you link an account.")
    keys.refuse_rotated(tx, who)
    trip = {"purpose": "link", "holder_digest": _session(tokens, session), "target": target, "address": address}
    return _begin(tx, tokens, trip | {"vendor_id": vendor.id, "session_epoch": vendor.session_epoch})


def come_back(tx: Tx, tokens: TokenBook, state: str, *, browser: str, session: str) -> Trip | None:
    """The trip of a state, this once; None where it is unknown, used, too old, or another browser's or session's."""
    holders = [_browser(tokens, browser)] if browser else []
    holders += [_session(tokens, session)] if session else []
    row = rows.take_trip(tx, tokens.digest(f"state:{state}"), holders)
    if row is None:
        return None
    return Trip(row.target, _verifier(tokens, state), row.vendor_id, row.session_epoch)


def _begin(tx: Tx, tokens: TokenBook, trip: dict[str, Any]) -> Departure:
    rows.forget_trips(tx)
    here, everywhere = rows.under_way(tx, trip["address"])
    if here >= _UNDER_WAY_HERE or everywhere >= _UNDER_WAY_EVERYWHERE:
        raise RateLimitedError("Too many sign-ins were begun and not finished.", retry_after=60)
    state = secrets.token_urlsafe(32)
    ends = {"expires_at": clock.now() + LIFE}
    rows.insert_trip(tx, trip | ends | {"state_digest": tokens.digest(f"state:{state}")})
    challenge = hashlib.sha256(_verifier(tokens, state).encode()).digest()
    return Departure(state, base64.urlsafe_b64encode(challenge).rstrip(b"=").decode())


def _verifier(tokens: TokenBook, state: str) -> str:
    return tokens.digest(f"verifier:{state}")


def _browser(tokens: TokenBook, cookie: str) -> str:
    return tokens.digest(f"browser:{cookie}")


def _session(tokens: TokenBook, cookie: str) -> str:
    return tokens.digest(f"session:{cookie}")
