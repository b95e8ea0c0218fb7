"""Who may call the fake: keys, sessions, deployment tokens; and what a token is."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

import httpx

from mp_kit import errors
from mp_kit.contracts import (
    Introspection,
    IntrospectRequest,
    IssuedKey,
    KeyCheck,
    LoginRequest,
    RotateRequest,
    Session,
    Vendor,
)
from mp_kit.testing.deployments import DeploymentDesk
from mp_kit.testing.keys import KeyDesk
from mp_kit.testing.routing import Bearer, Who

_SESSION = timedelta(hours=24)


class Access:
    """Tells who bears a token.

    Args:
        vendor: The vendor.
        keys: Its keys.
        deployments: Its deployments' tokens.
        now: The clock.
    """

    def __init__(self, vendor: Vendor, keys: KeyDesk, deployments: DeploymentDesk, now: Callable[[], datetime]) -> None:
        self._vendor = vendor
        self._keys = keys
        self._deployments = deployments
        self._now = now

    def check(self, request: httpx.Request, wanted: Who) -> Bearer:
        """Who sent a request, if a route is open to them.

        Raises:
            AuthError: The token is missing, unknown or has ended.
            ForbiddenError: It is of the wrong kind.
        """
        if wanted is Who.EVERYBODY:
            return Bearer()
        found = self._bearer(token_of(request))
        if found is None:
            raise errors.AuthError("The token is missing, unknown or revoked.")
        if wanted is Who.VENDOR and found.deployment_id is not None:
            raise errors.ForbiddenError("A deployment token does not reach this route.")
        if wanted is Who.DEPLOYMENT and found.deployment_id is None:
            raise errors.ForbiddenError("This needs a deployment token.", hint="Pass token=deployment.")
        return found

    def login(self, wanted: LoginRequest) -> Session:
        """Trades a key for a session."""
        ends = self._now() + _SESSION
        token = f"fake.session.{secrets.token_hex(8)}"
        self._key_id(wanted.api_key.get_secret_value())
        self._keys.sessions[token] = ends
        return Session(token=token, vendor_id=self._vendor.id, vendor_name=self._vendor.name, expires_at=ends)

    def validate(self, wanted: LoginRequest) -> KeyCheck:
        """Whether a key is good."""
        try:
            key_id = self._key_id(wanted.api_key.get_secret_value())
        except errors.AuthError:
            return KeyCheck(valid=False)
        ends = self._keys.get(key_id).ends_at
        return KeyCheck(valid=True, vendor_id=self._vendor.id, vendor_name=self._vendor.name, expires_at=ends)

    def rotate(self, wanted: RotateRequest) -> IssuedKey:
        """A new key for a current one, which lives on for a day."""
        return self._keys.rotate(self._key_id(wanted.current_api_key.get_secret_value()), 24)

    def introspect(self, request: httpx.Request, wanted: IntrospectRequest) -> Introspection:
        """What a token is; the bearer's own where none is named."""
        token = wanted.token.get_secret_value() if wanted.token is not None else token_of(request)
        if not token:
            raise errors.AuthError("No token: name one, or bear it.")
        found = self._bearer(token)
        if found is None:
            return Introspection(active=False)
        known = self._deployments.tokens.get(token)
        scope = None if known is None else {"deployment": known.deployment_id, "symbols": known.symbols}
        ends = known.ends_at if known is not None else self._keys.ends_at(token)
        return Introspection(
            active=True, vendor_id=found.vendor_id, deployment_id=found.deployment_id, scope=scope, expires_at=ends
        )

    def _bearer(self, token: str) -> Bearer | None:
        return Bearer(self._vendor.id) if self._keys.opens(token) else self._deployments.bearer(token)

    def _key_id(self, key: str) -> str:
        found = self._keys.id_of(key)
        if found is None:
            raise errors.AuthError("This is no vendor API key (vk_…), or it has ended.")
        return found


def token_of(request: httpx.Request) -> str:
    """The token that a request bears; nothing where it bears none."""
    return str(request.headers.get("Authorization", "")).removeprefix("Bearer ")
