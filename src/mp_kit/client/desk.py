"""What ``m.rounds``, ``m.train`` and the like share: they list their verbs, and complete names and ids at TAB.

1. Nothing is fetched to show a desk: its card says what can be asked.
2. A TAB never raises and never hangs: one quick question, remembered for a while; where no answer comes, no names.
"""

from __future__ import annotations

import inspect
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

from mp_kit.client import html
from mp_kit.client.http import Api
from mp_kit.client.results import Rows
from mp_kit.errors import MarketplaceError

REMEMBERED_SECONDS = 15.0


class Desk:
    """Mix-in: a card of the verbs."""

    _api: Api

    def __dir__(self) -> list[str]:
        return sorted(name for name in super().__dir__() if not name.startswith("_") or name.startswith("__"))

    def _repr_html_(self) -> str:
        about = inspect.getdoc(type(self)) or ""
        verbs = [{"verb": _signature(name, verb), "": _sentence(verb)} for name, verb in _verbs(type(self))]
        below = html.table(verbs, ("verb", ""))
        return html.card(f"{about.splitlines()[0].rstrip('.')} at {self._api.base_url}", {}, below)


class Keyed(Desk, ABC):
    """Mix-in: ``desk["name"]``, with the names at TAB."""

    @abstractmethod
    def _names(self, api: Api) -> Iterable[str]:
        """The names that there are."""

    def _ipython_key_completions_(self) -> list[str]:
        known: tuple[float, list[str]] | None = self.__dict__.get("_known")
        if known is None or time.monotonic() - known[0] > REMEMBERED_SECONDS:
            try:
                names = list(dict.fromkeys(name for name in self._names(self._api.hasty()) if name))
            except MarketplaceError:
                names = []
            known = self.__dict__["_known"] = (time.monotonic(), names)
        return known[1]


def names_of(rows: Iterable[Any], *fields: str) -> list[str]:
    """Values of these fields, row by row."""
    return [str(value) for row in rows for field in fields if (value := getattr(row, field, None)) is not None]


def the_one(rows: Rows[Any], key: str, *fields: str) -> Any | None:
    """The first row that one of these fields names so; None where there is none."""
    return next((row for field in fields for row in rows if getattr(row, field, None) == key), None)


def _verbs(cls: type) -> list[tuple[str, Callable[..., Any]]]:
    """Public methods in the order of their definition; inherited ones first."""
    found: dict[str, Callable[..., Any]] = {}
    for one in reversed(cls.__mro__):
        found |= {name: value for name, value in vars(one).items() if inspect.isfunction(value) and name[0] != "_"}
    return list(found.items())


def _signature(name: str, verb: Callable[..., Any]) -> str:
    """The name with those arguments that are passed by place."""
    placed = [
        given.name + ("" if given.default is given.empty else "=")
        for given in list(inspect.signature(verb).parameters.values())[1:]
        if given.kind is given.POSITIONAL_OR_KEYWORD
    ]
    return f"{name}({', '.join(placed)})"


def _sentence(verb: Callable[..., Any]) -> str:
    return re.sub(r":\w+:`~?([^`]+)`|``", r"\1", (inspect.getdoc(verb) or "").split("\n", 1)[0])
