"""A measured number: with its interval, or with the reason why there is none."""

from __future__ import annotations

from pydantic import Field

from mp_kit.contracts.common import Model


class Measured(Model):
    """A measured number; ``str()`` shows it with its interval."""

    value: float | None = None
    low: float | None = Field(default=None, description="Lower end of the 95 % interval.")
    high: float | None = Field(default=None, description="Upper end of the 95 % interval.")
    n: int = Field(default=0, ge=0, description="Independent observations behind it.")
    reason: str | None = Field(default=None, description="Why there is no value.")

    def __str__(self) -> str:
        if self.value is None:
            return self.reason or "unknown"
        between = "" if self.low is None or self.high is None else f" [{self.low:.4g}, {self.high:.4g}]"
        return f"{self.value:.4g}{between}"
