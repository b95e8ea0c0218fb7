"""Tokens: minting them, and telling who bears one.

Rules:

1. A token is ``<kind>_<id>_<secret>``; the id finds the row, the secret is never stored. What is stored is Argon2id
   over secret and pepper (19 MiB, t=2, p=1; about 19 ms), at most two at once in a process.
2. A verified token is remembered for 30 to 60 s under the SHA-256 of the token, never the token itself, in a
   bounded table; revocation drops it at once, here and (by NOTIFY ``mp_tokens``) in every other process.
3. Memory counts only in a process that hears of revocations, and no longer than :data:`DEAF_SECONDS` after it last
   made sure of that (:meth:`TokenBook.trust`): whoever is deaf asks the database each time.
4. An unknown id costs one index probe; a wrong secret costs one Argon2 run. That a secret fits its hash stays true:
   a token that was verified once costs its row from then on, and no second run.
5. ``last_used_at`` is written when a token is verified afresh, and not more than once a minute.
"""

from __future__ import annotations

import hashlib
import hmac
import random
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import jwt
from argon2 import Parameters, PasswordHasher, Type
from argon2.exceptions import Argon2Error

from mp_kit.errors import AuthError, ForbiddenError, TokenExpiredError
from mp_kit.server import clock
from mp_kit.server.services.ids import new_id
from mp_kit.server.store import tokens as rows
from mp_kit.server.store.engine import Tx
from mp_kit.server.store.scope import SIGN_IN, within

Kind = Literal["vendor", "deployment", "run", "operator"]
VENDOR_KEY_DAYS = 90
DEPLOYMENT_TOKEN_DAYS = 30
COST = Parameters(Type.ID, version=19, salt_len=16, hash_len=32, time_cost=2, memory_cost=19_456, parallelism=1)
"""Argon2id's, its memory in KiB: the second of OWASP's choices for storing passwords."""
CACHE_SECONDS = 60.0
CACHE_ENTRIES = 20_000
DEAF_SECONDS = 0.9
"""So long after it last heard from the database a process still goes by its memory."""
REVOCATIONS = "mp_tokens"
"""The channel on which the database tells what was ended or changed: a token's, a deployment's or a vendor's id."""

_TOKEN = re.compile(r"^(vk|sit)_([0-9a-z]{16})_([A-Za-z0-9_\-]{43})$")
_CODE = re.compile(r"^ac_([0-9a-z]{16})_([A-Za-z0-9_\-]{43})$")
_OUR_OWN_CLOCK: Any = {"require": ["aud", "sub", "exp"], "verify_exp": False, "verify_iat": False}
"""A JWT's times are compared by us: PyJWT knows no clock but the machine's."""
_KINDS: Mapping[str, Kind] = {"vk": "vendor", "sit": "deployment"}


@dataclass(frozen=True)
class Principal:
    """Who bears a token, and what it may do.

    Args:
        kind: vendor, deployment, run or operator.
        token_id: Id inside the token; empty for JWTs and the service key.
        vendor_id: The vendor it acts for; None for the operator.
        deployment_id: Of a deployment token.
        model_id: The deployment's model, if it has one.
        run_id: Of a run token.
        attempt: Of a run token: for which of the run's launches it was made.
        scope: Of a deployment token: ``routes``, ``deployment``, perhaps ``symbols``.
        expires_at: When the token ends.
        opened_by: Of a session: the API key that it was opened with; empty where it was opened by other means.
        opened_at: Of a session: when.
    """

    kind: Kind
    token_id: str = ""
    vendor_id: str | None = None
    deployment_id: str | None = None
    model_id: str | None = None
    run_id: str | None = None
    attempt: int | None = None
    scope: Mapping[str, Any] = field(default_factory=dict)
    expires_at: datetime | None = None
    opened_by: str = ""
    opened_at: datetime | None = None

    @property
    def name(self) -> str:
        """How the audit log calls it."""
        return f"{self.kind}:{self.deployment_id or self.run_id or self.vendor_id or 'service'}"


@dataclass(frozen=True)
class Minted:
    """A new token; ``token`` exists only here."""

    token_id: str
    token: str = field(repr=False)
    token_hash: str = field(repr=False)


class TokenBook:
    """Mints and checks tokens for one process.

    Args:
        pepper: Mixed into every hash.
        jwt_secret: Signs run tokens and sessions.
        service_key: The operator's bearer token.
    """

    def __init__(self, *, pepper: str, jwt_secret: str, service_key: str) -> None:
        self._pepper = pepper
        self._jwt_secret = jwt_secret
        self._service_digest = _digest(service_key)
        self._hasher = PasswordHasher.from_parameters(COST)
        self._argon = threading.BoundedSemaphore(2)
        self._lock = threading.Lock()
        self._cache: dict[bytes, tuple[Principal, float]] = {}
        self._proved: dict[bytes, str] = {}  # digest of a token, and the hash that it fits
        self._forgets = 0
        self._trusted_until = 0.0
        self.argon2_runs = 0
        """How many this process did, for its metrics."""

    def mint(self, prefix: Literal["vk", "sit", "ac"]) -> Minted:
        """A new token with 256 random bits."""
        token_id = new_id(prefix).removeprefix(f"{prefix}_")
        secret = secrets.token_urlsafe(32)
        with self._argon:
            self._count_run()
            token_hash = self._hasher.hash(self._peppered(secret))
        return Minted(token_id, f"{prefix}_{token_id}_{secret}", token_hash)

    def authenticate(self, token: str, begin: Callable[[], AbstractContextManager[Tx]]) -> Principal:
        """Tells who bears the token.

        Args:
            token: As it came after ``Bearer``.
            begin: Opens a transaction; called only when the token is not remembered.

        Raises:
            AuthError: Unknown, malformed or revoked.
            TokenExpiredError: It was good once.
            ForbiddenError: Its vendor may not act.
        """
        digest = _digest(token)
        if secrets.compare_digest(digest, self._service_digest):
            return Principal(kind="operator")
        remembered = self._recall(digest)
        if remembered is not None:
            return remembered
        seen = self._forgets
        with within(SIGN_IN):
            if token.count(".") == 2:  # noqa: PLR2004 - a JWT has three parts
                return self._read_jwt(token, begin)
            principal = self._verify(token, begin)
        self._remember(digest, principal, seen)
        return principal

    def recall(self, token: str) -> Principal | None:
        """Who bears the token, if it is the operator's or still remembered; costs microseconds and no I/O."""
        return Principal(kind="operator") if self.is_service_key(token) else self._recall(_digest(token))

    def proved(self, token: str) -> bool:
        """Whether the token's secret has been checked before: checking it again takes no Argon2 run."""
        return _digest(token) in self._proved

    def trust(self, until: float) -> None:
        """Goes by its memory until then (monotonic seconds): all revocations of before are known."""
        self._trusted_until = until

    def forget(self, named: str = "") -> None:
        """Drops from memory a token, or all of a vendor or a deployment, by id; or all there is."""
        with self._lock:
            self._cache = {k: v for k, v in self._cache.items() if named and not _is_about(v[0], named)}
            self._forgets += 1

    def run_token(self, run_id: str, vendor_id: str, expires_at: datetime, attempt: int | None = None) -> str:
        """A JWT with which one attempt of a run may report about itself, until its budget and an hour are over."""
        claims = {"aud": "run", "sub": run_id, "vid": vendor_id, "exp": expires_at, "iat": clock.now()}
        claims |= {} if attempt is None else {"att": attempt}
        return jwt.encode(claims, self._jwt_secret, algorithm="HS256")

    def session(self, vendor_id: str, epoch: int, expires_at: datetime, key_id: str = "") -> str:
        """A JWT session of a vendor, opened with one of its keys or without; a later epoch of the vendor ends it."""
        claims = {"aud": "session", "sub": vendor_id, "epo": epoch, "exp": expires_at, "iat": clock.now()}
        claims |= {"kid": key_id} if key_id else {}
        return jwt.encode(claims, self._jwt_secret, algorithm="HS256")

    def is_service_key(self, key: str) -> bool:
        """Whether it is the operator's own bearer token."""
        return secrets.compare_digest(_digest(key), self._service_digest)

    def operator_session(self, expires_at: datetime) -> str:
        """A JWT for the operator's pages, and for nothing else: the API takes none. Another service key ends it."""
        claims = {"aud": "operator", "sub": "operator", "key": self._key_mark(), "exp": expires_at, "iat": clock.now()}
        return jwt.encode(claims, self._jwt_secret, algorithm="HS256")

    def is_operator_session(self, token: str) -> bool:
        """Whether it is one of :meth:`operator_session` that has not ended."""
        try:
            claims = jwt.decode(
                token, self._jwt_secret, algorithms=["HS256"], audience="operator", options=_OUR_OWN_CLOCK
            )
        except jwt.InvalidTokenError:
            return False
        alive = clock.now().timestamp() < claims["exp"]
        return alive and secrets.compare_digest(str(claims.get("key", "")), self._key_mark())

    def _key_mark(self) -> str:
        """Tells one service key from another, and nothing of it."""
        return hmac.new(self._jwt_secret.encode(), self._service_digest, hashlib.sha256).hexdigest()[:32]

    def form_token(self, session: str) -> str:
        """What the forms of a session must bear: nobody else can make it, and no other session uses it."""
        key = hashlib.sha256(f"console forms:{self._jwt_secret}".encode()).digest()
        return hmac.new(key, session.encode(), hashlib.sha256).hexdigest()

    def _verify(self, token: str, begin: Callable[[], AbstractContextManager[Tx]]) -> Principal:
        match = _TOKEN.fullmatch(token)
        if match is None:
            raise AuthError("This is no key or token of this marketplace: none has this form (vk_…, sit_…).")
        prefix, token_id, secret = match.groups()
        with begin() as tx:
            row = rows.find_vendor_key(tx, token_id) if prefix == "vk" else rows.find_deployment_token(tx, token_id)
        if row is None or not self._fits(token, row.token_hash, secret):
            raise AuthError("The token is unknown.")
        _check_life(row)
        with begin() as tx:
            rows.touch(tx, prefix, token_id)
        return Principal(
            kind=_KINDS[prefix],
            token_id=token_id,
            vendor_id=row.vendor_id,
            deployment_id=getattr(row, "deployment_id", None),
            model_id=getattr(row, "model_id", None),
            scope=getattr(row, "scope", None) or {},
            expires_at=min(row.expires_at, row.revoked_at or row.expires_at),  # a rotated key lives for its overlap
        )

    def _read_jwt(self, token: str, begin: Callable[[], AbstractContextManager[Tx]]) -> Principal:
        try:
            claims = jwt.decode(
                token,
                self._jwt_secret,
                algorithms=["HS256"],
                audience=["run", "session"],
                options=_OUR_OWN_CLOCK,
            )
            expires_at = datetime.fromtimestamp(claims["exp"], UTC)
        except (jwt.InvalidTokenError, TypeError, ValueError, OverflowError, OSError) as error:
            raise AuthError("The token is unknown.") from error
        if expires_at <= clock.now():
            raise TokenExpiredError("The token has expired.")
        is_run = claims["aud"] == "run"
        vendor_id = claims.get("vid", "") if is_run else claims["sub"]
        with begin() as tx:
            vendor = rows.find_vendor(tx, vendor_id)
        if vendor is None or not (is_run or vendor.session_epoch == claims.get("epo")):
            raise AuthError("The session has ended.")
        _check_vendor(vendor.status)
        if is_run:
            attempt = claims.get("att")
            return Principal(
                kind="run", run_id=claims["sub"], attempt=attempt, vendor_id=vendor_id, expires_at=expires_at
            )
        return Principal(
            kind="vendor",
            vendor_id=vendor_id,
            expires_at=expires_at,
            opened_by=claims.get("kid", ""),
            opened_at=datetime.fromtimestamp(claims.get("iat", 0), UTC),
        )

    def proves(self, code: str, token_hash: str) -> bool:
        """Whether a one-time code is the one whose hash is stored."""
        match = _CODE.fullmatch(code)
        return match is not None and self._matches(token_hash, match[2])

    def digest(self, secret: str) -> str:
        """What is stored of 256 random bits that are asked about often: no search finds them, so it may be fast."""
        return hmac.new(self._pepper.encode(), f"digest:{secret}".encode(), hashlib.sha256).hexdigest()

    def _fits(self, token: str, token_hash: str, secret: str) -> bool:
        digest = _digest(token)
        if self._proved.get(digest) == token_hash:
            return True
        if not self._matches(token_hash, secret):
            return False
        with self._lock:
            if len(self._proved) >= CACHE_ENTRIES:
                self._proved.pop(next(iter(self._proved)))  # the oldest
            self._proved[digest] = token_hash
        return True

    def _matches(self, token_hash: str, secret: str) -> bool:
        with self._argon:
            self._count_run()
            try:
                return self._hasher.verify(token_hash, self._peppered(secret))
            except Argon2Error:
                return False

    def _count_run(self) -> None:
        with self._lock:
            self.argon2_runs += 1

    def _peppered(self, secret: str) -> str:
        return f"{secret}:{self._pepper}"

    def _recall(self, digest: bytes) -> Principal | None:
        found, now = self._cache.get(digest), time.monotonic()
        if found is None or found[1] < now or self._trusted_until < now:
            return None
        principal = found[0]
        if principal.expires_at is not None and principal.expires_at <= clock.now():
            raise TokenExpiredError("The token has expired.")
        return principal

    def _remember(self, digest: bytes, principal: Principal, seen: int) -> None:
        with self._lock:
            if seen != self._forgets:
                return  # a revocation was told since the row was read, and it may be this token's
            if len(self._cache) >= CACHE_ENTRIES:
                now = time.monotonic()
                alive = {k: v for k, v in self._cache.items() if v[1] >= now}
                self._cache = alive if len(alive) < CACHE_ENTRIES else {}
            # Tokens that came together, as after a restart, are not looked up together again.
            until = time.monotonic() + CACHE_SECONDS * random.uniform(0.5, 1)  # noqa: S311 - no secret
            self._cache[digest] = (principal, until)


def code_id(code: str) -> str | None:
    """The id inside a one-time code; None where it is none."""
    match = _CODE.fullmatch(code)
    return match[1] if match is not None else None


def ends_in(days: float) -> datetime:
    """The instant so many days from now."""
    return clock.now() + timedelta(days=days)


def _is_about(who: Principal, named: str) -> bool:
    return named in {who.token_id, who.vendor_id, who.deployment_id}


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _check_life(row: rows.TokenRow) -> None:
    if row.revoked_at is not None and row.revoked_at <= clock.now():
        raise AuthError("The token has been revoked.")
    if row.expires_at <= clock.now():
        raise TokenExpiredError(f"The token expired at {row.expires_at:%Y-%m-%dT%H:%M:%SZ}.")
    _check_vendor(row.status)


def _check_vendor(status: str) -> None:
    if status != "active":
        raise ForbiddenError(f"The vendor is {status}.", hint="Ask the operator to activate it.")
