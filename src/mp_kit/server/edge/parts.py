"""What handlers share: how they get the house and the caller, and how they answer."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeAlias, TypeVar

from litestar import Request
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide

from mp_kit.contracts import Listing, Success
from mp_kit.errors import InvalidInputError, UnsupportedMediaError
from mp_kit.server.house import House
from mp_kit.server.services.tokens import Principal

T = TypeVar("T")
AnyRequest = Request[Any, Any, Any]
TheHouse: TypeAlias = NamedDependency[House]
"""The parts of the marketplace, in a handler's signature."""
Caller: TypeAlias = NamedDependency[Principal]
"""Who calls, as the route's guard found it, in a handler's signature."""

# curl -d says "form" unless told otherwise, and the guide's own commands do not tell it otherwise.
JSON_TYPES = frozenset({"application/json", "application/x-www-form-urlencoded", ""})


def provide_house(state: State) -> House:
    """The house that the app was made with."""
    house: House = state.house
    return house


def provide_who(request: AnyRequest) -> Principal:
    """The caller, as the route's guard found it."""
    who: Principal = request.scope["state"]["who"]
    return who


DEPENDENCIES = {
    "house": Provide(provide_house, sync_to_thread=False),
    "who": Provide(provide_who, sync_to_thread=False),
}


def ok(data: T) -> Success[T]:
    """A good answer."""
    return Success(data=data)


def listing(items: list[T], next_cursor: str | None = None) -> Listing[list[T]]:
    """A good answer that is a list."""
    return Listing(data=items, count=len(items), next_cursor=next_cursor)


def content_type(request: AnyRequest) -> str:
    """The body's media type without parameters, lower-case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def require_json(request: AnyRequest) -> None:
    """Refuses bodies that say they are something else than JSON."""
    if request.method not in {"POST", "PUT", "PATCH"}:
        return
    said = content_type(request)
    if said not in JSON_TYPES and not said.endswith("+json"):
        raise UnsupportedMediaError(f"This route takes application/json, not {said}.")


def aware(name: str, instant: datetime | None) -> datetime | None:
    """An instant of a query, or InvalidInputError when it has no zone."""
    if instant is not None and instant.tzinfo is None:
        raise InvalidInputError(
            f"{name} has no zone, so it could mean any of 24 hours: end it with Z or an offset.",
            details=[{"loc": ["query", name], "msg": "the time has no zone"}],
        )
    return instant
