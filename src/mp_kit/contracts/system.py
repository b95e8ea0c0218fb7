"""Health of the marketplace itself."""

from __future__ import annotations

from typing import Literal

from mp_kit.contracts.common import Instant, Model


class ServiceHealth(Model):
    """GET /api/health; the one answer that is not in the envelope's ``data``."""

    success: bool
    service: str
    version: str
    timestamp: Instant
    status: Literal["healthy", "unhealthy"]
