"""The connection that commands use."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

    from mp_kit.client.marketplace import Marketplace

transport: httpx.BaseTransport | None = None
"""An httpx transport in place of the network; tests set it."""
sleep: Callable[[float], None] = time.sleep
"""Waits between looks; tests pass their own."""


def session(api_url: str | None = None, token: str | None = None) -> Marketplace:
    """Connects as environment and profile say."""
    from mp_kit.client.marketplace import Marketplace
    from mp_kit.client.outboxes import default_folder

    return Marketplace(api_url, token, transport=transport, sleep=sleep, outbox=default_folder())
