"""The look at a server in a pod: its vendor's, who may answer as it likes."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from mp_kit.server.providers import runpod_health
from mp_kit.server.providers.base import Observed, Phase
from mp_kit.server.providers.hosting import Hosted, HostPhase
from mp_kit.server.providers.runpod_api import Account
from mp_kit.server.providers.runpod_health import Health


@pytest.fixture
def dribbler() -> Iterator[str]:
    """A server that sends a header byte by byte, and never ends it."""
    over = threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        held, _ = listening.accept()
        with held:
            held.sendall(b"HTTP/1.1 200 OK\r\nX-A: ")
            while not over.wait(0.05):
                try:
                    held.sendall(b"a")
                except OSError:
                    return

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    over.set()
    thread.join()
    listening.close()


class Silent:
    """RunPod, which has no log."""

    def logs(self, *_: Any, **__: Any) -> list[Any]:
        """None."""
        return []


def test_a_server_that_dribbles_holds_the_keeper_up_for_one_deadline(dribbler: str, monkeypatch: pytest.MonkeyPatch):
    """Each of its bytes comes in time, and all of them would take for ever: it is not ready."""
    monkeypatch.setattr(runpod_health, "_DOOR_SECONDS", 0.5)
    api: Any = Silent()
    health = Health(api, lambda: datetime.now(UTC), 1.0, None)
    began = time.monotonic()
    view = health.view(Account("ven", "key"), Hosted("pod", "ven", dribbler), Observed(Phase.RUNNING), None)
    took = time.monotonic() - began
    health.close()
    assert HostPhase.STARTING is view.phase
    assert 0.4 < took < 5
