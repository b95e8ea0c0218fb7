"""The vendor's accounts elsewhere: RunPod, Hugging Face, Weights & Biases. Keys go in and do not come out."""

from __future__ import annotations

import builtins
import getpass
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from mp_kit.client.desk import Keyed
from mp_kit.client.http import Api, Call, path, read
from mp_kit.client.invalid import invalid_choice
from mp_kit.client.results import Rows, Shown
from mp_kit.contracts.connections import Connection, ConnectionName, check_credential
from mp_kit.errors import InvalidInputError

CONNECTIONS = "/api/vendors/connections"


class ConnectionView(Shown, Connection):
    """A connection: what may be read of it."""

    __repr__ = Shown.__repr__
    __str__ = Shown.__str__

    def _title(self) -> str:
        return f"Connection {self.name} ({self.status})"

    def _facts(self) -> Mapping[str, Any]:
        return {"key": f"…{self.last4}", "checked_at": self.checked_at, "detail": self.detail}


class Connections(Keyed):
    """The vendor's accounts elsewhere, with which the marketplace trains and publishes for it.

    Example:
        >>> m.connections.set("runpod")  # asks for the key, hidden
        >>> m.connections.test("runpod")
    """

    def __init__(self, api: Api) -> None:
        self._api = api

    def __repr__(self) -> str:
        return f"Connections at {self._api.base_url}: set(name), list(), test(name), remove(name)"

    def __getitem__(self, name: str) -> ConnectionView:
        known = named(name)
        return self._api.get(ConnectionView, path("vendors", "connections", known.value))

    def _names(self, api: Api) -> builtins.list[str]:  # noqa: ARG002 - they are the same everywhere
        return [name.value for name in ConnectionName]

    def set(self, name: str | ConnectionName, value: str | SecretStr | None = None) -> ConnectionView:
        """Stores a key in place of an earlier one; it is unchecked until :meth:`test`.

        Args:
            name: runpod, huggingface or wandb.
            value: The key. Without it, it is asked for, hidden, so that it stays out of the notebook.

        Raises:
            InvalidInputError: There is no such connection, the value cannot be its key, or there is nobody to ask;
                nothing was sent.

        Example:
            >>> m.connections.set("runpod", key)
        """
        known = named(name)
        given = _asked(known) if value is None else value
        text = given.get_secret_value() if isinstance(given, SecretStr) else given
        where = path("vendors", "connections", known.value)
        call = Call("PUT", where, json={"value": check_credential(known, text)}, repeatable=True)
        return read(ConnectionView, self._api.send(call), where)

    def list(self) -> Rows[ConnectionView]:
        """The connections that are set.

        Example:
            >>> m.connections.list()
        """
        found = self._api.get(list[ConnectionView], CONNECTIONS)
        return Rows(found, "Connections", ("name", "last4", "status", "checked_at"))

    def test(self, name: str | ConnectionName) -> ConnectionView:
        """Has the marketplace ask the service whether it takes the key; ``status`` and ``detail`` say what it said.

        Raises:
            NotFoundError: The connection is not set.

        Example:
            >>> m.connections.test("runpod")
        """
        where = path("vendors", "connections", named(name).value, "test")
        return read(ConnectionView, self._api.send(Call("POST", where, repeatable=True)), where)

    def remove(self, name: str | ConnectionName) -> ConnectionView:
        """Has the marketplace forget a key; returns what it was.

        Raises:
            NotFoundError: The connection is not set.

        Example:
            >>> m.connections.remove("runpod")
        """
        where = path("vendors", "connections", named(name).value)
        return read(ConnectionView, self._api.send(Call("DELETE", where)), where)


def _asked(known: ConnectionName) -> str:
    """The key, typed by a person; a kernel where nobody can type says so at once."""
    try:
        return getpass.getpass(f"Key of {known.service}: ")
    except (EOFError, NotImplementedError, RuntimeError) as error:  # a kernel's "no stdin" is one of these
        raise InvalidInputError(
            f"Nobody is here to type the key of {known.service}.",
            hint=f'Pass it out of the environment: m.connections.set("{known.value}", os.environ["..."]).',
        ) from error


def named(name: str | ConnectionName) -> ConnectionName:
    """The connection of a name.

    Raises:
        InvalidInputError: There is none; what looks like a key in its place is not repeated.
    """
    try:
        return ConnectionName(name)
    except ValueError:
        shown = name if name.isascii() and name.isalpha() else "That"
        raise invalid_choice("connection", shown, list(ConnectionName)) from None
