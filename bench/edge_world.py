"""An edge as a process over a Postgres of its own, with vendors and deployments, for what is measured from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import httpx

from mp_kit.contracts import DeploymentRequest
from mp_kit.server import settings as settings_module
from mp_kit.server.house import House
from mp_kit.server.processes import free_port
from mp_kit.server.services import deployments, vendors
from mp_kit.server.store import embedded, migrate
from mp_kit.server.wiring import build

WIDE = "all=1000000/min"
"""Limits that nobody meets, for benchmarks of something else: what they cost is in the figures."""
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class World:
    """A marketplace's database, and who is in it.

    Args:
        home: Its folder, with its secrets.
        database_url: Its database.
        tokens: A deployment's token per vendor.
        postgres: The process of Postgres.
    """

    home: Path
    database_url: str = field(repr=False)
    tokens: list[str] = field(repr=False)
    postgres: int

    @contextmanager
    def edge(self, module: str = "mp_kit.server.serve", **env: str) -> Iterator[Edge]:
        """An edge for the length of a block."""
        port = free_port()
        own = {"MP_HOME": str(self.home), "MP_DATABASE_URL": self.database_url, **env}
        with subprocess.Popen(
            [sys.executable, "-m", module, "--port", str(port)], env={**os.environ, **own}
        ) as process:
            try:
                _await(port)
                yield Edge(port, process.pid)
            finally:
                process.terminate()

    def cpu(self) -> float:
        """CPU seconds that Postgres has used: its processes, and those that have ended."""
        return _cpu(self.postgres) + sum(_cpu(pid) for pid in _children(self.postgres))


@dataclass(frozen=True)
class Edge:
    """A running edge: its port and its process."""

    port: int
    pid: int

    def cpu(self) -> float:
        """CPU seconds that it has used."""
        return _cpu(self.pid)


class Fresh(NamedTuple):
    """A marketplace over a Postgres of its own, with its tables and nothing in them."""

    house: House
    home: Path
    database_url: str
    postgres: int


@contextmanager
def fresh() -> Iterator[Fresh]:
    """One, for the length of a block; whoever has filled its house closes it."""
    with tempfile.TemporaryDirectory(prefix="mp-bench-") as folder:
        server = embedded.start(Path(folder) / "postgres", die_with_parent=True)
        try:
            embedded.ensure_database(server, "bench")
            home = Path(folder) / "home"
            settings_module.ensure_secrets(home)
            house = build(settings_module.load(home, {"MP_DATABASE_URL": server.url("bench")}))
            with house.db.begin() as tx:
                migrate.upgrade(tx)
            yield Fresh(house, home, server.url("bench"), server.pid)
        finally:
            embedded.stop(Path(folder) / "postgres")


@contextmanager
def world(count: int) -> Iterator[World]:
    """A database with so many vendors, each with a deployment."""
    with fresh() as made:
        house, tokens = made.house, []
        with house.db.begin() as tx:
            for number in range(count):
                vendor = vendors.create(tx, house.tokens, f"vendor {number}", actor="bench").vendor_id
                wanted = DeploymentRequest(name="live", provider="byoc", image="none")
                live = deployments.create(tx, house.tokens, vendor, wanted, actor="bench")
                tokens.append(live.infra_token or "")
        house.close()
        yield World(made.home, made.database_url, tokens, made.postgres)


def warm(port: int, tokens: list[str], path: str = "/api/vendors/me") -> None:
    """Shows each token once, so that its slow check is over."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        for token in tokens:
            assert client.get(path, headers={"Authorization": f"Bearer {token}"}).status_code == 200


def _await(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            httpx.get(f"http://127.0.0.1:{port}/api/health", timeout=5)
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(port)


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:  # it ended meanwhile, and its parent has its seconds
        return 0.0
    return sum(int(field) for field in fields[11:15]) / _TICKS


def _children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid:
                found.append(int(entry.name))
    return found
