"""The fake's API keys, and its sign-in: codes that are approved by themselves, after what a test says."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from mp_kit import errors
from mp_kit.contracts import (
    ApiKey,
    DeviceAnswer,
    DeviceCode,
    DevicePoll,
    DeviceRequest,
    DeviceStatus,
    ExchangeRequest,
    IssuedKey,
    KeyRequest,
    KeyStatus,
    RevokedKeys,
    Vendor,
)

INTERVAL = 5


class KeyDesk:
    """The vendor's keys.

    Args:
        vendor: Whose.
        first: The secret of its first key.
        now: The clock.

    Attributes:
        sessions: When the sessions end that were opened with a key; the end of any key ends them all.
    """

    def __init__(self, vendor: Vendor, first: str, now: Callable[[], datetime]) -> None:
        self.sessions: dict[str, datetime] = {}
        self._vendor = vendor
        self._now = now
        self._keys: dict[str, ApiKey] = {}
        self._ids: dict[str, str] = {}
        self._add(first, KeyRequest())

    def opens(self, token: str) -> bool:
        """Whether a token is a key that lives, or a session."""
        return (self.ends_at(token) or self._now()) > self._now()

    def id_of(self, token: str) -> str | None:
        """The id of a key that lives."""
        return self._ids.get(token) if self.opens(token) else None

    def ends_at(self, token: str) -> datetime | None:
        """When a key or a session ends; None where it is unknown."""
        key_id = self._ids.get(token)
        return self.sessions.get(token) if key_id is None else self._keys[key_id].ends_at

    def all(self, token: str) -> list[ApiKey]:
        """Each of them; ``is_this`` marks the one that asks."""
        own = self._ids.get(token)
        return [self._seen(key).model_copy(update={"is_this": key.id == own}) for key in self._keys.values()]

    def create(self, wanted: KeyRequest) -> IssuedKey:
        """Makes one."""
        return self._issued(wanted)

    def rotate(self, key_id: str, overlap_hours: float) -> IssuedKey:
        """Makes one in place of another."""
        old = self._living(key_id)
        if old.ends_at < old.expires_at:
            raise errors.ConflictError("This key was rotated already.")
        until = self._now() + timedelta(hours=overlap_hours)
        self._keys[key_id] = old.model_copy(update={"ends_at": until})
        return self._issued(KeyRequest(name=old.name)).model_copy(update={"previous_key_valid_until": until})

    def revoke(self, key_id: str, *, force: bool) -> RevokedKeys:
        """Ends one."""
        if self._seen(self.get(key_id)).status not in {KeyStatus.LIVING, KeyStatus.ENDING}:
            return RevokedKeys(revoked=[])
        living = [key.id for key in self._keys.values() if self._seen(key).status == KeyStatus.LIVING]
        if living in ([key_id], []) and not force:
            raise errors.ConflictError("It is your last living key.", hint="Say --force.")
        self._end(key_id)
        return RevokedKeys(revoked=[key_id])

    def revoke_all(self, *, force: bool) -> RevokedKeys:
        """Ends all."""
        if not force:
            raise errors.ConflictError("After this none of your keys lives.", hint="Say --force.")
        ended = [key.id for key in self._keys.values() if key.ends_at > self._now()]
        for key_id in ended:
            self._end(key_id)
        return RevokedKeys(revoked=ended)

    def _issued(self, wanted: KeyRequest) -> IssuedKey:
        secret = f"vk_fake_{secrets.token_hex(8)}"
        key = self._add(secret, wanted)
        return IssuedKey(
            api_key=secret,
            vendor_id=self._vendor.id,
            vendor_name=self._vendor.name,
            expires_at=key.expires_at,
            permissions=[],
            key_id=key.id,
            name=key.name,
        )

    def _add(self, secret: str, wanted: KeyRequest) -> ApiKey:
        now, key_id = self._now(), f"key{len(self._keys) + 1}"
        ends = now + timedelta(days=wanted.days)
        facts: dict[str, Any] = {"created_at": now, "expires_at": ends, "ends_at": ends}
        self._keys[key_id] = ApiKey(id=key_id, name=wanted.name, status=KeyStatus.LIVING, **facts)
        self._ids[secret] = key_id
        return self._keys[key_id]

    def _seen(self, key: ApiKey) -> ApiKey:
        over, cut = key.ends_at <= self._now(), key.ends_at < key.expires_at
        if over:
            status = KeyStatus.REVOKED if cut else KeyStatus.EXPIRED
        else:
            status = KeyStatus.ENDING if cut else KeyStatus.LIVING
        return key.model_copy(update={"status": status})

    def _living(self, key_id: str) -> ApiKey:
        key = self.get(key_id)
        if key.ends_at <= self._now():
            raise errors.ConflictError("This key has ended.")
        return key

    def get(self, key_id: str) -> ApiKey:
        """One of them."""
        if key_id not in self._keys:
            raise errors.NotFoundError("There is no such key.")
        return self._keys[key_id]

    def _end(self, key_id: str) -> None:
        self.sessions.clear()
        self._keys[key_id] = self._keys[key_id].model_copy(update={"ends_at": self._now()})


class SignInDesk:
    """Codes for those who have no key.

    Args:
        url: The marketplace's root.
        keys: Where a code becomes a key.
        now: The clock.

    Attributes:
        verdicts: What a program hears, question by question; the last one is repeated.
        asked: What programs called themselves.
    """

    def __init__(self, url: str, keys: KeyDesk, now: Callable[[], datetime]) -> None:
        self.verdicts = [DeviceStatus.PENDING, DeviceStatus.APPROVED]
        self.asked: list[str] = []
        self._url = url
        self._keys = keys
        self._now = now
        self._codes: dict[str, str] = {}
        self._devices: dict[str, str] = {}

    def issue(self, client: str = "one-time code") -> str:
        """A one-time code, as the operator makes it."""
        code = f"ac_fake_{secrets.token_hex(8)}"
        self._codes[code] = client
        return code

    def begin(self, wanted: DeviceRequest) -> DeviceCode:
        """A program begins to wait."""
        self.asked.append(wanted.client)
        device_code = secrets.token_hex(16)
        self._devices[device_code] = wanted.client
        page = f"{self._url}/marketplace/device"
        shown = {"user_code": "WDJB-MJHT", "verification_uri": page, "expires_in": 600, "interval": INTERVAL}
        return DeviceCode.model_validate(shown | {"device_code": device_code})

    def poll(self, asked: DevicePoll) -> DeviceAnswer:
        """The next verdict."""
        client = self._devices.get(asked.device_code.get_secret_value())
        status = DeviceStatus.EXPIRED if client is None else self.verdicts[0]
        del self.verdicts[: len(self.verdicts) > 1]
        if status != DeviceStatus.APPROVED or client is None:
            slow = INTERVAL * (status == DeviceStatus.SLOW_DOWN)
            return DeviceAnswer(status=status, interval=INTERVAL + slow)
        ends = self._now() + timedelta(minutes=5)
        return DeviceAnswer(status=status, interval=INTERVAL, auth_code=self.issue(client), auth_code_expires_at=ends)

    def exchange(self, wanted: ExchangeRequest) -> IssuedKey:
        """Trades a code for a key, once."""
        client = self._codes.pop(wanted.auth_code.get_secret_value(), None)
        if client is None:
            raise errors.AuthError("The code is unknown, used or has ended.")
        return self._keys.create(KeyRequest(name=client))
