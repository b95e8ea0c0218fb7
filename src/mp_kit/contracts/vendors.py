"""Vendors, their keys and their tokens."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field, SecretStr

from mp_kit.contracts.common import Instant, Model


class VendorStatus(StrEnum):
    """May the vendor act?"""

    PENDING = "pending"
    ACTIVE = "active"
    SUSPENDED = "suspended"


class Vendor(Model):
    """A vendor as it sees itself; never a hash."""

    id: str
    name: str
    status: VendorStatus
    created_at: Instant
    updated_at: Instant | None = None
    key_expires_at: Instant | None = None
    permissions: list[str] = Field(default_factory=list)


class LoginRequest(Model):
    """Trades an API key for a session."""

    api_key: SecretStr


class Session(Model):
    """A JWT session."""

    token: str
    vendor_id: str
    vendor_name: str
    expires_at: Instant


class ExchangeRequest(Model):
    """Trades a one-time code for an API key."""

    auth_code: SecretStr


class RotateRequest(Model):
    """Asks for a new API key in place of the current one."""

    current_api_key: SecretStr
    reason: str | None = Field(default=None, max_length=500)


class IssuedKey(Model):
    """An API key, shown this once."""

    api_key: str
    vendor_id: str
    vendor_name: str
    expires_at: Instant
    permissions: list[str]
    previous_key_valid_until: Instant | None = None
    key_id: str | None = None
    name: str | None = None


class KeyCheck(Model):
    """Whether an API key is good."""

    valid: bool
    vendor_id: str | None = None
    vendor_name: str | None = None
    expires_at: Instant | None = None


class IntrospectRequest(Model):
    """Asks what a token is."""

    token: SecretStr | None = None


class Introspection(Model):
    """What a token is; nothing but ``active: false`` for an unknown one."""

    active: bool
    vendor_id: str | None = None
    deployment_id: str | None = None
    scope: dict[str, Any] | None = None
    expires_at: Instant | None = None
