"""The connection that commands use."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

    from mp_kit.client.marketplace import Marketplace

transport: httpx.BaseTransport | None = None
"""An httpx transport in place of the network; tests set it."""
sleep: Callable[[float], None] = time.sleep
"""Waits between looks; tests pass their own."""


_connection: Marketplace | None = None
"""What a notebook's commands use in place of the profile."""


@contextmanager
def using(market: Marketplace | None) -> Iterator[None]:
    """Commands in the block use this connection, if there is one."""
    global _connection  # noqa: PLW0603 - commands are plain functions that find their connection here
    kept, _connection = _connection, market
    try:
        yield
    finally:
        _connection = kept


def session(api_url: str | None = None, token: str | None = None) -> Marketplace:
    """Connects as the notebook, else environment and profile say."""
    if _connection is not None and api_url in {None, _connection.api_url}:
        return _connection if token is None else _connection.with_token(token)
    from mp_kit.client.marketplace import Marketplace
    from mp_kit.client.outboxes import default_folder

    return Marketplace(api_url, token, transport=transport, sleep=sleep, outbox=default_folder())
