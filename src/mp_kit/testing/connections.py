"""The fake's connections: keys that it takes but does not keep, and what their services say of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from mp_kit import errors
from mp_kit.contracts import Connection, ConnectionName, ConnectionStatus, ConnectionWrite, check_credential


class ConnectionDesk:
    """All connections.

    Args:
        now: The clock.

    Attributes:
        verdict: What every service says of a key.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.verdict = ConnectionStatus.OK
        self._now = now
        self._connections: dict[ConnectionName, Connection] = {}

    def all(self) -> list[Connection]:
        """Each of them, by name."""
        return [self._connections[name] for name in sorted(self._connections)]

    def get(self, name: str) -> Connection:
        """One of them."""
        return self._connections[self._known(name)]

    def put(self, name: str, wanted: ConnectionWrite) -> Connection:
        """Sets one; only the last four characters stay."""
        known = _named(name)
        value = check_credential(known, wanted.value.get_secret_value())
        self._connections[known] = Connection(name=known, last4=value[-4:], status=ConnectionStatus.UNCHECKED)
        return self._connections[known]

    def test(self, name: str) -> Connection:
        """Notes the verdict."""
        known = self._known(name)
        seen = {"status": self.verdict, "checked_at": self._now()}
        self._connections[known] = self._connections[known].model_copy(update=seen)
        detail = f"{known.service} says: {self.verdict.value}."
        return self._connections[known].model_copy(update={"detail": detail})

    def remove(self, name: str) -> Connection:
        """Forgets one."""
        return self._connections.pop(self._known(name))

    def _known(self, name: str) -> ConnectionName:
        known = _named(name)
        if known not in self._connections:
            raise errors.NotFoundError(f"{known.service} is not connected.")
        return known


def _named(name: str) -> ConnectionName:
    if name not in [*ConnectionName]:
        raise errors.NotFoundError("There is no connection of that name.")
    return ConnectionName(name)
