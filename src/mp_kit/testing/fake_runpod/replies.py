"""What the fake answers: JSON, nothing, or a problem as RFC 9457 has it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

__all__ = ["NO_CAPACITY", "Reply", "ok", "problem"]

NO_CAPACITY = (
    "There are no longer any instances available with the requested specifications. Please refresh and try again."
)
"""The only sign by which RunPod tells that a GPU is sold out."""


@dataclass(frozen=True)
class Reply:
    """A whole answer.

    Attributes:
        status: HTTP status.
        content: The body's bytes.
        content_type: Of the body.
        headers: Further headers.
    """

    status: int
    content: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


def ok(body: Any = None, status: int = 200) -> Reply:
    """An answer that went well; 204 has no body."""
    return Reply(status, b"" if body is None else json.dumps(body).encode())


def problem(status: int, detail: str, errors: Sequence[str] = (), headers: Mapping[str, str] | None = None) -> Reply:
    """A refusal: ``{title, status, detail, errors?}``."""
    body: dict[str, Any] = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    if errors:
        body["errors"] = list(errors)
    return Reply(status, json.dumps(body).encode(), "application/problem+json", headers or {})
