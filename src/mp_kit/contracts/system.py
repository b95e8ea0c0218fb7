"""Health of the marketplace itself."""

from __future__ import annotations

from typing import Literal

from mp_kit.contracts.common import Instant, Model

Check = Literal["ok", "failing"]


class ServiceHealth(Model):
    """GET /api/health; the one answer that is not in the envelope's ``data``."""

    success: bool
    service: str
    version: str
    timestamp: Instant
    status: Literal["healthy", "unhealthy"]


class ServiceReadiness(ServiceHealth):
    """GET /api/health/ready: whether this process can do its work, and what it needs for it.

    Args:
        checks: ``database``, ``store`` and ``schema``, each ``ok`` or ``failing``; why is in the process's log.
        versions: ``package``, ``contracts``, and ``schema``, the database's, where that can be read.
    """

    checks: dict[str, Check]
    versions: dict[str, str]
