"""What was asked of the fake, and what of it broke the contract; secrets masked."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

__all__ = ["Records", "RequestRecord", "Violation", "Violations"]

MASK = "***"


@dataclass(frozen=True)
class RequestRecord:
    """One request.

    Attributes:
        method: HTTP method.
        path: With the base's ``/v2``, without query.
        query: Its parameters.
        status: What was answered; 0 if the connection was cut instead.
        body: The JSON body with the values of ``env`` masked; None if there was none.
        operation: The name that faults are set for; empty if there is no such route.
        at: When it came in.
        request_id: As told in ``x-request-id``.
        faults: What befell it.
    """

    method: str
    path: str
    query: Mapping[str, str]
    status: int
    body: Any
    operation: str
    at: datetime
    request_id: str
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Violation:
    """A request that broke the contract.

    Attributes:
        method: HTTP method.
        path: Its path.
        errors: What it broke, one sentence each.
    """

    method: str
    path: str
    errors: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.method} {self.path}: {'; '.join(self.errors)}"


class Violations(list[Violation]):
    """All requests that broke the contract."""

    def check(self) -> None:
        """Fails a test in which a request broke the contract.

        Raises:
            AssertionError: One did; the message lists all of them.
        """
        if self:
            lines = "\n".join(f"- {violation}" for violation in self)
            raise AssertionError(f"{len(self)} requests broke RunPod's contract:\n{lines}")


@dataclass
class Records:
    """Everything that came in, in the order in which it was answered."""

    requests: list[RequestRecord] = field(default_factory=list)
    violations: Violations = field(default_factory=Violations)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, record: RequestRecord, errors: list[str]) -> None:
        """Notes a request, and what it broke."""
        with self._lock:
            self.requests.append(record)
            if errors:
                self.violations.append(Violation(record.method, record.path, tuple(errors)))


def masked(body: Any) -> Any:
    """A body without the values of its environment and without passwords."""
    if not isinstance(body, dict):
        return body
    hidden = {key: MASK if key in ("password", "value") else value for key, value in body.items()}
    if isinstance(body.get("env"), dict):
        hidden["env"] = dict.fromkeys(body["env"], MASK)
    return hidden
