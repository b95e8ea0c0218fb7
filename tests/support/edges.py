"""A real edge over loopback for the length of a block."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import uvicorn

from mp_kit.server.edge.app import create_app
from mp_kit.server.house import House
from mp_kit.server.store.engine import Database
from mp_kit.server.store.scope import EDGE_ROLE


@contextlib.contextmanager
def at_the_edge(house: House) -> Iterator[House]:
    """The house as the edge has it, over the edge's role; tests hold the operator's, and share its other parts."""
    own = house.db
    db = Database(own._conninfo, pool_size=own._size, role=EDGE_ROLE, around=own._around)
    yield replace(house, db=db)
    db.close()


@contextlib.contextmanager
def serving(house: House, port: int | None = None) -> Iterator[None]:
    """Answers at the house's base URL, or at another port where something stands before it."""
    with at_the_edge(house) as edge, answering(edge, port):
        yield


@contextlib.contextmanager
def answering(edge: House, port: int | None = None) -> Iterator[None]:
    """As :func:`serving`, of a house that is the edge's already."""
    port = port or int(edge.settings.base_url.rsplit(":", 1)[1])
    server = uvicorn.Server(uvicorn.Config(create_app(edge), port=port, log_level="critical"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the edge died while starting"
        time.sleep(0.01)
    yield
    server.should_exit = True
    thread.join(timeout=10)
