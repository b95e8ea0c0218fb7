"""Signing in without a key at hand: a program shows a code, a person approves it in the browser (after RFC 8628)."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, SecretStr

from mp_kit.contracts.common import Instant, Model
from mp_kit.contracts.keys import Label


class DeviceStatus(StrEnum):
    """What a program hears when it asks whether it was approved."""

    PENDING = "authorization_pending"
    SLOW_DOWN = "slow_down"  # asked too soon: ``interval`` is longer from now on
    APPROVED = "approved"  # the answer bears a one-time code, for auth/exchange
    DENIED = "access_denied"
    EXPIRED = "expired_token"  # also: unknown, or exchanged already


class DeviceRequest(Model):
    """A program asks to be signed in; ``client`` is what the person is shown."""

    client: Label = ""


class DeviceCode(Model):
    """What the program shows (``user_code``, ``verification_uri``) and what it asks with (``device_code``).

    ``expires_in`` and ``interval`` are seconds: how long the codes live, how far apart questions must be.
    """

    device_code: str = Field(repr=False)
    user_code: str
    verification_uri: str
    expires_in: int
    interval: int


class DevicePoll(Model):
    """Was it approved?"""

    device_code: SecretStr


class DeviceAnswer(Model):
    """Whether it was; ``status`` is one of :class:`DeviceStatus`, ``interval`` the seconds until the next question."""

    status: str
    interval: int
    auth_code: str | None = Field(default=None, repr=False)
    auth_code_expires_at: Instant | None = None
    vendor_name: str | None = None
