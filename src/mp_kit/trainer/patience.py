"""How long the wrapper waits for what."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Patience"]


@dataclass(frozen=True)
class Patience:
    """How long the wrapper waits, in seconds.

    Attributes:
        grace: From SIGTERM to SIGKILL.
        heartbeat: Between heartbeats until the marketplace names another interval.
        shipping: Between shipments of log lines.
        upload: For all artifacts together.
        delivery: For the last log lines and the outcome, however long the marketplace is away.
        overtime: The most of ``delivery`` that may lie behind the deadline, because the machine costs money.
    """

    grace: float = 20.0
    heartbeat: float = 5.0
    shipping: float = 1.0
    upload: float = 1_800.0
    delivery: float = 900.0
    overtime: float = 120.0
