"""The vendor's API keys: listed, made, rotated, revoked. A secret is in the answer that made it alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError

from mp_kit.client.desk import Desk
from mp_kit.client.http import Api, Call, path, read
from mp_kit.client.invalid import invalid
from mp_kit.client.results import Rows, Shown
from mp_kit.client.views import RevokedView
from mp_kit.contracts.keys import ApiKey, KeyRequest
from mp_kit.contracts.vendors import IssuedKey

KEYS = "/api/vendors/keys"
_COLUMNS = ("id", "name", "status", "last_used_at", "ends_at", "is_this")


class ApiKeyView(Shown, ApiKey):
    """A key, without its secret."""

    __repr__ = Shown.__repr__
    __str__ = Shown.__str__

    def _title(self) -> str:
        return f"API key {self.id} ({self.status})"

    def _facts(self) -> Mapping[str, Any]:
        facts = {name: getattr(self, name) for name in ("name", "created_at", "last_used_at", "ends_at")}
        return {**facts, "this one": "yes" if self.is_this else None}


class IssuedKeyView(Shown, IssuedKey):
    """A new key with its secret in ``api_key``, given this once and never shown."""

    api_key: str = Field(repr=False)
    __repr__ = Shown.__repr__
    __str__ = Shown.__str__

    def _title(self) -> str:
        return f"API key {self.key_id}"

    def _facts(self) -> Mapping[str, Any]:
        return {
            "name": self.name,
            "expires_at": self.expires_at,
            "former_key_until": self.previous_key_valid_until,
            "api_key": "set (hidden): keep .api_key now",
        }


class Keys(Desk):
    """The vendor's API keys.

    Example:
        >>> server = m.keys.create("inference server", days=180)
        >>> keep(server.api_key)
        >>> m.keys.list()
    """

    def __init__(self, api: Api) -> None:
        self._api = api

    def __repr__(self) -> str:
        return f"Keys at {self._api.base_url}: list(), create(name), rotate(id), revoke(id), revoke_all(force=True)"

    def list(self) -> Rows[ApiKeyView]:
        """Living keys, then those that ended in the last 30 days.

        Example:
            >>> m.keys.list()
        """
        return Rows(self._api.get(list[ApiKeyView], KEYS), "API keys", _COLUMNS)

    def create(self, name: str = "", *, days: int = 90) -> IssuedKeyView:
        """Makes a further key; its ``api_key`` is in this answer alone.

        Args:
            name: For people: where it is used.
            days: How long it lives, 1 to 365.

        Raises:
            InvalidInputError: The name or the days do not do.
            ConflictError: There are as many as there may be.

        Example:
            >>> m.keys.create("inference server", days=180)
        """
        try:
            wanted = KeyRequest(name=name, days=days)
        except ValidationError as error:
            raise invalid("This key", error) from None
        return read(IssuedKeyView, self._api.send(Call("POST", KEYS, json=wanted.model_dump(mode="json"))), KEYS)

    def rotate(self, key_id: str, *, overlap_hours: float = 24.0) -> IssuedKeyView:
        """Makes a key in place of another, which lives on for so many hours.

        Example:
            >>> m.keys.rotate(server.key_id, overlap_hours=1)
        """
        where = path("vendors", "keys", key_id, "rotate")
        return read(IssuedKeyView, self._api.send(Call("POST", where, params={"overlap_hours": overlap_hours})), where)

    def revoke(self, key_id: str, *, force: bool = False) -> RevokedView:
        """Ends a key at once, and every session; the last living one only with ``force``.

        Raises:
            ConflictError: It is the last one that lives.

        Example:
            >>> m.keys.revoke(server.key_id)
        """
        return self._end(path("vendors", "keys", key_id), force=force)

    def revoke_all(self, *, force: bool = False) -> RevokedView:
        """Ends every key and session at once, this key too: the operator alone can let you in again.

        Raises:
            ConflictError: ``force`` is not set.

        Example:
            >>> m.keys.revoke_all(force=True)
        """
        return self._end(KEYS, force=force)

    def _end(self, where: str, *, force: bool) -> RevokedView:
        call = Call("DELETE", where, params={"force": "true" if force else None}, repeatable=True)
        return read(RevokedView, self._api.send(call), where)
