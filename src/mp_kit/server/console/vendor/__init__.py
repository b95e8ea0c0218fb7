"""A vendor's own pages: behind a session, about nobody else's things."""

from __future__ import annotations

from mp_kit.server.console.vendor import (
    accounts,
    api_keys,
    deploying,
    deployments,
    hooks,
    linked,
    models,
    ordering,
    overview,
    registering,
    training,
)

HANDLERS = [
    *overview.HANDLERS,
    *ordering.HANDLERS,
    *training.HANDLERS,
    *models.HANDLERS,
    *registering.HANDLERS,
    *deployments.HANDLERS,
    *deploying.HANDLERS,
    *accounts.HANDLERS,
    *api_keys.HANDLERS,
    *linked.HANDLERS,
    *hooks.HANDLERS,
]
"""All of them."""
