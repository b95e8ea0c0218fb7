"""A vendor's API keys: listed without their secrets, made, rotated, revoked."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from mp_kit.contracts.common import Instant, Model

_LONGEST_NAME = 60


def _clean(name: str) -> str:
    clean = name.strip()
    if not clean.isprintable():
        msg = "a name has printable characters only"
        raise ValueError(msg)
    return clean


Label = Annotated[str, Field(max_length=_LONGEST_NAME), AfterValidator(_clean)]
"""What people call a key, or a program that asks for one."""


class KeyStatus(StrEnum):
    """Whether a key opens anything."""

    LIVING = "living"
    ENDING = "ending"  # rotated: it lives on until ``ends_at``
    REVOKED = "revoked"
    EXPIRED = "expired"


class KeyRequest(Model):
    """A further key to be."""

    name: Label = ""
    days: int = Field(90, ge=1, le=365)


class ApiKey(Model):
    """A key as it is listed; ``status`` is one of :class:`KeyStatus`. Its secret is nowhere.

    ``ends_at`` is when it stops, by expiry, rotation or revocation; ``is_this`` marks the one that asks.
    """

    id: str
    name: str = ""
    status: str
    created_at: Instant
    expires_at: Instant
    ends_at: Instant
    last_used_at: Instant | None = None
    is_this: bool = False


class RevokedKeys(Model):
    """What a revocation ended: keys by id; every session ended with them."""

    revoked: list[str]
