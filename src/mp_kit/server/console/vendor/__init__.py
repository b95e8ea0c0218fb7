"""A vendor's own pages: behind a session, about nobody else's things."""

from __future__ import annotations

from mp_kit.server.console.vendor import overview, training

HANDLERS = [*overview.HANDLERS, *training.HANDLERS]
"""All of them."""
