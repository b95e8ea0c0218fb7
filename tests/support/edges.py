"""A real edge over loopback for the length of a block."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import httpx
import uvicorn

from mp_kit.server.house import House
from mp_kit.server.processes import free_port
from mp_kit.server.serve import configured
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
    server = uvicorn.Server(configured(edge, "127.0.0.1", port))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the edge died while starting"
        time.sleep(0.01)
    yield
    server.should_exit = True
    thread.join(timeout=10)


@dataclass
class Edge:
    """An edge as a process of its own, over a house's database and with its secrets; it can be killed and started anew.

    Args:
        house: Whose.
        env: What it has in its environment besides.
    """

    house: House
    env: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts it; :meth:`await_ready` says when it answers."""
        settings = self.house.settings
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MP_", "INFRA_"))}
        own = {"MP_HOME": str(settings.home), "MP_DATABASE_URL": settings.database_url, **self.env}
        command = [sys.executable, "-m", "mp_kit.server.serve", "--port", str(self.port)]
        self.process = subprocess.Popen(command, env=kept | own)

    def await_ready(self) -> None:
        """Returns when it answers."""
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/api/health", timeout=5).status_code == 200:
                    return
            assert time.monotonic() < deadline, "the edge did not come"
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def processes(house: House, count: int, **env: str) -> Iterator[list[Edge]]:
    """So many edges over one Postgres, started at once."""
    edges = [Edge(house, env) for _ in range(count)]
    try:
        for edge in edges:
            edge.start()
        for edge in edges:
            edge.await_ready()
        yield edges
    finally:
        for edge in edges:
            edge.kill()
