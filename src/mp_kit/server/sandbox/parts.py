"""The parts of a sandbox's marketplace, and its clock."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import uvicorn

from mp_kit.errors import SetupError
from mp_kit.server import clock
from mp_kit.server.edge.app import create_app
from mp_kit.server.house import House
from mp_kit.server.services import hosting_keeper, supervisor, webhook_delivery
from mp_kit.server.settings import ensure_secrets, load
from mp_kit.server.store import embedded, migrate, movable
from mp_kit.server.store.embedded import Server
from mp_kit.server.wiring import build, build_edge
from mp_kit.testing.fake_runpod import Clock, FakeRunPod

__all__ = ["RUNPOD_KEY", "Parts", "opened"]

RUNPOD_KEY = "rp-sandbox-of-nobody"
"""The key that the stand-in for RunPod takes, with as much credit as is asked for."""

_DATABASE = "sandbox"
_NOWHERE = "http://127.0.0.1:1"
_FOR_EVER = 10 * 365 * 86_400.0


@dataclass(frozen=True)
class Parts:
    """What is running.

    Attributes:
        house: The marketplace.
        runpod: The stand-in for RunPod.
    """

    house: House
    runpod: FakeRunPod

    def move(self, to: datetime) -> None:
        """Moves the clock on; an instant that is over changes nothing."""
        if to <= clock.now():
            return
        shift = to - datetime.now(UTC)
        gone = shift - clock.shift()
        with self.house.db.begin() as tx:
            movable.move(tx, shift)
        clock.shift_to(shift)
        self.runpod.clock.advance(gone.total_seconds())


@contextmanager
def opened(home: Path, start: datetime) -> Iterator[Parts]:
    """A marketplace for the length of a block, at a time of its own.

    Args:
        home: A folder for all its state, without a marketplace in it.
        start: What time it is there when it opens.

    Raises:
        SetupError: A part does not start.
    """
    ensure_secrets(home)
    with ExitStack() as stack:
        server = embedded.start(home / "postgres", die_with_parent=True)
        stack.callback(embedded.stop, home / "postgres")
        embedded.ensure_database(server, _DATABASE)
        clock.shift_to(movable.install(server, _DATABASE, start))
        pods = home / "pods"
        pods.mkdir(mode=0o700)
        fake = stack.enter_context(FakeRunPod({RUNPOD_KEY: None}, clock=Clock(clock.now()), folder=pods))
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        house = build(load(home, _environment(server, f"http://127.0.0.1:{listener.getsockname()[1]}", fake.url)))
        stack.callback(house.close)
        with house.db.begin() as tx:
            migrate.upgrade(tx)
            movable.adopt(tx)
        edge = build_edge(house.settings)
        stack.callback(edge.close)
        stack.enter_context(_answering(edge, listener))
        stack.enter_context(_at_work(house))
        yield Parts(house, fake)


def _environment(server: Server, base_url: str, runpod: str) -> dict[str, str]:
    """In place of the process's own: what somebody has set for another marketplace means nothing here."""
    return {
        "MP_DATABASE_URL": server.url(_DATABASE),
        "INFRA_BASE_URL": base_url,
        "MP_RUNPOD_URL": runpod,
        "MP_RUNPOD_SETTLE_SECONDS": "10",
        "MP_TRAINER_IMAGE": "mp-trainer:sandbox",
        "HF_ENDPOINT": _NOWHERE,
        "WANDB_BASE_URL": _NOWHERE,
        "MP_WEBHOOK_ALLOW_PRIVATE": "1",
        "MP_LIMITS": "off",  # a month passes in minutes here
    }


@contextmanager
def _answering(house: House, listener: socket.socket) -> Iterator[None]:
    """The edge, in a thread: the main one is asked over the pipe."""
    config = uvicorn.Config(
        create_app(house), access_log=False, server_header=False, proxy_headers=False, log_level="warning"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), name="edge", daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise SetupError("The sandbox's edge ended while it started.")
        time.sleep(0.005)
    yield
    server.should_exit = True
    thread.join(timeout=5)


@contextmanager
def _at_work(house: House) -> Iterator[None]:
    """What `mp up` runs beside the edge: the supervisor of runs, the keeper of servers, the deliverer of webhooks."""
    over = threading.Event()
    url = house.settings.base_url
    desk = supervisor.Desk(house.db, house.store, house.providers, house.tokens.run_token, url, house.vault)
    courier = webhook_delivery.Courier(house.db, house.vault, house.poster)
    keeper = hosting_keeper.Keeper(house.db, house.hosts, house.tokens, url)
    works: dict[str, Callable[[], None]] = {
        "supervisor": lambda: supervisor.watch(desk, seconds=_FOR_EVER, stop=over.is_set),
        "webhooks": lambda: webhook_delivery.deliver(courier, seconds=_FOR_EVER, stop=over.is_set),
        "keeper": lambda: hosting_keeper.keep(keeper, over),
    }
    threads = [threading.Thread(target=work, name=name, daemon=True) for name, work in works.items()]
    for thread in threads:
        thread.start()
    yield
    over.set()
    for thread in threads:
        thread.join(timeout=0.1)  # whoever sleeps just now needs nothing that goes
