"""The envelope of every answer: ``{"success": true, "data": ...}`` or one error sentence with a stable code."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

from pydantic import Field

from mp_kit.contracts.common import Model
from mp_kit.errors import MarketplaceError

T = TypeVar("T")


class Success(Model, Generic[T]):
    """A good answer."""

    success: Literal[True] = True
    data: T


class Listing(Success[T], Generic[T]):
    """A good answer that is a list; ``next_cursor`` is absent on the last page."""

    count: int | None = None
    next_cursor: str | None = None


class Detail(Model):
    """One finding: where and what."""

    loc: list[str | int] = Field(default_factory=list)
    msg: str


class Failure(Model):
    """A refused or failed request. ``error`` is always one sentence: old clients print it."""

    success: Literal[False] = False
    error: str
    code: str
    details: list[Detail] | None = None
    hint: str | None = None
    request_id: str | None = None


def render_failure(error: MarketplaceError, request_id: str | None = None) -> dict[str, Any]:
    """The body that says this error; never a stack trace, a statement or a secret."""
    failure = Failure(
        error=error.message,
        code=error.code,
        details=[Detail.model_validate(detail) for detail in error.details] or None,
        hint=error.hint or None,
        request_id=request_id or error.request_id,
    )
    return failure.model_dump(exclude_none=True)
