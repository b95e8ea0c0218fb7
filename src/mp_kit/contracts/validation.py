"""What `mp validate` found at a vendor's server: the facts behind the promotion gate "validated".

1. ``passed`` follows from the checks: no check has failed. A warning fails nothing.
2. ``digest`` names the report: the SHA-256 over the JSON of all its other fields (sorted keys, no spaces, UTF-8).
3. A report holds what was asked and answered in words and numbers, never a token, a header or a whole body.
"""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Self

from pydantic import Field

from mp_kit.contracts.common import Instant, Model, Sha256, Task


class CheckStatus(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    WARNED = "warned"
    FAILED = "failed"
    SKIPPED = "skipped"
    """It could not be made; ``what`` says why."""


class ValidationCheck(Model):
    """One check of a server: what was found, where, and how to mend it."""

    name: str
    status: CheckStatus
    where: str = Field(description="Method, path and case, such as POST /infer (empty bars).")
    what: str
    mend: str | None = Field(default=None, description="The next step; there whenever a check failed or warned.")


class LatencyFigures(Model):
    """How long POST /infer took, one request at a time."""

    requests: int = Field(gt=0)
    p50_ms: float = Field(ge=0)
    p95_ms: float = Field(ge=0)
    max_ms: float = Field(ge=0)
    limit_ms: float = Field(gt=0, description="What the 95th percentile was held against.")


class ValidationReport(Model):
    """A server against the inference contract, with bars of a round."""

    report_version: int = 1
    task: Task
    model_version: str | None = None
    server: str = Field(description="Address that was asked, without credentials and query.")
    bars: str = Field(description="Where the bars came from: a round's id, or a file's name.")
    contracts_version: str
    code_version: str
    checked_at: Instant
    checks: list[ValidationCheck] = Field(min_length=1)
    latency: LatencyFigures | None = None
    passed: bool
    digest: Sha256 | None = None

    def computed_digest(self) -> str:
        """The SHA-256 that ``digest`` must hold."""
        facts = self.model_dump(mode="json", exclude={"digest"})
        return hashlib.sha256(
            json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
        ).hexdigest()

    def sealed(self) -> Self:
        """The same with its digest."""
        return self.model_copy(update={"digest": self.computed_digest()})

    @property
    def holds(self) -> bool:
        """Whether the report is what its digest names and says of its checks what they say."""
        clean = all(check.status is not CheckStatus.FAILED for check in self.checks)
        return self.digest == self.computed_digest() and self.passed is clean
