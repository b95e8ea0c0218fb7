"""A real edge over loopback for the length of a block."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import uvicorn

from mp_kit.server.edge.app import create_app
from mp_kit.server.house import House


@contextlib.contextmanager
def serving(house: House, port: int | None = None) -> Iterator[None]:
    """Answers at the house's base URL, or at another port where something stands before it."""
    port = port or int(house.settings.base_url.rsplit(":", 1)[1])
    server = uvicorn.Server(uvicorn.Config(create_app(house), port=port, log_level="critical", proxy_headers=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the edge died while starting"
        time.sleep(0.01)
    yield
    server.should_exit = True
    thread.join(timeout=10)
